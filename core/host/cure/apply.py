"""The attribute cure on a MODEL: what AttributeCure does, as a plain function."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import ComfyAPISync

from ...adapters import base_name
from ...cure import MODES, TRAJECTORIES, CureSettings, find_attributes, named_attributes, plain_text, without
from ...cure.maps import selector
from .. import keys
from ..adapters.mixed import check_unmixed
from ..comfyui.masks import as_masks
from ..conditioning.prompt import check_clip, content_positions, encode, token_positions
from ..sampling.run import open_scope
from ..sampling.spans import span_of
from ..sampling.strength import Strength
from ..unet.layers import cure_layers
from ..unet.self_attention import put_extra_keys
from ..unet.sites import attention_sites
from .hooks import CureHooks, install_forward
from .readers import FeatureReader, MapReader
from .regions import region_reader
from .run import CurePlan

FULL, DEFAULTS = Strength(1.0), CureSettings()


def apply(
    model,
    clip,
    prompt: str,
    attributes: str = "",
    mode: str = MODES[0],
    trajectory: str = TRAJECTORIES[0],
    strength: Strength = FULL,
    abstract_pass: float = 0.0,
    mask: torch.Tensor | None = None,
    foundation=None,
    vae=None,
    settings: CureSettings = DEFAULTS,
    observe: Callable | None = None,
):
    """Give a MODEL with an identity its prompt back; returns a new MODEL, or the same one where nothing is to be done.

    `prompt` is the text that the positive conditioning was made from, `clip` the CLIP that encoded it. `attributes`:
    phrases of the prompt separated by commas, "" to find them. `abstract_pass`: how deep expressions are redrawn, 0 to
    1, 0 for not at all. `mask` [M,H,W] in 0..1 limits everything to a region; all ones is no mask. `foundation`: the
    MODEL without identity, where another pack's adapter can't be switched off. `vae`: the VAE that shows a face parser
    in models/face_parsing, if there is one, the picture to come. `observe(attributes, masks [B,A,H,W])`
    is called at the end of each sampling run that found masks. ValueError with one sentence for what can't be done.
    """
    for name, word, options in (("mode", mode, MODES), ("trajectory", trajectory, TRAJECTORIES)):
        if word not in options:  # over a wire or from a script
            raise ValueError(f"The {name} is {word!r}, but must be one of: {', '.join(options)}; choose one of these.")
    if strength.is_nothing:
        return model
    if mask is not None:
        mask = as_masks(mask, "mask")
        if not mask.any():
            return model
        if (mask >= 1).all() and settings.source != "mask":
            mask = None
    elif settings.source == "mask":
        raise ValueError("The source of the masks is the mask input, but no mask is connected; connect one.")
    _check(model, clip, foundation)
    chosen, abstract = _choose(prompt, attributes, settings, mask)
    layers = cure_layers(model, settings)
    positions = token_positions(clip, prompt, [_located_by(prompt, one, settings) for one in chosen])
    context = encode(clip, prompt).context
    content = content_positions(clip, prompt) if settings.relative else ()
    reader = region_reader(vae, chosen) if settings.source != "mask" else None
    patched = model.clone()
    company = [] if reader is None else reader.models()
    if foundation is not None:
        foundation, needed = _prepared(foundation, patched)
        company += needed
    if company:
        patched.set_additional_models(keys.CURE, company)
    plan = CurePlan(
        attributes=tuple(chosen),
        context=context,
        select=selector(positions, context.shape[1], content),
        without=_compared_with(clip, prompt, chosen, mode, settings),
        reader=reader,
        template=encode(clip, without(prompt, abstract)) if abstract_pass and abstract else None,
        mode=mode,
        separate=trajectory == "separate",
        strength=strength.weight,
        depth=abstract_pass,
        mask=mask,
        foundation=foundation,
        span=span_of(model, strength.start_at, strength.end_at),
        settings=settings,
        layers=layers,
        observe=observe,
    )
    CureHooks(plan).install(patched)
    _install_patches(patched, plan, reads=foundation is None or settings.map_rows == "both")
    if foundation is not None:
        install_forward(foundation)
        _install_patches(foundation, plan, reads=True)
    return patched


def allowed(mask: torch.Tensor | None) -> torch.Tensor:
    """Where the cure may work, before it is known where it will: the artist's mask [M,H,W], or white."""
    return torch.ones(1, 64, 64) if mask is None else as_masks(mask, "mask")


