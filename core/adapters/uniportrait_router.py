"""UniPortrait's router, a file of its own: which of several people each image token belongs to.

Per cross-attention site, with h [B,N,C] what the site is given (not its queries) and t [B,T,D] a person's tokens:
score = to_q_router(h) . to_k_router(aggr_router(t)), where aggr_router weighs the T tokens up into one. Keys:
`faceid_adapter.{n}.to_q_router.{0,2}`, `to_k_router.{0,2}`, `aggr_router`, and a LoRA for pictures of several people,
which takes the place of the adapter's own.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..attention.residuals import Attend, Routed
from ..layer_types import Device, Dtype, Operations
from ..weights import WeightFile, WeightsError, fill, fitting, kind_of
from .files import check_whole, copied, published, widest_dtype
from .ip_layout import site_widths, split_lora
from .spec import AdapterSpec, LoRA, Tensors
from .uniportrait import LAYERS

_KIND = "a UniPortrait router"


class _Site(nn.Module):
    def __init__(self, tensors, prefix, token_dim, width, tokens, device=None, dtype=None, operations=nn):
        super().__init__()
        place = {"device": device, "dtype": dtype}

        def mlp(name, into):
            hidden = tensors[f"{prefix}.{name}.0.weight"].shape[0]
            return nn.Sequential(
                operations.Linear(into, hidden, **place),
                nn.GELU(),
                operations.Linear(hidden, width, bias=False, **place),
            )

        self.to_q_router = mlp("to_q_router", width)
        self.to_k_router = mlp("to_k_router", token_dim)
        self.aggr_router = operations.Linear(tokens, 1, **place)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [B,T,D] -> [B,1,C]."""
        return self.to_k_router(self.aggr_router(tokens.transpose(1, 2)).transpose(1, 2))


class Router(nn.Module):
    """The routers of all sites; parameter names are the checkpoint's."""

    lora: LoRA = LoRA()

    def __init__(self, tensors: Tensors, spec: AdapterSpec, **place: Any):
        super().__init__()
        self.faceid_adapter = nn.ModuleDict(
            {
                str(n): _Site(tensors, f"{LAYERS}.{n}", spec.token_dim, width, spec.tokens, **place)
                for n, width in zip(range(1, 2 * len(spec.site_widths), 2), spec.site_widths, strict=True)
            }
        )

    def routed(self, sites: Sequence[Attend], tokens: torch.Tensor) -> list[Routed]:
        """What each site adds, with the key by which tokens [2,T,D] (nobody's, the person's) are chosen there."""
        return [Routed(site, part(tokens)) for site, part in zip(sites, self.faceid_adapter.values(), strict=True)]

    def queries(self, index: int, hidden: torch.Tensor) -> torch.Tensor:
        """What the site of this number is given, [B,N,C], as queries for the people's keys [B,N,C]."""
        return self.faceid_adapter.get_submodule(f"{2 * index + 1}.to_q_router")(hidden)


def load_router(
    file: WeightFile, spec: AdapterSpec, device: Device = None, dtype: Dtype = None, operations: Operations = nn
) -> Router:
    """The router in a file, for the adapter of a spec; `dtype` None keeps the file's own, the widest of several.

    Raises WeightsError with one sentence when the file is no router, incomplete, or for another adapter.
    """
    tensors = published(file)
    if spec.family != "uniportrait" or not any(".aggr_router." in key for key in tensors):
        raise WeightsError(
            f"{file.name} is {kind_of(tensors)}, and the adapter is {spec.named}; set router to none, or choose "
            "UniPortrait's two files, uniportrait-faceid_sd15.bin and uniportrait-router_sd15.bin."
        )
    with fitting(file.name):
        tensors, lora = split_lora(tensors)
        widths = site_widths(tensors, ("to_q_router.2", "to_k_router.2", "aggr_router"), LAYERS)
        if widths != spec.site_widths:
            raise WeightsError(
                f"{file.name} is {_KIND} for {len(widths)} attention sites of other widths than the adapter's "
                f"{len(spec.site_widths)}; choose two files that belong together."
            )
        check_whole(spec, lora, file)
        place = {"device": device, "dtype": dtype or widest_dtype(tensors), "operations": operations}
        router = Router(tensors, spec, **place)
        fill(router, tensors, file.name, _KIND)
        router.lora = copied(lora)
    return router.eval().requires_grad_(False)
