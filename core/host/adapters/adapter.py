"""Loading an identity adapter and applying it to a MODEL and its conditioning."""

import logging
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

from ...adapters import AUTO, DEFAULTS, AdapterSpec, Choices, LoRA, Overrides, load_adapter, load_router
from ...weights import read_weights
from .. import keys
from ..comfyui.folders import adapter_path
from ..comfyui.managed import OPERATIONS, loaded, managed, managed_from
from ..comfyui.masks import as_masks, with_outside
from ..conditioning.control_reads import with_identity
from ..conditioning.face_context import FaceContext
from ..conditioning.prompt import with_nobody
from ..foundation import ModelKind, model_kind
from ..sampling.injection import IdentityBank, Injection
from ..sampling.late import count_steps
from ..sampling.people import ControlledPerson, with_nobody_to_draw, with_person
from ..sampling.run import open_scope
from ..sampling.spans import span_of
from ..sampling.strength import Strength
from ..who.person import Person, Sources, gather, no_identity
from ..who.vision_files import find_vision
from .lora import IN_THE_FILE, add_lora, lora_file, remove_lone_lora
from .mixed import Mix, mix_attention

Prompt = Any  # conditioning entries, or None where nothing is connected
_SEVERAL = "several people"  # who owns the LoRA of a router, whichever of them came second


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter under ComfyUI's memory management, the LoRA that came with it, and its router (adapters.Router)."""

    file_name: str
    spec: AdapterSpec
    patcher: ModelPatcher
    lora: LoRA = field(default=LoRA(), repr=False)  # ComfyUI prints a failed node's inputs: that would take seconds
    router: ModelPatcher | None = None

    @property
    def about(self) -> str:
        """Text for the artist: what the file is, what it fits and what it needs."""
        shared = "" if self.router is None else "\nRouter: shares the picture out among several people"
        return self.spec.about(self.file_name, self.lora) + shared

    def get_models(self) -> list[ModelPatcher]:
        """What ComfyUI (since 0.30.0) keeps in memory while a prompt runs that has this adapter on its wires."""
        return [one for one in (self.patcher, self.router, vars(self).get("eyes")) if one is not None]

    @cached_property
    def eyes(self) -> ModelPatcher:
        """The vision model that it looks through where no socket carries it, read when first looked through and kept as
        long as the adapter."""
        return find_vision(self.spec.vision, self.file_name)


@dataclass(frozen=True)
class Settings:
    """How an adapter is applied beyond its strength: the LoRA's own strength, what the family offers, how much of the
    identity remains outside the attn_mask, and mixed attention with its style strength 0..1 (see `mixed`)."""

    lora_strength: float = 1.0
    choices: Choices = DEFAULTS
    outside: float = 0.0
    mixed_attention: bool = False
    style_strength: float = 0.0


def load_adapter_named(
    name: str, overrides: Overrides = AUTO, lora: str = IN_THE_FILE, router: str | None = None
) -> LoadedAdapter:  # fmt: skip
    """Load the adapter behind a combo value; WeightsError or ValueError with one sentence when that can't be done.

    `lora`: a file of ComfyUI's loras folder that takes the place of the LoRA in the adapter's own file. `router`: the
    combo value of a router for several people.
    """
    patcher = managed_from(partial(_adapter_of, adapter_path(name), overrides))
    module, shared = patcher.model, None
    chosen = module.lora if lora == IN_THE_FILE else lora_file(lora)
    if router is not None:
        shared = managed_from(partial(_router_of, adapter_path(router), module.spec))
    return LoadedAdapter(name, module.spec, patcher, chosen, shared)


def _adapter_of(path, overrides):
    return load_adapter(read_weights(path), overrides, operations=OPERATIONS)


def _router_of(path, spec):
    return load_router(read_weights(path), spec, operations=OPERATIONS)


