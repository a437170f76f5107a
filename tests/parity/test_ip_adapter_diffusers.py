"""Every IP-Adapter for faces: ComfyUI with our nodes against diffusers' own projections, processors and LoRA names."""

import pytest
import torch
from host_cases import attn2, conditioning, identity, loaded_adapter, randn, sample
from likeness.core.adapters import Choices, Overrides
from likeness.core.faces.crops import CROPS
from likeness.core.faces.identity import identity as identity_module
from likeness.core.host.adapters import adapter
from likeness.core.host.who.person import Sources
from likeness.core.vision.clip_tower import clip_pixels
from node_cases import face
from tiny.ip_adapter import ip_adapter

STEPS, CFG, WEIGHT, LORA, SIZE = 4, 4.5, 0.9, 0.7, 16
SPACE = "buffalo_l-w600k_r50"
# name -> file's layout, photographs, FaceID Plus version
FAMILIES = {
    "faceid": ("faceid", 1, "auto"),
    "plus": ("faceid-plus", 1, "v1"),
    "plus v2": ("faceid-plus", 1, "v2"),
    "portrait": ("portrait", 3, "auto"),
    "unnorm": ("unnorm", 1, "auto"),
    "basic": ("basic", 2, "auto"),
    "plus face": ("plus", 2, "auto"),
    "full face": ("full", 1, "auto"),
}


@pytest.fixture(scope="module")
def models():
    from tiny.unet import unet

    return {kind: unet(kind) for kind in ("sd15", "sdxl")}


@pytest.fixture(scope="module")
def clip_vision(comfyui, tmp_path_factory):
    from tiny.vision import clip_vision

    return clip_vision(tmp_path_factory.mktemp("vision"))


@pytest.fixture(scope="module")
def eyes(clip_vision):
    """The same CLIP as transformers' own: pictures [N,H,W,3] -> last but one hidden states, embeddings.

    Pixels are ours, which tests/unit/test_photomaker.py holds to transformers' processor within a step of colour.
    """
    from tiny.vision import PIXELS, config
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    reference = CLIPVisionModelWithProjection(CLIPVisionConfig(**config("clip-h"))).eval()
    reference.load_state_dict(clip_vision.get_sd(), strict=False)

    @torch.inference_mode()
    def look(pictures, empty=False):
        pixels = clip_pixels(pictures.movedim(-1, 1), PIXELS)
        if empty:
            pixels = torch.zeros_like(pixels)
        seen = reference(pixels, output_hidden_states=True)
        return seen.hidden_states[-2], seen.image_embeds

    return look


def crops_of(encoder, image):
    faces = encoder.detect(image).select("largest", "0")
    face = CROPS["face"](224)
    return face.chips(image, faces, encoder.patcher.model.landmarks68).movedim(1, -1)


@pytest.mark.parametrize(
    ("family", "kind"), [*((family, "sd15") for family in FAMILIES), ("faceid", "sdxl"), ("plus v2", "sdxl")]
)
def test_the_whole_forward_agrees(encoder, models, clip_vision, eyes, family, kind):
    from parity.diffusers_reference import denoise, fold_lora, unet_like
    from tiny.unet import unet

    layout, count, version = FAMILIES[family]
    nested, person = ip_adapter(layout, kind), identity(seed=7, dim=512, space=SPACE)
    photographs = torch.cat([face("A"), face("A").flip(2), face("A") * 0.8])[:count]
    if count > 1:
        person, _ = identity_module.combine_identity(SPACE, randn(count, 512, seed=3), torch.ones(count), "mean")
    overrides = Overrides(faceid_plus=version, faces_512="portrait")
    loaded = loaded_adapter(nested, overrides=overrides)
    looks = loaded.spec.look is not None
    source = Sources(person, encoder, photographs, clip_vision) if looks else Sources(person)
    positive, negative = conditioning(kind, seed=1), conditioning(kind, seed=2)
    options = adapter.Settings(LORA, Choices(structure=1.3))
    patched, *conds, _ = adapter.apply_adapter(
        models[kind], positive, negative, loaded, source, adapter.Strength(WEIGHT), settings=options
    )
    assert len(attn2(patched)) == {"sd15": 16, "sdxl": 70}[kind]
    assert not any("cross_attn_controlnet" in options for _, options in conds[0])
    factor = models[kind].model.latent_format.scale_factor
    ours = sample(patched, *conds, steps=STEPS, cfg=CFG, shape=(1, 4, SIZE, SIZE)) * factor

    reference = unet_like(unet(kind))  # of its own: ours has the LoRA in its weights while it is loaded
    reference._load_ip_adapter_weights([nested], low_cpu_mem_usage=False)
    if loaded.lora:
        fold_lora(reference, nested, LORA)
    projection = reference.encoder_hid_proj.image_projection_layers[0]
    if layout == "unnorm":
        embeds = torch.stack([torch.zeros(1, 1, 512), person.vector[None, None]])
    elif loaded.spec.face_dim:
        vectors = torch.nn.functional.normalize(person.vectors if count > 1 else person.vector[None], dim=-1)
        embeds = torch.stack([torch.zeros_like(vectors), vectors])
        if looks:
            crops = crops_of(encoder, photographs)
            projection.clip_embeds = torch.stack([eyes(crops, empty=True)[0], eyes(crops)[0]])
            projection.shortcut, projection.shortcut_scale = version == "v2", 1.3
    elif layout == "basic":
        pooled = eyes(photographs)[1]
        embeds = torch.stack([torch.zeros_like(pooled), pooled])
    else:
        embeds = torch.stack([eyes(photographs, empty=True)[0], eyes(photographs)[0]])
    text = torch.cat([negative[0][0], positive[0][0]])
    added = {
        "text_embeds": torch.cat([negative[0][1]["pooled_output"], positive[0][1]["pooled_output"]]),
        "time_ids": torch.tensor([[8.0 * SIZE, 8 * SIZE, 0, 0, 8 * SIZE, 8 * SIZE]]).expand(2, -1),
    }
    added = added if kind == "sdxl" else {}
    noise = randn(1, 4, SIZE, SIZE, seed=1)
    theirs = denoise(reference, noise, text, added, CFG, STEPS, None, WEIGHT, image_embeds=embeds)
    assert ours.std() > 0.1
    difference = (ours - theirs).abs().max().item()
    print(f"\n{family}, {kind}: max difference {difference:.1e}, std {ours.std():.2f}")
    assert difference <= 1e-4
