"""Every published adapter at full size, by key and shape alone: what it is called, and that what is read fits."""

import re

import pytest
from layouts import on_meta, shapes
from likeness.core.adapters import FAMILIES, load_adapter, load_router
from likeness.core.weights import WeightFile, WeightsError, kind_of
from tiny.families import FILES, family

KNOWN = {file.layout: (family, known, file) for family in FAMILIES for known in family.known for file in known.files}
del KNOWN[""]
NOT_READ = {
    "instantid_identitynet": "a ControlNet",
    "id_animator_sd15": "an ID-Animator adapter",
    "uniportrait_router_sd15": "a UniPortrait router",
    "infiniteyou_infusenet": "a ControlNet for FLUX",
    "hyperlora_one_module_C640_xattn": "a HyperLoRA adapter",
    "withanyone_flux_ipa": "a WithAnyone adapter",
}
OF_TRANSFORMERS = {
    "ipadapter_sd35_large_instantx": "an IP-Adapter for SD3.5 by InstantX",
    "pulid_flux2_community": "a PuLID adapter for FLUX.2 by others than its authors, which users found to do nothing",
    "lynx_full_resampler": "a projection without its adapter, such as Lynx's",
    "lynx_full_ip_layers": "a Lynx adapter for Wan",
    "lynx_full_ref_layers": "a Lynx adapter for Wan",
    "lynx_lite_ip_layers": "a Lynx adapter for Wan",
    "stand_in_wan14b": "a Stand-In adapter for Wan",
}
LEFT_ASIDE = {"withanyone_kontext_e": "siglip_in."}  # what the authors never use
KINDS = NOT_READ | OF_TRANSFORMERS | {layout: known.kind for layout, (_, known, _) in KNOWN.items()}


def build(name):
    return load_adapter(WeightFile(f"{name}.bin", on_meta(name), {}), device="meta")


def test_every_published_layout_has_a_name():
    assert {name for name in shapes() if not name.endswith("_onnx_like")} == KINDS.keys()
    assert {name: kind_of(on_meta(name)) for name in KINDS} == KINDS


@pytest.mark.parametrize(("name", "kind"), OF_TRANSFORMERS.items())
def test_adapters_of_transformers_are_refused_by_their_names(name, kind):
    with pytest.raises(WeightsError, match=f"^{name}.bin is {kind}, and LoadIDAdapter reads "):
        build(name)


def test_tiny_files_have_the_published_keys():
    """But for their numbers, and for PhotoMaker's LoRA, which the layout leaves out."""

    def keys(tensors):
        return frozenset(re.sub(r"\d+", "", key) for key in tensors if not key.startswith("lora_weights."))

    tiny = {keys(family(name)) for name in (*FILES, "pulid-v1-converted")}
    assert {keys(shapes()[name]) for name in KNOWN} <= tiny


@pytest.mark.parametrize("name", KNOWN)
def test_modules_have_the_published_keys_and_shapes(name):
    """Nothing missing, nothing left over, no other shape: `load_adapter` refuses all of these."""
    (family, _, file), module, spare = KNOWN[name], build(name), LEFT_ASIDE.get(name)
    assert type(module) is family and any("Left aside" in guess for guess in module.spec.guesses) == bool(spare)
    spec = module.spec
    widths = tuple(file.base.site_widths[place] for place in spec.places) or file.base.site_widths
    assert spec.site_widths in (widths, ()) and (spec.own_width or spec.token_dim == file.base.text_width)
    stored = sum(parameter.numel() for parameter in module.parameters())
    stored += sum(half.numel() for pair in module.lora.by_site.values() for half in pair)
    stored += sum(tensor.numel() for tensor in module.lora.by_name.values())
    published = {key: tensor for key, tensor in on_meta(name).items() if spare is None or not key.startswith(spare)}
    assert stored == sum(tensor.numel() for tensor in published.values())


def test_withanyone_without_its_projections_is_incomplete():
    with pytest.raises(
        WeightsError, match="^withanyone_flux_ipa.bin is incomplete: it lacks 'arcface_in_arc.0.weight'"
    ):
        build("withanyone_flux_ipa")


def test_uniportrait_and_its_router_at_full_size():
    spec = build("uniportrait_faceid_sd15").spec
    assert (spec.base, spec.tokens, spec.face_dim) == ("SD1.5", 16, 49 * 512 + 256 * 448)
    published = on_meta("uniportrait_router_sd15")
    router = load_router(WeightFile("r.bin", published, {}), spec, device="meta")
    assert len(router.state_dict()) + 2 * len(router.lora.by_site) == len(published) == 384
