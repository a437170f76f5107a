"""How something is injected into a U-Net: its sites, and what ComfyUI calls there."""