def apply_adapter(
    model: ModelPatcher,
    positive: Prompt,
    negative: Prompt,
    adapter: LoadedAdapter,
    sources: Sources,
    strength: Strength,
    attn_mask: torch.Tensor | None = None,
    settings: Settings = Settings(),
) -> tuple:
    """Give a MODEL the identity and its conditionings the identity tokens for a landmark ControlNet.

    Returns new (model, positive, negative) and the identity; what came in is not changed. `attn_mask` [M,H,W] in 0..1
    limits the identity to a region, beyond which the share `settings.outside` of it remains. Weight 0, an empty range
    or an all-zero mask with nothing outside return the very objects that came in; an all-one mask is no mask. Of an
    adapter without sites the person is in the prompt, and it brings its LoRA only; or a ControlNet draws them. Prompts
    may be None where the adapter has no use for them.
    """
    under = model_kind(model)
    _check_fit(adapter, under)
    _check_prompts(adapter, positive, negative)
    _check_weight_type(adapter, strength)
    if adapter.spec.in_prompt:
        _check_face(adapter, positive)
    if adapter.spec.in_prompt and not adapter.spec.site_widths:
        patched = model
        if not strength.is_nothing:
            patched = with_lora(model, adapter, strength, settings).clone()
            count_steps(patched)
            patched = _mixed(patched, strength, settings, under)
        return patched, positive, negative, sources.identity or no_identity()
    person = gather(adapter.spec, adapter.file_name, sources, adapter.patcher.load_device, lambda: adapter.eyes)
    if strength.is_nothing or person.is_empty:
        return model, _bare(adapter.spec, positive), negative, person.identity
    patched = apply_person(
        model, positive, negative, adapter, person, strength, attn_mask, settings, without_middle=sources.popular
    )
    return *patched, person.identity


def apply_person(
    model: ModelPatcher, positive: Prompt, negative: Prompt, adapter: LoadedAdapter, person: Person,
    strength: Strength, attn_mask: torch.Tensor | None = None, settings: Settings = Settings(),
    without_middle: bool = False,
) -> tuple:  # fmt: skip
    """`apply` for a person who has been gathered already; returns (model, positive, negative).

    `without_middle`: leave the middle block out, as packs do that name it wrongly.
    """
    under = model_kind(model)
    if attn_mask is not None:
        attn_mask = with_outside(as_masks(attn_mask, "attn_mask"), settings.outside)
        if not attn_mask.any():
            return model, _bare(adapter.spec, positive), negative
        if (attn_mask >= 1).all():
            attn_mask = None
    if adapter.spec.by_control_net:
        return *_by_control_net(model, positive, adapter, person, strength, attn_mask, settings), negative

    tokens, bank = _build_bank(model, adapter, person, strength, under, attn_mask, settings.choices)
    patched = model.clone()
    span = span_of(model, strength.start_at, strength.end_at, adapter.spec.counts_steps)
    module = adapter.patcher.model
    injection = Injection(managed(bank, partial(_copied, bank)), span, adapter.router, module.has_nobody)
    layers = adapter.patcher if module.keeps_layers else None
    sites = [
        (index, number)
        for index, number in enumerate(_places(adapter.spec, under))
        if not (without_middle and under.sites[number].kind == "middle")
    ]
    names = under.inject(patched, injection, layers, sites)
    _add_lora(patched, adapter, under, settings.lora_strength)
    open_scope(patched, names)
    patched = _mixed(patched, strength, settings, under)
    if adapter.spec.in_prompt:
        count_steps(patched)
        negative = with_nobody(negative, positive, adapter.patcher)
    if adapter.spec.needs_control_net:
        uncond, cond = tokens.cpu().split(1)  # host read: conditioning lives on the CPU, as ComfyUI's own does
        positive, negative = with_identity([positive, negative], [cond, uncond], uncond)
    return patched, positive, negative


def _bare(spec, positive):
    """The positive prompt where an adapter puts nobody on it."""
    return with_nobody_to_draw(positive) if spec.by_control_net else positive


def _by_control_net(model, positive, adapter, person: Person, strength, attn_mask, settings):
    """The model and its positive prompt with a person whom a ControlNet of their own draws."""
    with torch.no_grad():
        tokens = loaded(adapter.patcher).project(person.face, settings.choices)
    one = ControlledPerson(tokens.cpu(), attn_mask, strength)  # host read: as ComfyUI's own conditioning
    patched = model.clone()
    open_scope(patched, frozenset(), frozenset([one]))
    return _mixed(patched, strength, settings, model_kind(model)), with_person(positive, one)


def _copied(bank):
    """Its own tensors, of which ComfyUI has loaded none."""
    return IdentityBank(map(deepcopy, bank.sites), None if bank.mask is None else bank.mask.detach().clone())


