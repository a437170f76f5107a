"""A tiny W+ adapter in the published layout, with random weights."""

import torch

from .files import CONTEXT_DIM
from .ip_adapter import Numbers

ROWS = (4, 4, 4, 6)
CODE = 32  # numbers of a row, 512 as published
FACE_DIM = sum(ROWS) * CODE


def wplus(seed: int = 0, code: int = CODE) -> dict[str, dict[str, torch.Tensor]]:
    """{"w_proj": ..., "wplus_adapter": K, V and Q of each site} for the tiny SD1.5."""
    numbers, context = Numbers(seed + 60), CONTEXT_DIM["sd15"]
    projection = {f"proj_{n}.weight": numbers.matrix(context, rows * code) for n, rows in enumerate(ROWS)}
    sites = numbers.sites("sd15", ("to_k_wplus", "to_v_wplus"))
    for key in [key for key in sites if "to_k" in key]:
        width = len(sites[key])
        sites[key.replace("to_k", "to_q")] = numbers.matrix(width, width)
    return {"w_proj": projection | numbers.norm("norm", context), "wplus_adapter": sites}
