"""Every published adapter at full size, by key and shape alone: what it is called, and that what is read fits."""

import pytest
from layouts import on_meta, shapes
from likeness.core.adapters import load_adapter, load_router
from likeness.core.weights import WeightFile, WeightsError, kind_of

KINDS = {
    "ipa_faceid_sd15": "an IP-Adapter FaceID adapter",
    "ipa_faceid_plus_sd15": "an IP-Adapter FaceID Plus adapter",
    "ipa_faceid_portrait_sd15": "an IP-Adapter FaceID adapter",
    "ipa_faceid_sdxl": "an IP-Adapter FaceID adapter",
    "ipa_faceid_plus_sdxl": "an IP-Adapter FaceID Plus adapter",
    "ipa_faceid_portrait_sdxl": "an IP-Adapter FaceID adapter",
    "ipa_faceid_portrait_sdxl_unnorm": "an InstantID or FaceID Portrait adapter",
    "instantid_ipadapter": "an InstantID or FaceID Portrait adapter",
    "instantid_identitynet": "a ControlNet",
    "pulid_sdxl_v1": "a PuLID adapter for SDXL",
    "pulid_sdxl_v1_huchenlei": "a PuLID adapter for SDXL",
    "pulid_sdxl_v1_1": "a PuLID adapter for SDXL",
    "pulid_flux": "a PuLID adapter for FLUX",
    "photomaker_v1_id_encoder": "a PhotoMaker adapter",
    "photomaker_v2_id_encoder": "a PhotoMaker adapter",
    "consistentid_sd15": "a ConsistentID adapter",
    "consistentid_sdxl": "a ConsistentID adapter",
    "wplus_sd15": "a W+ adapter",
    "masterweaver_sd15": "a MasterWeaver adapter",
    "facechain_fact_sd15": "a FaceChain-FACT adapter",
    "id_animator_sd15": "an ID-Animator adapter",
    "uniportrait_faceid_sd15": "a UniPortrait adapter",
    "uniportrait_router_sd15": "a UniPortrait router",
    "infiniteyou_image_proj": "an InfiniteYou projection",
    "infiniteyou_infusenet": "a ControlNet for FLUX",
    "hyperlora_one_module_C640_xattn": "a HyperLoRA adapter",
    "withanyone_flux_ipa": "a WithAnyone adapter",
}
OF_TRANSFORMERS = {
    "ipadapter_flux_instantx": "an IP-Adapter for FLUX by InstantX",
    "ipadapter_sd35_large_instantx": "an IP-Adapter for SD3.5 by InstantX",
    "ipadapter_flux_xlabs": "an IP-Adapter for FLUX by XLabs",
    "withanyone_kontext_e": "a WithAnyone adapter",
    "pulid_flux2_community": "a PuLID adapter for FLUX.2, which is no work of PuLID's authors",
    "lynx_full_resampler": "a projection without its adapter, such as Lynx's",
    "lynx_full_ip_layers": "a Lynx adapter for Wan",
    "lynx_full_ref_layers": "a Lynx adapter for Wan",
    "lynx_lite_ip_layers": "a Lynx adapter for Wan",
    "stand_in_wan14b": "a Stand-In adapter for Wan",
}
KINDS |= OF_TRANSFORMERS
FAMILIES = {
    "ipa_faceid_sd15": "faceid", "ipa_faceid_plus_sd15": "faceid", "ipa_faceid_portrait_sd15": "faceid",
    "ipa_faceid_sdxl": "faceid", "ipa_faceid_plus_sdxl": "faceid", "ipa_faceid_portrait_sdxl": "faceid",
    "instantid_ipadapter": "instantid", "uniportrait_faceid_sd15": "uniportrait",
    "wplus_sd15": "wplus", "facechain_fact_sd15": "fact",
}  # fmt: skip


def build(name):
    return load_adapter(WeightFile(f"{name}.bin", on_meta(name), {}), device="meta")


def test_every_published_layout_has_a_name():
    assert {name for name in shapes() if not name.endswith("_onnx_like")} == KINDS.keys()
    assert {name: kind_of(on_meta(name)) for name in KINDS} == KINDS


@pytest.mark.parametrize(("name", "kind"), OF_TRANSFORMERS.items())
def test_adapters_of_transformers_are_refused_by_their_names(name, kind):
    with pytest.raises(WeightsError, match=f"^{name}.bin is {kind}, and LoadIDAdapter reads "):
        build(name)


@pytest.mark.parametrize("name", FAMILIES)
def test_modules_have_the_published_keys_and_shapes(name):
    """Nothing missing, nothing left over, no other shape: `load_adapter` refuses all of these."""
    module = build(name)
    assert module.spec.family == FAMILIES[name]
    stored = sum(parameter.numel() for parameter in module.parameters())
    stored += sum(half.numel() for pair in module.lora.by_site.values() for half in pair)
    assert stored == sum(tensor.numel() for tensor in on_meta(name).values())


def test_uniportrait_and_its_router_at_full_size():
    spec = build("uniportrait_faceid_sd15").spec
    assert (spec.base, spec.tokens, spec.face_dim) == ("SD1.5", 16, 49 * 512 + 256 * 448)
    published = on_meta("uniportrait_router_sd15")
    router = load_router(WeightFile("r.bin", published, {}), spec, device="meta")
    assert len(router.state_dict()) + 2 * len(router.lora.by_site) == len(published) == 384