def _check_fit(adapter, under: ModelKind):
    spec, sites = adapter.spec, under.sites
    same_count = spec.of is None or len(sites) == len(spec.of.site_widths)
    widths = tuple(sites[number].width for number in _places(spec, under)) if same_count else None
    contexts = {site.context for site in sites}
    if spec.site_widths not in (widths, ()) or not same_count or not (spec.own_width or contexts == {spec.token_dim}):
        raise ValueError(
            f"{adapter.file_name} is {spec.named} for {spec.fits}, but the connected model is {under.name} "
            f"({len(sites)} {under.noun}, text width {under.text_width}); choose an adapter and a model that belong "
            "together."
        )
    if spec.of is not None and under.name != spec.of.name:
        logging.warning(
            "Likeness: %s is %s for %s, and nobody has trained it for %s, which is connected; the likeness may be "
            "weaker.", adapter.file_name, spec.named, spec.fits, under.name,
        )  # fmt: skip


def _check_weight_type(adapter, strength):
    if adapter.spec.by_control_net and strength.weight_type != "linear":
        raise ValueError(
            f"{adapter.file_name} is {adapter.spec.named}, which has no part in the model's blocks that the "
            f"weight_type {strength.weight_type!r} could go by; choose linear."
        )


def _places(spec, under: ModelKind):
    """The numbers of the adapter's sites among the model's."""
    return spec.places or range(len(under.sites))


def _check_prompts(adapter, positive, negative):
    """Adapters for a ControlNet, and those in the prompt, need the prompts; without sites they leave the negative one
    alone."""
    spec = adapter.spec
    if not (spec.needs_control_net or spec.in_prompt):
        return
    needed = {"positive": positive, "negative": negative} if spec.site_widths else {"positive": positive}
    missing = [name for name, prompt in needed.items() if prompt is None]
    if missing:
        raise ValueError(
            f"{adapter.file_name} is {spec.named}, which works through the prompts as well; connect "
            f"{' and '.join(missing)} to ApplyIDAdapter."
        )


def _check_face(adapter, positive):
    """An adapter that works through the prompt needs one with the face in it: alone, or beside what sites add."""
    if any(extras.get(keys.IN_PROMPT) or isinstance(context, FaceContext) for context, extras in positive):
        return
    if not adapter.spec.site_widths:
        raise ValueError(
            f"{adapter.file_name} is {adapter.spec.named}, which puts the face into the prompt, but positive has none "
            "in it; encode the positive prompt with ID Text Encode."
        )
    logging.warning(
        "Likeness: %s is %s, which also puts parts of the face into the prompt, but positive has none in it; encode "
        "the positive prompt with ID Text Encode for the whole likeness.", adapter.file_name, adapter.spec.named,
    )  # fmt: skip


def with_lora(model: ModelPatcher, adapter: LoadedAdapter, strength: Strength, settings: Settings) -> ModelPatcher:
    """A MODEL with nothing but the adapter's LoRA, or the very model that came in where there is none to add."""
    if strength.is_nothing or not adapter.lora or settings.lora_strength == 0:
        return model
    patched = model.clone()
    add_lora(patched, adapter.lora, model_kind(model), settings.lora_strength, adapter.patcher.model)
    return patched


def _mixed(model, strength, settings, under):
    if strength.is_nothing or not settings.mixed_attention:
        return model
    patched = model.clone()
    mix_attention(patched, Mix(span_of(model, strength.start_at, strength.end_at), settings.style_strength), under)
    return patched


def _build_bank(model, adapter, person: Person, strength, under, attn_mask, choices):
    """Tokens [2,T,D] (nobody's, the person's; [1,T,D] of an adapter without nobody), and the bank of what every site
    adds, weighted."""
    module = loaded(adapter.patcher)
    with torch.no_grad():
        faces = (person.nobody, person.face) if module.has_nobody else (person.face,)
        tokens = torch.cat([module.project(face, choices) for face in faces])
        added = module.sites(tokens, choices)
        if adapter.router is not None:
            added = loaded(adapter.router).routed(added, tokens)
    dtype = model.model.manual_cast_dtype or model.model.get_dtype()
    factors = under.factors(strength.weight_type)
    for number, adds in zip(_places(adapter.spec, under), added, strict=True):
        adds.scaled(strength.weight * factors[number])
    return tokens, IdentityBank(added, attn_mask).to(dtype)


def _add_lora(patched, adapter, under, strength):
    if adapter.router is None:
        add_lora(patched, adapter.lora, under, strength, adapter.patcher.model)
    elif under.routed_people(patched) == 1:
        add_lora(patched, adapter.lora, under, strength, adapter.patcher.model, alone=True)
    else:
        remove_lone_lora(patched)
        add_lora(patched, adapter.router.model.lora, under, strength, _SEVERAL)
