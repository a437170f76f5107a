"""What is told of the scores of many pictures: tables with errors over people, a plot, contact sheets."""
