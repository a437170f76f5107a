"""The cure's own bench: where its masks lie, how well its inversion returns, and what it costs."""
