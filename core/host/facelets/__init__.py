"""Facelets, the generator that ships with the pack, as ComfyUI's own objects."""
