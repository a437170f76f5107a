"""Where ComfyUI's insides differ between 0.3.75 and 0.33.0: all that the tests know of versions is here."""

import asyncio
import dataclasses
import importlib
import inspect

# Of the prompt executor's caches: "ram_inactive" is read since 0.23.0.
CACHE_SETTINGS = {"lru": 0, "ram": 0.0, "ram_inactive": 0.0}


def cached_outputs(executor, node_id: str) -> list[list]:
    """What the executor's cache holds of a node, a list of values for each output; a coroutine since 0.17.0."""
    entry = executor.caches.outputs.get(node_id)
    return (asyncio.run(_awaited(entry)) if inspect.isawaitable(entry) else entry).outputs


async def _awaited(entry):
    return await entry


def checkpoint_state(model, text_encoder, autoencoder) -> dict:
    """A whole checkpoint's state dict; since 0.12.0 ComfyUI takes the U-Net's from whoever calls."""
    parts = {"clip_state_dict": text_encoder.state_dict(), "vae_state_dict": autoencoder.state_dict()}
    if "unet_state_dict" in inspect.signature(model.state_dict_for_saving).parameters:
        parts["unet_state_dict"] = model.diffusion_model.state_dict()
    return model.state_dict_for_saving(**parts)


def flux_settings(name: str = "flux") -> dict:
    """What FLUX's or Chroma's parameters have to name beyond those of 0.3.75 (since 0.4.0)."""
    parameters = vars(importlib.import_module(f"comfy.ldm.{name}.model"))[f"{name.title()}Params"]
    newer = {"txt_ids_dims": []} if name == "flux" else {"txt_ids_dims": [], "vec_in_dim": None}
    return {field.name: newer[field.name] for field in dataclasses.fields(parameters) if field.name in newer}


def say_every_step(monkeypatch):
    """Have progress bars say every update; since 0.9.2 they leave out what comes within 100 ms of another."""
    utils = importlib.import_module("comfy.utils")
    for limit in ("PROGRESS_THROTTLE_MIN_INTERVAL", "PROGRESS_THROTTLE_MIN_PERCENT"):
        monkeypatch.setattr(utils, limit, 0, raising=False)


def first_and_last(steps: list) -> list:
    """What of a server's progress can be counted on since 0.9.2, where updates close to another are left out."""
    return [steps[0], steps[-1]]


def show_previews(monkeypatch, method):
    """Set how samplers draw previews; since 0.5.0 every prompt goes back to a default."""
    latent_preview = importlib.import_module("latent_preview")
    monkeypatch.setattr(latent_preview.args, "preview_method", method)
    monkeypatch.setattr(latent_preview, "default_preview_method", method, raising=False)


def vae_bytes(vae) -> int:
    """What ComfyUI reckons a VAE's weights to take; `get_ram_usage` until 0.18, `model_size` since 0.19.0."""
    return (vae.model_size if hasattr(vae, "model_size") else vae.get_ram_usage)()


def shown_again() -> bool:
    """Whether what a cached node shows in the middle of a graph is sent again (since 0.19.0)."""
    return hasattr(importlib.import_module("execution"), "_is_intermediate_output")
