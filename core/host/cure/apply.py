"""The attribute cure on a MODEL: what AttributeCure does, as a plain function."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy.sd import CLIP, VAE
from comfy_api.latest import ComfyAPISync

from ...cure import MODES, find_attributes, leave_out, named_attributes
from ...cure.maps import selector
from ...prompt_text import plain_text
from .. import keys
from ..adapters.mixed import check_unmixed
from ..comfyui.masks import as_masks
from ..conditioning.prompt import check_clip, encode, token_positions
from ..foundation import model_kind
from ..sampling.run import open_scope
from ..sampling.spans import span_of
from ..sampling.strength import Strength
from .hooks import CureHooks, install_forward
from .plan import CurePlan
from .regions import region_reader

FULL = Strength(1.0)


def apply_cure(
    model: ModelPatcher,
    clip: CLIP,
    prompt: str,
    *,
    attributes: str = "",
    mode: str = "noise_blend",
    trajectory: str = "shared",
    strength: Strength = FULL,
    abstract_pass: float = 0.0,
    mask: torch.Tensor | None = None,
    foundation: ModelPatcher | None = None,
    vae: VAE | None = None,
    observe: Callable | None = None,
) -> ModelPatcher:
    """Give a MODEL with an identity its prompt back; returns a new MODEL, or the same one where nothing is to be done.

    `prompt` is the text that the positive conditioning was made from, `clip` the CLIP that encoded it. `attributes`:
    phrases of the prompt separated by commas, "" to find them. `abstract_pass`: how deep expressions are redrawn, 0 to
    1, 0 for not at all. `mask` [M,H,W] in 0..1 limits everything to a region; all ones is no mask. `foundation`: the
    MODEL without identity, where another pack's adapter can't be switched off. `vae`: the VAE that shows a face parser
    in models/face_parsing, if there is one, the picture to come. `observe(attributes, masks [B,A,H,W])`
    is called at the end of each sampling run that found masks. ValueError with one sentence for what can't be done.
    """
    how = MODES[mode]
    if strength.is_nothing:
        return model
    if mask is not None:
        mask = as_masks(mask, "mask")
        if not mask.any():
            return model
        if (mask >= 1).all():
            mask = None
    under = model_kind(model)
    _check(model, clip, foundation, under)
    chosen = _choose(prompt, attributes, mask)
    abstract = [one for one in chosen if one.kind == "abstract"] if abstract_pass else []
    if how.reads_maps:
        chosen = [one for one in chosen if one.kind == "place"]
        if not chosen and not abstract and mask is None:
            raise ValueError(
                "The mode freecure leaves expressions and ages to abstract_pass, which is 0, and the prompt has no "
                "other attribute; set abstract_pass to 0.5, or choose the mode noise_blend."
            )
    context = encode(clip, prompt).context
    regions = region_reader(vae, chosen)
    patched = model.clone()
    company = [] if regions is None else regions.models()
    if foundation is not None:
        foundation, needed = _prepared(foundation, patched)
        company += needed
    if company:
        patched.set_additional_models(keys.CURE, company)
    plan = CurePlan(
        mode=how,
        separate=trajectory == "separate",
        strength=strength.weight,
        span=_span(model, strength, how),
        attributes=tuple(chosen),
        mask=mask,
        foundation=foundation,
        context=context,
        lacking=None if how.reads_maps else _lacking(clip, prompt, chosen),
        select=_select(clip, prompt, chosen, context.shape[1]) if how.reads_maps and chosen else None,
        extra_keys=under.cured_keys() if how.shares_keys else None,
        regions=regions,
        depth=abstract_pass,
        template=encode(clip, leave_out(prompt, abstract)) if abstract else None,
        observe=observe,
    )
    CureHooks(plan).install(patched)
    _install_patches(patched, plan, under)
    if foundation is not None:
        install_forward(foundation)
        _install_patches(foundation, plan, under)
    return patched


def allowed(mask: torch.Tensor | None) -> torch.Tensor:
    """Where the cure may work, before it is known where it will: the artist's mask [M,H,W], or white."""
    return torch.ones(1, 64, 64) if mask is None else as_masks(mask, "mask")


