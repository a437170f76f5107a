"""Sharing image tokens out among people, so that each token has one face."""

from collections.abc import Sequence

import torch


def shares(scores: Sequence[torch.Tensor], masks: Sequence[torch.Tensor | None]) -> list[torch.Tensor]:
    """1 for the person with the highest score at each token and 0 for the others, [B,N,1] each, 1 in sum.

    scores: [B,N,1] per person. masks: of where a person may be, in 0..1 (None: anywhere); at each token only those
    compete whose masks are highest. Equal scores share a token equally, as the unconditional half of a batch has them
    everywhere, where everybody is nobody; so the order of people never matters.
    """
    rated = torch.stack(list(scores))
    if any(mask is not None for mask in masks):
        own = torch.stack([torch.ones_like(scores[0]) if mask is None else mask.to(scores[0]) for mask in masks])
        rated = rated.masked_fill(own < own.amax(0), -torch.inf)
    won = (rated == rated.amax(0)).to(rated.dtype)
    return list((won / won.sum(0)).unbind())
