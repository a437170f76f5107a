"""What an applied adapter adds at its sites, computed once, and when and where it does."""

import torch
from torch import nn

from .rows import Rows, rows_of
from .run import Run
from .spans import Span


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

    def residual(self, index: int, q, text, options: dict, run: Run) -> torch.Tensor | None:
        """What bank entry `index` adds to a site's output, or None at noise levels outside the range.

        q [B,N,C]: the site's queries; text [B,N,C]: what its attention to the prompt gave.
        """
        if not self.works(options, run):
            return None
        rows = rows_of(options, q.shape[0])
        kinds, off = rows.kinds, rows.off
        site, mask = self.patcher.model.sites[index], self.mask(q, options, run, rows)
        if off is None:
            return self._of(site, kinds, q, text, mask, options)
        if not off.absent:
            return self._of(site, off.kinds(kinds), q, text, mask, options)
        q, text, mask = (None if rows is None else off.present(rows) for rows in (q, text, mask))
        if q is None:
            return None
        kinds = [kind for kind, is_off in zip(kinds, off.chunks, strict=True) if not is_off]
        return off.spread(self._of(site, kinds, q, text, mask, options))

    def _of(self, site, kinds, q, text, mask, options):
        out = site(q, text, kinds, options["n_heads"])
        return out if mask is None else out * mask

    def works(self, options: dict, run: Run) -> bool:
        """Whether the noise level is in the range."""
        return run.within(run.levels(self.span), options.get("sigmas"))

    def mask(self, q: torch.Tensor, options: dict, run: Run, rows: Rows) -> torch.Tensor | None:
        """The person's mask on the tokens of q [B,N,C], [B,N,1]; None without one, or where it can't be placed."""
        mask = self.patcher.model.mask
        if mask is None or rows.places is None:
            return None
        size = tuple(options["activations_shape"][-2:])
        key = (self, size, rows.places, q.device, q.dtype)
        if key not in run.masks:
            run.masks[key] = rows.masks(mask.to(q), size)
        return run.masks[key]