def preview_on(node_id: str):
    """An `observe` that shows the masks of the first picture on a node, side by side in the order of the prompt."""

    def show(attributes, masks):
        sides = torch.cat(list(masks[0]), dim=-1)
        picture = F.interpolate(sides[None, None], scale_factor=8, mode="nearest")[0, 0]
        picture = picture.float().cpu().clamp(0, 1)  # host read: once per run, for the artist's eyes
        ComfyAPISync().execution.set_progress(1, 1, node_id, picture[None, ..., None].expand(-1, -1, -1, 3))

    return show


def _check(model, clip, foundation):
    check_clip(clip)
    if model.get_wrappers(WrappersMP.OUTER_SAMPLE, keys.CURE):
        raise ValueError(
            "The connected model has been through AttributeCure already; use one AttributeCure and name all attributes "
            "in it."
        )
    check_unmixed(model, foundation)
    taken = model.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {}).values()
    if foundation is None and taken and not model.get_wrappers(WrappersMP.OUTER_SAMPLE, keys.RUN):
        raise ValueError(
            "The identity on the connected model comes from another pack, whose adapter can't be switched off here; "
            "connect the model as it was before that adapter to foundation."
        )
    sites = attention_sites(model)
    if foundation is not None and _shape(foundation) != _shape(model):
        other = attention_sites(foundation)
        raise ValueError(
            f"The foundation is {_name(other)} ({len(other)} attention sites), but model is {_name(sites)} "
            f"({len(sites)} sites); connect the very model that the adapter was applied to."
        )


def _name(sites):
    return base_name(len(sites), max((site.context for site in sites), default=0))


def _shape(model):
    sites = [(site.key, site.width, site.context) for site in attention_sites(model)]
    return sites, model.model.latent_format.latent_channels


def _choose(prompt, names, settings, mask):
    """(all attributes to cure, those that the abstract pass is for); ValueError when there is nothing to do."""
    named = named_attributes(prompt, names)
    found = named or [one for one in find_attributes(prompt) if settings.absent or not one.absent]
    found = list({one.text.lower(): one for one in found}.values())
    if not found and mask is None:
        raise ValueError(
            "No attribute was found in the prompt (hair, eyes, glasses, hats, beards, make-up, expressions and such); "
            "write the words that matter into attributes, exactly as the prompt has them, or connect a mask."
        )
    return found, [one for one in found if one.kind == "abstract"]


def _compared_with(clip, prompt, chosen, mode, settings):
    """The prompt without its attributes, encoded; the empty prompt where a mask is to say all that there is to cure."""
    if not settings.responds(mode) and not (chosen and settings.source == "difference"):
        return ()
    left_out = [[one] for one in chosen] if settings.compare == "each" else [chosen]
    return tuple(encode(clip, without(prompt, some) if some else "") for some in left_out or [[]])


def _located_by(prompt, attribute, settings):
    """(phrase, the end of it) whose tokens say where an attribute is."""
    noun = plain_text(prompt)[slice(*attribute.head)]
    return attribute.text, noun if settings.tokens == "head" else attribute.text


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


def _install_patches(model, plan, reads):
    """Put the patches on `model`, a clone of the caller's own; `reads`: some of its rows are looked at."""
    if not plan.has_place:
        return
    if reads and plan.needs_maps and plan.settings.source != "difference":
        model.set_model_attn2_patch(MapReader(plan.layers, model))
        if plan.settings.source != "cross":
            model.set_model_attn1_patch(FeatureReader(plan.layers))
    if plan.shares_keys:
        open_scope(model, put_extra_keys(model, plan.layers.extra_keys))
