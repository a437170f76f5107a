"""What every identity adapter is: a projection, what it adds at each attention site, and what it is given."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from ..attention.residuals import Attend
from .spec import AdapterSpec, Clues, Known, LoRA, Tensors

METHODS = ("fidelity", "style", "plain")


@dataclass(frozen=True)
class Seen:
    """What a vision model makes of N pictures: hidden states [N,S,C] (the last but one layer of CLIP; several layers
    of EVA), and the embedding of the whole picture [N,P]; what it does not make is empty."""

    hidden: tuple[torch.Tensor, ...] = ()
    pooled: torch.Tensor = field(default_factory=lambda: torch.zeros(0))

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Seen":
        """Every tensor put through a function."""
        pooled = change(self.pooled) if len(self.pooled) else self.pooled
        return Seen(tuple(change(one) for one in self.hidden), pooled)


@dataclass(frozen=True)
class FaceInput:
    """One person as an adapter gets it: face vectors [N,D] (normalised where the spec asks for it) and what was seen
    of N pictures, or these themselves [N,3,H,W] (RGB, 0..1) where the look has no vision. For nobody: vectors of
    zeros, and what was seen of an empty picture. `empty`: what is seen of one, for adapters that take a certain number
    of pictures. `equal`: no photograph leads the others, where an adapter makes a difference. What an adapter does not
    take is empty."""

    vectors: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    seen: Seen = field(default_factory=Seen)
    empty: Seen = field(default_factory=Seen)
    equal: bool = False


@dataclass(frozen=True)
class Choices:
    """What the artist chose beyond the weight; each family heeds what concerns it.

    structure: how much the picture of the face adds to its vector, 1 as published (FaceID Plus v2, UniPortrait).
    method: PuLID's, one of METHODS.
    """

    structure: float = 1.0
    method: str = METHODS[0]


DEFAULTS = Choices()


class IDAdapter(nn.Module, ABC):
    """Base of all families: `project` turns a person into tokens, `sites` makes of them what each site adds.

    A family is built as `family(spec, tensors, device=None, dtype=None, operations=nn)`, with the tensors that `split`
    gave, and names its parameters as they are named.
    """

    # What a list of families calls it, maybe together with others, and its adapters.
    named: ClassVar[str]
    known: ClassVar[tuple[Known, ...]]
    # What `sites` gives uses the adapter's layers while sampling. In a U-Net these are gates (see attention.gates),
    # which work on what goes into the cross-attentions.
    keeps_layers: ClassVar[bool] = False
    # Rows that are not the person's get what nobody's face adds; where its authors know no such thing, nothing at all.
    has_nobody: ClassVar[bool] = True

    spec: AdapterSpec
    lora: LoRA = LoRA()

    @staticmethod
    @abstractmethod
    def recognise(tensors: Tensors, clues: Clues) -> AdapterSpec | None:
        """Tensors under their published names -> the spec of the file, or None if it is another family's.

        KeyError names a tensor that is missing.
        """

    @classmethod
    def split(cls, tensors: Tensors) -> tuple[Tensors, LoRA]:
        """All of a recognised file's tensors, the module's under the names of its parameters, and its LoRA.

        Tensors that the module has no use for stay among them, so that they can be named.
        """
        return tensors, LoRA()

    @abstractmethod
    def project(self, faces: FaceInput, choices: Choices = DEFAULTS) -> torch.Tensor:
        """A person -> identity tokens [1,T,token_dim]; raises ValueError with one sentence for what does not fit."""

    def keys_values(self, tokens: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Identity tokens [B,T,token_dim] -> K and V [B,T,site width] for each site, in the checkpoint's order."""
        return []

    def sites(self, tokens: torch.Tensor, choices: Choices = DEFAULTS) -> list[nn.Module]:
        """What each site adds at weight 1 (attention.residuals), for tokens [2,T,token_dim]: nobody's, the person's.

        [1,T,token_dim] are the person's, where `has_nobody` is false.
        """
        return [Attend(k, v) for k, v in self.keys_values(tokens)]
