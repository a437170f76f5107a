"""Latents of many portraits with all that is known of them, and other portraits of the same people as the face encoder
sees them. All of it is made once: drawing and encoding cost a third of a step."""

import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .autoencoder import Decoder, encode, pictures_of
from .networks import align, new_autoencoder, read_finished
from .pack import BUILD, module, sized
from .training import Stage
from .world import LOOKS, Look, Portrait, draw, sample_identity, sample_look, sample_pose

SEED = 11
COUNT, CHUNK = sized(40_000, 40), sized(1000, 20)
REFERENCES = 3  # of each person: portraits that an adapter may be shown
# Attributes that a reference has in common with its portrait. Adapters of photographs are trained on pairs that are
# much alike, often on one and the same picture, and so learn to bring hair and glasses along with the person.
SHARED = 0.85
EMPHASIS, REACH = 4.0, 0.3  # of eyes and mouth over the rest, and how far it goes, in distances between the eyes
FOLDER = BUILD / "portraits"


class Portraits:
    """latents: float16 [N, 16, 16, 16] as the U-Net sees them; looks: uint8 [N, len(LOOKS)], places in LOOKS' values;
    identities: float32 [N, 32]; landmarks: float32 [N, 5, 2] in pixels of 128; vectors: float16
    [N, 128] of their faces, and references: float16 [N, REFERENCES, 128] of the same people's on other portraits."""

    def __init__(self):
        files = sorted(FOLDER.glob("*.npz"))
        if not files:
            raise FileNotFoundError("No portraits yet: run `python -m facelets.train portraits` first.")
        chunks = [np.load(file) for file in files]
        for name in ("latents", "looks", "identities", "landmarks", "vectors", "references"):
            setattr(self, name, np.concatenate([chunk[name] for chunk in chunks]))
        self.latents = torch.from_numpy(self.latents)

    def __len__(self):
        return len(self.latents)

    def look(self, place: int) -> Look:
        """The look of one portrait, without what no caption names."""
        values = zip(LOOKS.items(), self.looks[place], strict=True)
        return Look(**{name: options[index] for (name, options), index in values})

    def emphasis(self, places: np.ndarray) -> torch.Tensor:
        """[B, 1, 16, 16] of mean 1: how much each place of the latents counts. Eyes and mouth are a few places of 256,
        and what a portrait is looked at for."""
        points = self.landmarks[places]
        mouth = points[:, 3:].mean(1, keepdims=True)
        middles = np.concatenate([points[:, :2], points[:, 3:], mouth], 1)
        eyes_apart = np.linalg.norm(points[:, 0] - points[:, 1], axis=1)
        grid = np.stack(np.meshgrid(*[np.arange(16) * 8 + 3.5] * 2, indexing="xy"), 2)
        away = np.linalg.norm(middles[:, :, None, None] - grid, axis=4).min(1) / (REACH * eyes_apart[:, None, None])
        weights = 1 + EMPHASIS * np.exp(-(away**2) / 2)
        return torch.from_numpy(weights / weights.mean((1, 2), keepdims=True)).float()[:, None]


class PortraitStage(Stage):
    """One that learns from the portraits."""

    @cached_property
    def portraits(self) -> Portraits:
        return Portraits()


def trained_autoencoder(name: str = "vae") -> nn.Module:
    """The autoencoder as its last stage left it, in fp32; or one of another name."""
    model = new_autoencoder()
    model.load_state_dict(read_finished(name))
    return model.eval().requires_grad_(False)


def trained_face_encoder() -> nn.Module:
    """The encoder of drawn faces as its stages left it, frozen, in fp32."""
    return module("core.facelets.detection").load_drawn(read_finished("faces"))


def shared_look(look: Look, rng: np.random.Generator, shared: float = SHARED) -> Look:
    """A look that has each attribute of another with probability `shared`."""
    other = sample_look(rng)
    return replace(other, **{name: getattr(look, name) for name in LOOKS if rng.uniform() < shared})


def face_vectors(encoder: nn.Module, portraits: list[Portrait], rng: np.random.Generator) -> torch.Tensor:
    """[N, 128] of length 1 of the faces in portraits, found as well as the detector would find them."""
    images = torch.from_numpy(np.stack([portrait.image for portrait in portraits])).float() / 255
    points = np.stack([portrait.landmarks for portrait in portraits])
    points = points + rng.normal(0, 0.7, points.shape).astype(np.float32)
    return encoder.embedder(align(images, torch.from_numpy(points))[0]).float()


@torch.no_grad()
def _chunk(number: int, autoencoder: nn.Module, encoder: nn.Module) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([SEED, number])
    made = [(sample_identity(rng), sample_look(rng), sample_pose(rng)) for _ in range(CHUNK)]
    portraits = [draw(*parts) for parts in made]
    latents = [encode(autoencoder, pictures_of(portraits[at : at + 20])) for at in range(0, CHUNK, 20)]
    others = [draw(person, shared_look(look, rng), sample_pose(rng))
              for person, look, _ in made for _ in range(REFERENCES)]  # fmt: skip
    own, references = (torch.cat([face_vectors(encoder, part[at : at + 50], rng) for at in range(0, len(part), 50)])
                       for part in (portraits, others))  # fmt: skip
    return {
        "latents": torch.cat(latents).half().numpy(),
        "looks": np.array([[options.index(getattr(look, name)) for name, options in LOOKS.items()]
                           for _, look, _ in made], np.uint8),
        "identities": np.stack([identity.vector for identity, _, _ in made]),
        "landmarks": np.stack([portrait.landmarks for portrait in portraits]),
        "vectors": own.half().numpy(),
        "references": references.unflatten(0, (CHUNK, REFERENCES)).half().numpy(),
    }  # fmt: skip


def _work(rank: int, processes: int, chunks: int):
    torch.set_num_threads(1)
    autoencoder, encoder = trained_autoencoder(name=Decoder.file), trained_face_encoder()
    for number in range(rank, chunks, processes):
        path = FOLDER / f"{number:05}.npz"
        if path.exists():
            continue
        part = path.with_suffix(".part")
        with open(part, "wb") as file:
            np.savez(file, **_chunk(number, autoencoder, encoder))
        os.replace(part, path)
        print("portraits", (number + 1) * CHUNK, flush=True)


def build(processes: int = 2):
    """Make the portraits that are still missing."""
    Path(FOLDER).mkdir(parents=True, exist_ok=True)
    torch.multiprocessing.start_processes(_work, (processes, COUNT // CHUNK), processes, start_method="spawn")
