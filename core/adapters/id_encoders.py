"""PuLID's encoders (Guo et al. 2024): a face vector and what EVA-CLIP sees of the face become identity tokens."""

import re
from typing import Any

import torch
from torch import nn

from ..layer_types import Device, Dtype, Operations
from .resampler import perceiver_layers, refine
from .spec import Tensors

STATES = 5  # EVA's hidden states that PuLID takes, coarse to fine
FACE_TOKENS = 5  # tokens that the face vector alone makes
DIM_HEAD = 64


def perceptron(
    dim: int, hidden: int, output: int, device: Device = None, dtype: Dtype = None, operations: Operations = nn
) -> nn.Sequential:
    """Three linear layers with LayerNorm and LeakyReLU between them; the indices 0, 1, 3, 4 and 6 are the keys."""
    place = {"device": device, "dtype": dtype}
    return nn.Sequential(
        operations.Linear(dim, hidden, **place), operations.LayerNorm(hidden, **place), nn.LeakyReLU(),
        operations.Linear(hidden, hidden, **place), operations.LayerNorm(hidden, **place), nn.LeakyReLU(),
        operations.Linear(hidden, output, **place),
    )  # fmt: skip


class IDEncoder(nn.Module):
    """Version 1: 5 tokens of the face, and one of each hidden state, the sum of its class token and its patches' mean.

    face_dim, hidden: width and inner width of the face's part; seen_dim, seen_hidden: those of the hidden states'.
    """

    def __init__(self, face_dim: int, hidden: int, seen_dim: int, seen_hidden: int, output_dim: int, **place: Any):
        super().__init__()
        self.output_dim = output_dim
        self.body = perceptron(face_dim, hidden, FACE_TOKENS * output_dim, **place)
        for state in range(STATES):
            self.add_module(f"mapping_{state}", perceptron(seen_dim, seen_hidden, output_dim, **place))
            self.add_module(f"mapping_patch_{state}", perceptron(seen_dim, seen_hidden, output_dim, **place))

    def forward(self, faces: torch.Tensor, seen: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """faces [N,face_dim], seen 5 x [N,S,seen_dim] -> [N,10,output_dim]."""
        tokens = [self.body(faces).unflatten(-1, (FACE_TOKENS, self.output_dim))]
        for state, hidden in enumerate(seen):
            whole = self.get_submodule(f"mapping_{state}")(hidden[:, :1])
            patches = self.get_submodule(f"mapping_patch_{state}")(hidden[:, 1:]).mean(1, keepdim=True)
            tokens.append(whole + patches)
        return torch.cat(tokens, dim=1)


class IDFormer(nn.Module):
    """Version 1.1: learned queries and 5 tokens of each face look at each hidden state in turn, by several layers each.

    `depth` is the number of all layers. All photographs together make one set of tokens.
    """

    def __init__(
        self, face_dim: int, hidden: int, seen_dim: int, seen_hidden: int, dim: int, inner: int, depth: int,
        queries: int, output_dim: int, device: Device = None, dtype: Dtype = None, operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        place = {"device": device, "dtype": dtype, "operations": operations}
        self.latents = nn.Parameter(torch.zeros(1, queries, dim, device=device, dtype=dtype))
        self.proj_out = nn.Parameter(torch.zeros(dim, output_dim, device=device, dtype=dtype))
        self.layers = perceiver_layers(dim, inner, depth, DIM_HEAD, **place)
        for state in range(STATES):
            self.add_module(f"mapping_{state}", perceptron(seen_dim, seen_hidden, dim, **place))
        self.id_embedding_mapping = perceptron(face_dim, hidden, FACE_TOKENS * dim, **place)

    def forward(self, faces: torch.Tensor, seen: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """faces [N,face_dim], seen 5 x [N,S,seen_dim] -> [1,queries,output_dim]."""
        faces = self.id_embedding_mapping(faces).view(1, -1, self.latents.shape[-1])
        latents = torch.cat([self.latents.to(faces), faces], dim=1)
        each = len(self.layers) // STATES
        for state, hidden in enumerate(seen):
            context = self.get_submodule(f"mapping_{state}")(hidden.flatten(0, 1)[None])
            context = torch.cat([faces, context], dim=1)
            latents = refine(self.layers[state * each : (state + 1) * each], context, latents)
        return latents[:, : self.latents.shape[1]] @ self.proj_out.to(latents)


def former_of(tensors: Tensors, prefix: str, **place: Any) -> IDFormer:
    """An IDFormer of the sizes that tensors under `prefix` have; KeyError or RuntimeError if they are none's."""
    hidden, face_dim = tensors[f"{prefix}id_embedding_mapping.0.weight"].shape
    seen_hidden, seen_dim = tensors[f"{prefix}mapping_0.0.weight"].shape
    queries, dim = tensors[f"{prefix}latents"].shape[-2:]
    inner = tensors[f"{prefix}layers.0.0.to_q.weight"].shape[0]
    layer = re.compile(rf"{re.escape(prefix)}layers\.(\d{{1,2}})\.")
    depth = 1 + max(int(match[1]) for key in tensors if (match := layer.match(key)))
    if not inner or inner % DIM_HEAD or depth % STATES:
        raise RuntimeError(f"attention width {inner} is no multiple of {DIM_HEAD}, or {depth} layers none of {STATES}")
    sizes = face_dim, hidden, seen_dim, seen_hidden, dim, inner, depth, queries
    return IDFormer(*sizes, tensors[f"{prefix}proj_out"].shape[-1], **place)
