"""Facelets inside ComfyUI, part by part: what LoadFacelets gives, and a picture through ComfyUI's own sampler."""

import importlib
import json
from collections.abc import Callable
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, NamedTuple

import torch
from facelets.pack import module

SIZE = 128  # pixels


class Sampling(NamedTuple):
    """What the sampler is told."""

    sampler: str
    cfg: float
    steps: int


# LoadFacelets' architectures, each sampled its own way, for much the same price. FLUX was taught what the U-Net says
# with guidance. Many a step of it is off a little; where noise is added again, later ones correct it.
SAMPLING = {"unet": Sampling("euler", 3.0, 20), "flux": Sampling("euler_ancestral", 1.0, 40)}
ARCHITECTURES = tuple(SAMPLING)


class Stopped(Exception):
    """What stopped a worker, in the pack's own sentence. The pack's errors are of classes that the process which waits
    for the workers has not loaded: it could not read them, and would wait for ever."""


def plainly(work: Callable) -> Callable:
    """A worker's function, with the pack's errors as Stopped."""

    @wraps(work)
    def worked(*given):
        try:
            return work(*given)
        except module("core.weights").WeightsError as error:
            raise Stopped(str(error)) from None

    return worked


class Graph(NamedTuple):
    """What is wired into the sampler."""

    model: Any
    positive: list
    negative: list


class Parts:
    """What LoadFacelets gives of an architecture, from the files in a folder, each part loaded when it is first asked
    for: a folder in which only the first files are trained serves the conditions that need no more."""

    def __init__(self, folder: Path | None = None, architecture: str = ARCHITECTURES[0]):
        self._host = module("core.host.facelets.load")
        self._own = self._host.ARCHITECTURES[architecture]
        self.folder = Path(folder or self._host.FOLDER)

    def _read(self, name):
        return module("core.weights").read_weights(self.folder / name)

    @cached_property
    def model(self):
        rgb = self._read(self._host.VAE_FILE).metadata.get(self._host.LATENT_RGB, "null")
        return self._own.build_model(self._read(self._own.model_file).tensors, json.loads(rgb))

    @cached_property
    def clip(self):
        return self._host.build_clip(self._read(self._host.TEXT_FILE).tensors, tokens=self._own.tokens)

    @cached_property
    def vae(self):
        return self._host.build_vae(self._read(self._host.VAE_FILE).tensors)

    @cached_property
    def control_net(self):
        return self._own.build_control_net(self._read(self._own.control_net_file).tensors)

    @cached_property
    def adapter(self):
        file = self._read(self._own.adapter_file)
        managed = module("core.host.comfyui.managed")
        loaded = module("core.adapters").load_adapter(file, operations=managed.OPERATIONS)
        return module("core.host.adapters.adapter").LoadedAdapter(file.name, loaded.spec, managed.managed(loaded))

    @cached_property
    def face_encoder(self):
        """None while the folder has no faces.safetensors; then similarities are not measured."""
        if not (self.folder / self._host.FACES_FILE).exists():
            return None
        managed = module("core.host.comfyui.managed")
        weights = self._read(self._host.FACES_FILE).tensors
        drawn = module("core.facelets.detection").load_drawn(weights, operations=managed.OPERATIONS)
        encoder = module("core.host.faces.encoder").LoadedEncoder
        return encoder(drawn.space, managed.managed(drawn), self._host.MIN_CONFIDENCE)


class Stack:
    """The parts of a generator, and pictures made with them."""

    def __init__(self, folder: Path | None = None, architecture: str = ARCHITECTURES[0]):
        module("comfy.utils").set_progress_bar_enabled(False)  # ComfyUI first
        self.parts = Parts(folder, architecture)
        self._nodes = importlib.import_module("nodes")

    def prompt(self, text: str) -> list:
        """As CLIPTextEncode."""
        return self.parts.clip.encode_from_tokens_scheduled(self.parts.clip.tokenize(text))

    def plain(self, text: str) -> Graph:
        """The prompt and an empty negative one on the model as it is."""
        return Graph(self.parts.model, self.prompt(text), self.prompt(""))

    def sample(self, graph: Graph, seed: int, count: int, steps: int, sampler: str, cfg: float) -> torch.Tensor:
        """IMAGE [count, 128, 128, 3], as KSampler and VAEDecode make it of one seed."""
        latent = {"samples": torch.zeros(count, 4, SIZE // 8, SIZE // 8)}
        sampled = self._nodes.common_ksampler(
            graph.model, seed, steps, cfg, sampler, "normal", graph.positive, graph.negative, latent
        )[0]
        return self.parts.vae.decode(sampled["samples"])

    def through_autoencoder(self, images: torch.Tensor) -> torch.Tensor:
        """As VAEEncode and VAEDecode."""
        return self.parts.vae.decode(self.parts.vae.encode(images))
