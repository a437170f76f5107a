"""What checkpoints in IP-Adapter's layout share: K and V per cross-attention site, and LoRA layers between them.

`{prefix}.{n}.to_k_ip.weight`: n counts diffusers' attention processors in the order down, up, middle, self-attention
before cross-attention; so odd n are cross-attentions, and n // 2 is the site.
"""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..layer_types import Device, Dtype, Operations
from .family import IDAdapter
from .spec import AdapterSpec, LoRA, Tensors

IP_NAMES = ("to_k_ip", "to_v_ip")
_LORA = re.compile(r"[a-z_]+\.(\d{1,4})\.to_(q|k|v|out)_lora\.(down|up)\.weight")


def site_widths(tensors: Tensors, names: Sequence[str] = IP_NAMES, prefix: str = "ip_adapter") -> tuple[int, ...]:
    """Channels of each site in the checkpoint's order, up to the highest number that has K or V; `names` are theirs.

    KeyError names a site's tensor that is missing: one in the middle would leave all behind it on the wrong layers.
    """
    site = re.compile(rf"{prefix}\.(\d{{1,4}})\.(?:{'|'.join(names)})\.weight")
    last = max((int(match[1]) for key in tensors if (match := site.fullmatch(key))), default=0)
    return tuple(tensors[f"{prefix}.{n}.{names[0]}.weight"].shape[0] for n in range(1, last + 1, 2))


def block_widths(tensors: Tensors, sites: re.Pattern, width_of: str) -> tuple[int, ...]:
    """Channels of each block of a transformer up to the highest number in a key that matches `sites`; () without any.

    `width_of`: the key, with {} for the number, of a tensor with as many rows. KeyError names one that is missing.
    """
    last = max((int(match[1]) for key in tensors if (match := sites.match(key))), default=-1)
    return tuple(tensors[width_of.format(number)].shape[0] for number in range(last + 1))


class SiteKV(nn.ModuleDict):
    """`{n}.{k}.weight` and `{n}.{v}.weight` of every site; `names` are k's and v's."""

    def __init__(
        self, token_dim: int, widths: Sequence[int], names: Sequence[str] = IP_NAMES,
        device: Device = None, dtype: Dtype = None, operations: Operations = nn,
    ):  # fmt: skip
        def linear(width):
            return operations.Linear(token_dim, width, bias=False, device=device, dtype=dtype)

        super().__init__(
            {
                str(2 * index + 1): nn.ModuleDict({name: linear(width) for name in names})
                for index, width in enumerate(widths)
            }
        )
        self._names = names

    def forward(self, tokens: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Tokens [B,T,token_dim] -> K and V [B,T,width] of each site."""
        k, v = self._names
        return [(site.get_submodule(k)(tokens), site.get_submodule(v)(tokens)) for site in self.values()]


class SiteAdapter(IDAdapter):
    """Base of families in IP-Adapter's layout: `ip_adapter` makes K and V of tokens; `names` as in SiteKV."""

    def __init__(self, spec: AdapterSpec, names: Sequence[str] = IP_NAMES, **place: Any):
        super().__init__()
        self.spec = spec
        self.ip_adapter = SiteKV(spec.token_dim, spec.site_widths, names, **place)

    def keys_values(self, tokens: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return self.ip_adapter(tokens)


def split_lora(tensors: Tensors) -> tuple[dict[str, torch.Tensor], LoRA]:
    """A file's tensors without its LoRA layers `{prefix}.{n}.to_{q,k,v,out}_lora.{down,up}.weight`, and these.

    They have no alpha, so their scale is 1. KeyError names half a layer.
    """
    rest: dict[str, torch.Tensor] = {}
    found: dict[tuple[int, str, str], dict[str, Any]] = {}
    for key, tensor in tensors.items():
        match = _LORA.fullmatch(key)
        if match is None:
            rest[key] = tensor
        else:
            number, part, half = int(match[1]), f"to_{match[2]}", match[3]
            layer = found.setdefault((number // 2, "attn2" if number % 2 else "attn1", part), {"key": key})
            layer[half] = tensor
    for layer in found.values():
        for half, other in (("down", "up"), ("up", "down")):
            if half not in layer:
                raise KeyError(layer["key"].replace(f"lora.{other}", f"lora.{half}"))
        if layer["down"].ndim != 2 or layer["up"].ndim != 2 or layer["down"].shape[0] != layer["up"].shape[1]:
            raise RuntimeError(f"the LoRA layer {layer['key']} has halves of different ranks")
    return rest, LoRA({key: (layer["down"], layer["up"]) for key, layer in found.items()})
