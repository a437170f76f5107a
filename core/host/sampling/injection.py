"""What an applied adapter adds at its sites, computed once, and when and where it does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from .rows import Rows, rows_of
from .run import Run
from .spans import Span


@dataclass(frozen=True)
class Site:
    """One place in the model where an adapter adds something: a U-Net's cross-attention, a transformer's block."""

    # ComfyUI's name for it: kind of block, number of the block; in a U-Net the number of the transformer in it too.
    key: tuple
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
    """The attention that is running, or the block."""

    heads: int
    grid: tuple[int, int]  # of its picture tokens, (height, width)
    patch: int = 0  # cells of the latent along a side of a token, whose masks are means over it; 0: interpolated
    text: int = 0  # how many tokens of the prompt lie before the picture's, and are added to as well


class IdentityBank(nn.Module):
    """What every site adds (see attention.residuals), computed once and then managed by ComfyUI like any model.

    `sites` in the order of the checkpoint; `mask` [M,H,W] or None.
    """

    def __init__(self, sites, mask=None):
        super().__init__()
        self.sites = nn.ModuleList(sites)
        self.register_parameter("mask", None if mask is None else nn.Parameter(mask, requires_grad=False))


class Injection:
    """One applied adapter: the ModelPatcher that owns its bank, the part of the denoising it works in, the ModelPatcher
    of its router, for people who share the picture out, and whether it adds something of nobody too. Immutable."""

    __slots__ = ("has_nobody", "patcher", "router", "span")

    def __init__(self, patcher, span: Span, router=None, has_nobody: bool = True):
        self.patcher, self.span, self.router, self.has_nobody = patcher, span, router, has_nobody

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
        site, mask = self.patcher.model.sites[index], self.mask(q, here, run, rows)

        def added(q, text, kinds, mask):
            out = site(q, text, kinds, here.heads)
            return out if mask is None else out * mask

        return with_identity(self.among(rows), added, q, text, mask)

    def among(self, rows: Rows) -> Rows:
        """The rows that it adds to are those with identity of these."""
        return rows if self.has_nobody else rows.of_people

    def works(self, options: dict, run: Run) -> bool:
        """Whether the noise level is in the range."""
        sigmas: Any = options.get("sigmas")  # a whole range needs none
        return run.within(run.levels(self.span), sigmas)

    def mask(self, q: torch.Tensor, here: Here, run: Run, rows: Rows) -> torch.Tensor | None:
        """The person's mask on the tokens of q [B,N,C], [B,N,1]; None without one, or where it can't be placed."""
        mask = self.patcher.model.mask
        if mask is None or rows.places is None:
            return None
        key = (self, here, rows.places, q.device, q.dtype)
        if key not in run.masks:
            masks = rows.masks(mask.to(q), here.grid, here.patch)
            if here.text:  # the prompt is said once for the whole picture: as much of it as the mask covers
                masks = torch.cat([masks.mean(1, keepdim=True).expand(-1, here.text, -1), masks], dim=1)
            run.masks[key] = masks
        return run.masks[key]


def with_identity(
    rows: Rows, added: Callable, q: torch.Tensor, text: torch.Tensor, *masks: torch.Tensor | None
) -> torch.Tensor | None:
    """`added(q, text, kinds, *masks)` [B,N,C] of rows with identity, zeros for others; None where there are none."""
    if rows.off is None:
        return added(q, text, rows.kinds, *masks)
    present = rows.off.present(q)
    if present is None:
        return None
    kept = [kind for kind, is_off in zip(rows.kinds, rows.off.chunks, strict=True) if not is_off]
    texts = present if text is q else rows.off.present(text)
    cut = [None if one is None else rows.off.present(one) for one in masks]
    return rows.off.spread(added(present, texts, kept, *cut))
