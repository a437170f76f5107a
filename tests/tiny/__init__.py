"""Small models of ComfyUI's own classes, with random weights: the block layout of the big ones, narrow channels."""
