"""Sharing image tokens out among people, so that each token has one face."""

from collections.abc import Sequence

import torch


def shares(scores: Sequence[torch.Tensor], allowed: Sequence[torch.Tensor | None]) -> list[torch.Tensor]:
    """1 for the person with the highest score at each token and 0 for the others, [B,N,1] each, 1 in sum.

    scores: [B,N,1] per person. allowed: what is 0 where a person can't be (None: nowhere). Equal scores share a token
    equally, as the unconditional half of a batch has them everywhere, where everybody is nobody; so the order of
    people never matters.
    """
    rated = torch.stack([
        score if where is None else score.masked_fill(where <= 0, -torch.inf)
        for score, where in zip(scores, allowed, strict=True)
    ])  # fmt: skip
    won = (rated == rated.amax(0)).to(rated.dtype)
    return list((won / won.sum(0)).unbind())
