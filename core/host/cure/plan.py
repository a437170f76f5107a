"""What an artist asks the cure for: worked out once, when the node runs, and the same in every run of the model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ...cure import Attribute, Mode
from ..conditioning.prompt import Encoded
from ..sampling.injection import SharedKeys
from ..sampling.spans import Span
from .regions import RegionReader


@dataclass(frozen=True)
class CurePlan:
    """Nothing in it changes. What is None is not asked for."""

    mode: Mode
    separate: bool  # whether what the model draws without identity has latents of its own
    strength: float  # 0 to 1
    span: Span  # the part of the denoising in which the picture is changed
    attributes: tuple[Attribute, ...]  # what is to be found in the picture; none where a mask says all
    mask: torch.Tensor | None  # the artist's [M,H,W] in 0..1, which limits everything
    foundation: Any | None  # the MODEL without identity, where it is one of its own
    context: torch.Tensor  # the encoded prompt [1,T,D]
    lacking: Encoded | None  # the prompt without the attributes, to see what they change; without a word where none are
    select: torch.Tensor | None  # [T,A] picks each attribute's tokens, where attention maps are read
    extra_keys: SharedKeys | None  # where keys are shared
    regions: RegionReader | None  # a face parser
    depth: float  # of the abstract pass, as a share of the steps
    template: Encoded | None  # the prompt without its abstract words; None: no abstract pass
    observe: Callable | None  # called at the end of a run with the attributes and their masks [B,A,H,W]

    @property
    def has_place(self) -> bool:
        """Whether anything but the abstract pass is to be done."""
        return bool(self.attributes) or self.mask is not None

    @property
    def apart(self) -> bool:
        """Whether rows without identity run in a forward of their own rather than in the same batch."""
        return self.separate or self.foundation is not None
