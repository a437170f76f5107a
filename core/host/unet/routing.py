"""Several people in one picture: at each site a router says which image token is whose (UniPortrait)."""

import torch
from comfy.model_patcher import ModelPatcher

from ...attention import shares
from .. import keys
from ..sampling.injection import Here, Injection
from ..sampling.rows import rows_of
from ..sampling.run import Run


def token_shares(injections: list[tuple[Injection, int]], q: torch.Tensor, here: Here, options: dict, run: Run) -> dict:
    """What share of each token every person with a router gets, [B,N,1] by injection; {} for fewer than two.

    injections: (Injection, its bank's index of this site); q [B,N,C]: the site's queries.
    """
    routed = [(one, index) for one, index in injections if one.router is not None and one.works(options, run)]
    if len(routed) < 2:
        return {}
    rows = rows_of(options, q.shape[0])
    queries, scores = {}, []
    for one, index in routed:
        if one.router not in queries:
            queries[one.router] = one.router.model.queries(index, rows.spread(options[keys.HIDDEN]))
        scores.append(one.patcher.model.sites[index].score(queries[one.router], rows.kinds))
    masks = [one.mask(q, here, run, rows) for one, _ in routed]
    return dict(zip((one for one, _ in routed), shares(scores, masks), strict=True))


def routed_people(model: ModelPatcher) -> int:
    """How many people with a router have been applied to a model."""
    taken = model.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
    people = {one for patch in taken.values() for one, _ in getattr(patch, "injections", ()) if one.router is not None}
    return len(people)


def keep_hidden_states(model: ModelPatcher):
    """Let the sites of `model`, a clone of the caller's own, know what they are given, as routers want to see it."""
    if _keep not in model.model_options["transformer_options"].get("patches", {}).get("attn2_patch", []):
        model.set_model_attn2_patch(_keep)


def _keep(hidden, context, value, options):
    options[keys.HIDDEN] = hidden  # ComfyUI gives each block a dictionary of its own, which ends with the block
    return hidden, context, value
