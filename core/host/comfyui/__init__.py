"""ComfyUI's own services: memory, folders, progress; images and masks as they come over a wire."""
