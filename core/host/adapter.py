"""Loading an identity adapter and applying it to a MODEL and its conditioning."""

from dataclasses import dataclass

import torch
from comfy.model_patcher import ModelPatcher

from ..adapters import AdapterSpec, base_name, load_adapter
from ..attention import block_factors
from ..faces.identity import Identity
from ..faces.spaces import is_space
from ..weights import read_weights
from .folders import adapter_path
from .managed import OPERATIONS, loaded, managed
from .masks import as_masks
from .patch import IdentityBank, Injection, inject
from .run import open_scope
from .sites import attention_sites
from .strength import Strength

TOKENS_KEY = "cross_attn_controlnet"  # what ComfyUI feeds a ControlNet in place of the prompt
NOBODY_KEY = "likeness_no_identity"  # the same with the identity of no face, for rows whose identity is switched off


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter under ComfyUI's memory management."""

    file_name: str
    spec: AdapterSpec
    patcher: ModelPatcher


def load(name: str) -> LoadedAdapter:
    """Load the adapter behind a combo value; WeightsError or ValueError with one sentence when that can't be done."""
    module = load_adapter(read_weights(adapter_path(name)), operations=OPERATIONS)
    return LoadedAdapter(name, module.spec, managed(module))


def apply(model, positive, negative, adapter: LoadedAdapter, identity: Identity, strength: Strength, attn_mask=None):
    """Give a MODEL the identity and its conditionings the identity tokens for a landmark ControlNet.

    Returns new (model, positive, negative); what came in is not changed. `attn_mask` [M,H,W] in 0..1 limits the
    identity to a region. Weight 0, an empty range or an all-zero mask return the very objects that came in; an all-one
    mask is no mask.
    """
    sites = attention_sites(model)
    _check_fit(adapter, sites, identity)
    if strength.is_nothing or identity.is_empty:
        return model, positive, negative
    if attn_mask is not None:
        attn_mask = as_masks(attn_mask, "attn_mask")
        if not attn_mask.any():
            return model, positive, negative
        if (attn_mask >= 1).all():
            attn_mask = None

    tokens, bank = _build_bank(model, adapter, identity, strength, sites, attn_mask)
    patched = model.clone()
    sampling = patched.get_model_object("model_sampling")
    injection = Injection(
        managed(bank),
        float(sampling.percent_to_sigma(strength.start_at)),
        float(sampling.percent_to_sigma(strength.end_at)),
    )
    inject(patched, injection, sites)
    open_scope(patched, frozenset(site.key for site in sites))
    uncond, cond = tokens.cpu().split(1)  # host read: conditioning lives on the CPU, as ComfyUI's own does
    return patched, _with_tokens(positive, cond, uncond), _with_tokens(negative, uncond, uncond)


def _check_fit(adapter, sites, identity):
    spec = adapter.spec
    widths, contexts = tuple(site.width for site in sites), {site.context for site in sites}
    if widths != spec.site_widths or contexts != {spec.token_dim}:
        text_width = max(contexts, default=0)
        raise ValueError(
            f"{adapter.file_name} is an {spec.title} adapter for {spec.base} ({len(spec.site_widths)} attention sites, "
            f"text width {spec.token_dim}), but the connected model is "
            f"{base_name(len(sites), text_width)} ({len(sites)} sites, text width {text_width}); "
            "choose an adapter and a model that belong together."
        )
    fits = spec.face_space is None or is_space(identity.space, spec.face_space)
    if not fits or spec.face_dim != identity.dim:
        raise ValueError(
            f"{adapter.file_name} takes faces from {spec.faces_from}, but this identity was made by {identity.space} "
            f"({identity.dim} numbers); choose that encoder in LoadFaceEncoder and encode the photograph again."
        )


def _build_bank(model, adapter, identity, strength, sites, attn_mask):
    """Tokens [2,T,D] (unconditional, conditional), and the bank of weighted K and V, site by site."""
    module = loaded(adapter.patcher)
    device = adapter.patcher.load_device
    vector = identity.vector.to(device=device, dtype=torch.float32).reshape(1, 1, -1)
    tokens = module.project(torch.cat([torch.zeros_like(vector), vector]))  # unconditional: a face vector of zeros

    kinds = [kind for _, kind in sorted({(site.order, site.kind) for site in sites})]
    factors = block_factors(strength.weight_type, kinds)
    dtype = model.model.manual_cast_dtype or model.model.get_dtype()
    keys_values = [
        (_bank(k, dtype), _bank(v * (strength.weight * factors[site.order]), dtype))
        for site, (k, v) in zip(sites, module.keys_values(tokens), strict=True)
    ]
    return tokens, IdentityBank(keys_values, attn_mask)


def _bank(pair, dtype):
    """[2,T,C] unconditional, conditional -> [3,T,C] with the unconditional once more (see attention.chunks_of)."""
    return torch.cat([pair, pair[:1]]).to(dtype)


def _with_tokens(conditioning, tokens, nobody):
    """Conditioning entries with identity tokens for ControlNets; those of a person applied before stay in front."""

    def joined(options, key, added):
        before = options.get(key)
        return added if before is None else torch.cat([before, added], dim=1)

    return [
        [
            text,
            {
                **options,
                TOKENS_KEY: joined(options, TOKENS_KEY, tokens),
                NOBODY_KEY: joined(options, NOBODY_KEY, nobody),
            },
        ]
        for text, options in conditioning
    ]
