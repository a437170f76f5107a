"""The ruler for anybody's models: conditions made of an artist's workflow, on a running ComfyUI, and what they cost."""
