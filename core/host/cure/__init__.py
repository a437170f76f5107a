"""The attribute cure in ComfyUI's sampling."""
