"""Every adapter's tiny checkpoint by name, as flat tensors under its published keys."""

import torch

from .consistentid import consistentid
from .fact import nested as fact
from .flux_ip import instantx, xlabs
from .infiniteyou import infiniteyou
from .ip_adapter import flat, ip_adapter
from .masterweaver import masterweaver
from .photomaker import photomaker
from .pulid import converted, pulid, pulid_flux
from .uniportrait import faceid as uniportrait
from .withanyone import withanyone, withanyone_ke
from .wplus import wplus

FILES = {
    **{
        f"{layout}-sd15": lambda layout=layout: ip_adapter(layout, "sd15")
        for layout in ("faceid", "faceid-plus", "portrait", "unnorm", "plus", "basic", "full")
    },
    "faceid-sdxl": lambda: ip_adapter("faceid", "sdxl"),
    "pulid-v1": lambda: pulid("v1"),
    "pulid-v1.1": lambda: pulid("v1.1"),
    "pulid-flux": pulid_flux,
    "infiniteyou": infiniteyou,
    "withanyone": withanyone,
    "withanyone-ke": withanyone_ke,
    "xlabs": xlabs,
    "xlabs-v2": lambda: xlabs(16),
    "instantx": instantx,
    "photomaker-v1": lambda: photomaker("v1"),
    "photomaker-v2": lambda: photomaker("v2"),
    "consistentid-sd15": lambda: consistentid("sd15"),
    "consistentid-sdxl": lambda: consistentid("sdxl"),
    "masterweaver": masterweaver,
    "wplus": wplus,
    "uniportrait": uniportrait,
    "fact": fact,
}


def family(name: str) -> dict[str, torch.Tensor]:
    """The tensors of one of FILES, or of "pulid-v1-converted"."""
    return converted(flat(pulid("v1"))) if name == "pulid-v1-converted" else flat(FILES[name]())
