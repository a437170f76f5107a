"""Likeness: identity-preserving face generation for ComfyUI."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """Called by ComfyUI's loader; nothing of ComfyUI is imported before it is."""
    from .nodes import LikenessExtension

    return LikenessExtension()
