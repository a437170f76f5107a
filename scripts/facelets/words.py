"""The text encoder's first lesson: to say what a caption says.

Stable Diffusion's text encoder comes trained; a U-Net that meets an untrained one learns for long to draw anything. So
the last token, which sees all others, first learns to name every attribute that the caption does.
"""

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from .networks import new_text_encoder, read_finished
from .pack import file_of
from .prompts import encode_captions, known_tokens, said
from .training import Stage, initialise
from .world import LOOKS, Look, caption, sample_look

# How much of a look captions say: from two words to everything.
KEEP = ((0.0, 0.08), (0.5, 0.22), (0.75, 0.4), (1.0, 0.3))


def compact_text_encoder() -> nn.Module:
    """ComfyUI's text encoder, uninitialised, whose table has rows for known tokens only."""
    text = new_text_encoder()
    embeddings = text.text_model.embeddings
    width = embeddings.token_embedding.weight.shape[1]
    embeddings.token_embedding = type(embeddings.token_embedding)(len(known_tokens()) + 1, width)
    return text


def trained_text_encoder() -> dict[str, Tensor]:
    """The weights that this stage left."""
    return read_finished("words")


def captions_of(looks: list[Look], rng: np.random.Generator, absent: float) -> list[str]:
    """A caption of each look, from bare to full; `absent`: how often they say what is not there."""
    keeps = rng.choice([keep for keep, _ in KEEP], len(looks), p=[part for _, part in KEEP])
    return [caption(look, rng, keep, absent) for look, keep in zip(looks, keeps, strict=True)]


class Reader(nn.Module):
    """The text encoder and a linear reading of its last token: for each attribute nothing, or one of its values."""

    def __init__(self):
        super().__init__()
        self.text = compact_text_encoder()
        self.read = nn.Linear(128, sum(len(values) + 1 for values in LOOKS.values()))
        initialise(self)

    def forward(self, rows: Tensor) -> list[Tensor]:
        return self.read(self.text(rows)[0][:, -1]).split([len(values) + 1 for values in LOOKS.values()], 1)


class Words(Stage):
    name = "words"
    seed = 21
    steps = 500
    batch = 128
    rate = 2e-3
    warm_up = 50
    average = 0.99

    def build(self):
        return Reader()

    def loss(self, model, rng, count, progress):
        texts = captions_of([sample_look(rng) for _ in range(count)], rng, absent=0.3)
        named = [said(text) for text in texts]
        answers = torch.tensor([[1 + values.index(one[name]) if name in one else 0 for name, values in LOOKS.items()]
                                for one in named], device=self.device)  # fmt: skip
        logits = model(self.put(encode_captions(texts, rng, unknown=0.15)))
        loss = sum(F.cross_entropy(*pair) for pair in zip(logits, answers.T, strict=True)) / len(logits)
        right = [(part.argmax(1) == answer).float().mean() for part, answer in zip(logits, answers.T, strict=True)]
        return loss, {"right": torch.stack(right).mean()}

    def export(self, model, summary):
        save_file({key: value.contiguous() for key, value in model.text.state_dict().items()}, file_of("words"))
