"""Face encoders under ComfyUI's memory management, and what they find in a batch."""
