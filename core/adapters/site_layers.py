"""The layers of an adapter that make keys and values at each cross-attention site, under any published names."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import nn


def site_widths(tensors: Mapping[str, torch.Tensor], part: str, names: Sequence[str]) -> dict[int, int]:
    """Checkpoint number (1, 3, 5, ... up to the highest there is) of each site in `part` -> its channels.

    `names` are those of the layers for keys and for values. KeyError names a site's tensor that is missing.
    """
    pattern = re.compile(rf"{part}\.(\d{{1,4}})\.(?:{'|'.join(names)})\.weight")
    last = max((int(match[1]) for key in tensors if (match := pattern.fullmatch(key))), default=0)
    return {n: tensors[f"{part}.{n}.{names[0]}.weight"].shape[0] for n in range(1, 1 + last, 2)}


class SiteLayers(nn.ModuleDict):
    """Linear layers without bias by site and name, as the checkpoint names them."""

    def __init__(
        self, token_dim: int, widths: Mapping[int, int], names: Sequence[str], device=None, dtype=None, operations=nn
    ):
        super().__init__()
        for number, width in widths.items():
            self[str(number)] = nn.ModuleDict(
                {name: operations.Linear(token_dim, width, bias=False, device=device, dtype=dtype) for name in names}
            )

    def forward(self, tokens: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
        """Tokens [B,T,token_dim] -> keys and values [B,T,width] of each site."""
        return [tuple(layer(tokens) for layer in site.values()) for site in self.values()]
