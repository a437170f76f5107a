"""The ruler: how well a person, the prompt and the pose are kept, measured on drawn portraits against truth."""
