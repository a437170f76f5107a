"""Adapters of other packs at the same attention sites, in front of this pack's nodes and behind them."""

from functools import cache

import torch
from host_cases import randn
from tiny.ip_adapter import POOLED, ip_adapter

from ..bench import EVERY, KIND
from ..cases import Outcome, case

_PACK = "ComfyUI_IPAdapter_plus"


@cache
def _weights():
    return ip_adapter("basic", KIND)


def ipadapter(bench, model, mask=None):
    """IPAdapter Embeds with a small adapter for plain pictures."""
    return bench.node(
        "IPAdapterEmbeds", model=model, ipadapter=_weights(), pos_embed=randn(1, POOLED, seed=5), weight=1.0,
        weight_type="linear", start_at=0.0, end_at=1.0, embeds_scaling="V only", attn_mask=mask,
        neg_embed=torch.zeros(1, POOLED),
    )  # fmt: skip


@case("IPAdapter plus behind", "in front", [*EVERY, "routed people, masked"], pack=_PACK)
def both_orders(bench, put):
    def run(put, behind):
        model, *prompts = put(before=None if behind else lambda model: ipadapter(bench, model))
        return bench.sample(ipadapter(bench, model) if behind else model, *prompts)

    return Outcome(run(put, True), run(put, False), run(put.base, False))