def preview_on(node_id: str) -> Callable:
    """An `observe` that shows the masks of the first picture on a node, side by side in the order of the prompt."""

    def show(attributes, masks):
        sides = torch.cat(list(masks[0]), dim=-1)
        picture = F.interpolate(sides[None, None], scale_factor=8, mode="nearest")[0, 0]
        picture = picture.float().cpu().clamp(0, 1)  # host read: once per run, for the artist's eyes
        ComfyAPISync().execution.set_progress(1, 1, node_id, picture[None, ..., None].expand(-1, -1, -1, 3))

    return show


def _check(model, clip, foundation, under):
    check_clip(clip)
    if model.get_wrappers(WrappersMP.OUTER_SAMPLE, keys.CURE):
        raise ValueError(
            "The connected model has been through AttributeCure already; use one AttributeCure and name all attributes "
            "in it."
        )
    check_unmixed(model, foundation)
    if foundation is None and under.is_patched(model) and not model.get_wrappers(WrappersMP.OUTER_SAMPLE, keys.RUN):
        raise ValueError(
            "The identity on the connected model comes from another pack, whose adapter can't be switched off here; "
            "connect the model as it was before that adapter to foundation."
        )
    other = under if foundation is None else model_kind(foundation)
    if foundation is not None and (other.sites, _channels(foundation)) != (under.sites, _channels(model)):
        raise ValueError(
            f"The foundation is {other.name} ({len(other.sites)} attention sites), but model is {under.name} "
            f"({len(under.sites)} sites); connect the very model that the adapter was applied to."
        )


def _channels(model):
    return model.model.latent_format.latent_channels


def _choose(prompt, names, mask):
    """The attributes to cure; ValueError when there is nothing to do."""
    found = named_attributes(prompt, names) or [one for one in find_attributes(prompt) if not one.absent]
    if not found and mask is None:
        raise ValueError(
            "No attribute was found in the prompt (hair, eyes, glasses, hats, beards, make-up, expressions and such); "
            "write the words that matter into attributes, exactly as the prompt has them, or connect a mask."
        )
    return list({one.text.lower(): one for one in found}.values())


def _lacking(clip, prompt, chosen):
    """The prompt without its attributes, encoded; the empty prompt where a mask is to say all that there is to cure."""
    return encode(clip, leave_out(prompt, chosen) if chosen else "")


def _select(clip, prompt, chosen, length):
    """What picks each attribute's tokens, those of its noun, of the prompt's `length` tokens."""
    nouns = [(one.text, plain_text(prompt)[slice(*one.head)]) for one in chosen]
    return selector(token_positions(clip, prompt, nouns, length), length)


def _span(model, strength, mode):
    """When the picture is changed: in the artist's range, and not before the mode's own start, which counts steps."""
    late = strength.start_at < mode.not_before
    return span_of(model, max(strength.start_at, mode.not_before), strength.end_at, counts_steps=late)


def _prepared(foundation, patched):
    """A clone of the foundation MODEL to call in `patched`'s runs, and the models to load with `patched`."""
    if foundation.model is patched.model:
        if foundation.patches_uuid != patched.patches_uuid:
            raise ValueError(
                "The foundation and model are one checkpoint with different LoRAs, and can't be in memory at once; "
                "load the checkpoint a second time for foundation."
            )
        return foundation.clone(), foundation.model_patches_models()
    return foundation.clone(), [foundation]


def _install_patches(model, plan, under):
    """Put the patches on `model`, a clone of the caller's own that predicts in this cure, or part of it."""
    if not plan.has_place:
        return
    if plan.select is not None and plan.foundation in (None, model):
        under.read_maps(model)
    if plan.mode.shares_keys:
        open_scope(model, under.share_keys(model, plan.extra_keys.sites))
