"""What every identity adapter is: a projection, K and V per attention site, and what face it wants."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import nn


def base_name(sites: int, token_dim: int) -> str:
    """A foundation model's name, from the number of its cross-attention sites and its text width."""
    names = {(16, 768): "SD1.5", (16, 1024): "SD2.1", (70, 2048): "SDXL"}
    return names.get((sites, token_dim), "a model of its own kind")


@dataclass(frozen=True)
class AdapterSpec:
    """What a checkpoint is and what it needs, read from its keys and shapes.

    `face_space` names the encoder whose vectors the adapter was trained on, None when the file cannot say.
    `site_widths` holds the channels of each cross-attention site in the checkpoint's own order: down, up, middle.
    """

    family: str
    title: str
    face_space: str | None
    face_dim: int
    tokens: int
    token_dim: int
    site_widths: tuple[int, ...]
    needs_control_net: bool
    licence: str

    @property
    def base(self) -> str:
        """The name of the foundation model that the adapter is for."""
        return base_name(len(self.site_widths), self.token_dim)

    @property
    def faces_from(self) -> str:
        """The encoder whose faces it takes, in words."""
        if self.face_space is None:
            return f"any encoder with {self.face_dim} numbers"
        return f"{self.face_space} ({self.face_dim} numbers)"

    def about(self, file_name: str) -> str:
        """Text for the artist: what the file is, what it fits and which faces it takes."""
        lines = [
            f"{self.title} adapter ({file_name})",
            f"For: {self.base}, {len(self.site_widths)} attention sites, text width {self.token_dim}",
            f"Identity tokens: {self.tokens}",
            f"Faces from: {self.faces_from}",
            f"Landmark ControlNet: {'expected, connect LandmarkControl' if self.needs_control_net else 'not needed'}",
            f"Licence: {self.licence}",
        ]
        return "\n".join(lines)


class IDAdapter(nn.Module, ABC):
    """Base of all families: `project` turns a face vector into tokens, `keys_values` tokens into K and V per site."""

    spec: AdapterSpec

    @abstractmethod
    def project(self, vectors: torch.Tensor) -> torch.Tensor:
        """Face vectors [B,N,face_dim] -> identity tokens [B,tokens,token_dim]."""

    @abstractmethod
    def keys_values(self, tokens: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Identity tokens [B,T,token_dim] -> K and V [B,T,site width] for each site, in the checkpoint's order."""
