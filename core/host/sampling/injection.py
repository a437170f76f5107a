"""What an applied adapter adds at its sites, computed once, and when and where it does."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from .rows import Rows, rows_of
from .run import Run
from .spans import Span


@dataclass(frozen=True)
class Site:
    """One attention of the model that an adapter adds to."""

    key: tuple[str, int, int]  # ComfyUI's name for it: kind of block, number of the block, transformer in it
    width: int  # of its output
    context: int  # width of the prompt's tokens
    order: int  # of its block in the order of execution, 0 first

    @property
    def kind(self) -> str:
        return self.key[0]


class SharedKeys(NamedTuple):
    """Which self-attentions see keys of other rows, and the bias on the logits of these keys."""

    sites: frozenset[tuple]  # keys of the Sites beside them
    bias: float


class Here(NamedTuple):
    """The attention that is running."""

    heads: int
    grid: tuple[int, int]  # of its picture tokens, (height, width)


class IdentityBank(nn.Module):
    """What every site adds (see attention.residuals), computed once and then managed by ComfyUI like any model.

    `sites` in the order of the checkpoint; `mask` [M,H,W] or None.
    """

    def __init__(self, sites, mask=None):
        super().__init__()
        self.sites = nn.ModuleList(sites)
        self.register_parameter("mask", None if mask is None else nn.Parameter(mask, requires_grad=False))


class Injection:
    """One applied adapter: the ModelPatcher that owns its bank, the part of the denoising it works in, and the
    ModelPatcher of its router, for people who share the picture out. Immutable."""

    __slots__ = ("patcher", "router", "span")

    def __init__(self, patcher, span: Span, router=None):
        self.patcher, self.span, self.router = patcher, span, router

    def __deepcopy__(self, memo):
        return self  # ComfyUI 0.3.75 deep-copies model options on every clone; the weights must not go with them

    def residual(
        self, index: int, q: torch.Tensor, text: torch.Tensor, here: Here, options: dict, run: Run
    ) -> torch.Tensor | None:
        """What bank entry `index` adds to a site's output, or None at noise levels outside the range.

        q [B,N,C]: the site's queries; text [B,N,C]: what its attention to the prompt gave.
        """
        if not self.works(options, run):
            return None
        rows = rows_of(options, q.shape[0])
        kinds, off = rows.kinds, rows.off
        site, mask = self.patcher.model.sites[index], self.mask(q, here, run, rows)
        if off is None:
            return self._of(site, kinds, q, text, mask, here)
        present = off.present(q)
        if present is None:
            return None
        mask = None if mask is None else off.present(mask)
        kept = [kind for kind, is_off in zip(kinds, off.chunks, strict=True) if not is_off]
        return off.spread(self._of(site, kept, present, off.present(text), mask, here))

    def _of(self, site, kinds, q, text, mask, here):
        out = site(q, text, kinds, here.heads)
        return out if mask is None else out * mask

    def works(self, options: dict, run: Run) -> bool:
        """Whether the noise level is in the range."""
        sigmas: Any = options.get("sigmas")  # a whole range needs none
        return run.within(run.levels(self.span), sigmas)

    def mask(self, q: torch.Tensor, here: Here, run: Run, rows: Rows) -> torch.Tensor | None:
        """The person's mask on the tokens of q [B,N,C], [B,N,1]; None without one, or where it can't be placed."""
        mask = self.patcher.model.mask
        if mask is None or rows.places is None:
            return None
        key = (self, here.grid, rows.places, q.device, q.dtype)
        if key not in run.masks:
            run.masks[key] = rows.masks(mask.to(q), here.grid)
        return run.masks[key]
