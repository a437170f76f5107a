"""Every family's tiny checkpoint by name, as flat tensors under its published keys."""

import torch

from .consistentid import consistentid
from .ip_adapter import flat, ip_adapter
from .masterweaver import masterweaver
from .photomaker import photomaker
from .pulid import converted, pulid
from .uniportrait import faceid as uniportrait
from .wplus import wplus

FILES = {
    **{
        f"{layout}-{kind}": lambda layout=layout, kind=kind: ip_adapter(layout, kind)
        for layout in ("faceid", "faceid-plus", "portrait", "unnorm", "plus")
        for kind in ("sd15", "sdxl")
    },
    "basic-sd15": lambda: ip_adapter("basic", "sd15"),
    "full-sd15": lambda: ip_adapter("full", "sd15"),
    "pulid-v1": lambda: pulid("v1"),
    "pulid-v1.1": lambda: pulid("v1.1"),
    "photomaker-v1": lambda: photomaker("v1"),
    "photomaker-v2": lambda: photomaker("v2"),
    "consistentid-sd15": lambda: consistentid("sd15"),
    "consistentid-sdxl": lambda: consistentid("sdxl"),
    "masterweaver": masterweaver,
    "wplus": wplus,
    "uniportrait": uniportrait,
}


def family(name: str) -> dict[str, torch.Tensor]:
    """The tensors of one of FILES, or of "pulid-v1-converted"."""
    return converted(flat(pulid("v1"))) if name == "pulid-v1-converted" else flat(FILES[name]())
