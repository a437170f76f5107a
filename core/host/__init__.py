"""The only rooms that import ComfyUI."""
