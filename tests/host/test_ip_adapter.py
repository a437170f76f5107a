"""IP-Adapter FaceID and its kin through ApplyIDAdapter's own code: what they need, their LoRA, and how they stack."""

import itertools

import pytest
import torch
from host_cases import adapter, attn2, conditioning, identity, loaded_adapter, randn, sample
from likeness.core import adapters
from likeness.core.faces.identity.identity import combine_embeds
from likeness.core.host.adapters import adapter as adapter_module
from likeness.core.host.sampling.injection import Injection
from likeness.core.host.unet.sites import attention_sites
from likeness.core.host.who import person as person_module
from node_cases import face
from tiny.files import FACE_SPACE
from tiny.ip_adapter import ip_adapter

SPACE = "buffalo_l-w600k_r50"
SITES = {"sd15": 16, "sdxl": 70}


@pytest.fixture(scope="module")
def models():
    from tiny.unet import unet

    return {kind: unet(kind) for kind in SITES}


@pytest.fixture(scope="module")
def clip_vision(comfyui, tmp_path_factory):
    from tiny.vision import clip_vision

    folder = tmp_path_factory.mktemp("vision")
    return {name: clip_vision(folder, name) for name in ("clip-h", "clip-l")}


@pytest.fixture(scope="module")
def person():
    return identity(seed=7, dim=512, space=SPACE)


class Graph:
    """A model with its prompts, and one adapter after another applied to it."""

    def __init__(self, model, kind):
        self.kind = kind
        self.state = model, conditioning(kind, seed=1), conditioning(kind, seed=2)

    def apply(self, loaded, mask=None, weight=0.8, lora=1.0, **sources):
        gathered = person_module.Sources(**sources)
        *self.state, self.identity = adapter_module.apply_adapter(
            *self.state, loaded, gathered, adapter_module.Strength(weight), mask, adapter_module.Settings(lora)
        )
        return self

    @property
    def model(self):
        return self.state[0]

    def sample(self, **options):
        return sample(*self.state, **options)


def refusal(model, loaded, **sources):
    with pytest.raises(ValueError) as caught:
        Graph(model, "sd15").apply(loaded, **sources)
    text = str(caught.value)
    assert text.endswith(".") and text.count(". ") == 0, text
    return text


def test_what_is_missing_is_asked_for(models, encoder, clip_vision, person):
    model, plus = models["sd15"], loaded_adapter(ip_adapter("faceid-plus", "sd15"), "plusv2.bin")
    photograph = face("A")
    text = refusal(model, plus, identity=person)
    assert "plusv2.bin looks at the picture through CLIP-ViT-H-14; put that model" in text
    assert "models/clip_vision" in text and "Hugging Face" in text
    text = refusal(model, plus, identity=person, clip_vision=clip_vision["clip-l"])
    assert "(1280 numbers per patch), but the connected clip_vision is another model (1024" in text
    eyes = {"clip_vision": clip_vision["clip-h"]}
    text = refusal(model, plus, identity=person, **eyes)
    assert "connect image and face_encoder, which finds the face in it" in text
    assert "face_encoder" in refusal(model, plus, identity=person, image=photograph, **eyes)
    text = refusal(model, plus, encoder=encoder, image=photograph, **eyes)
    assert f"takes faces from {SPACE} (512 numbers), but this identity was made by dlib-resnet34-128" in text
    plain = loaded_adapter(ip_adapter("plus", "sd15"), "plus-face.bin")
    assert "connect image." in refusal(model, plain, **eyes)
    faceid = loaded_adapter(ip_adapter("faceid", "sd15"))
    assert "connect either identity, or face_encoder and image" in refusal(model, faceid)
    text = refusal(model, faceid, identity=person, encoder=encoder, image=photograph)
    assert "connect either identity, or face_encoder and image" in text
    several = {"image": torch.cat([photograph, photograph.flip(2)]), "encoder": encoder, **eyes}
    text = refusal(model, plus, identity=person, combine_embeds="concat", **{**several, "image": photograph})
    assert "2 face vectors but 1 pictures; connect the photographs" in text and "combine_embeds to average" in text
    Graph(model, "sd15").apply(plus, identity=person, combine_embeds="concat", **several)


def test_a_picture_without_a_face(models, encoder, clip_vision, person):
    plus = loaded_adapter(ip_adapter("faceid-plus", "sd15"))
    sources = {"identity": person, "encoder": encoder, "clip_vision": clip_vision["clip-h"]}
    nobody = torch.full((1, 200, 200, 3), 0.5)
    graph = Graph(models["sd15"], "sd15")
    graph.apply(plus, image=nobody, on_no_face="passthrough", **sources)
    assert graph.model is models["sd15"] and graph.identity is person
    with pytest.raises(ValueError, match="face"):
        graph.apply(plus, image=nobody, **sources)


@pytest.mark.parametrize("layout", ["plus", "full"])
@pytest.mark.parametrize("shape", [(130, 97), (85, 230)])
def test_pictures_that_are_not_square_are_clips_as_the_authors_make_them(clip_vision, layout, shape):
    """Tokens against those of transformers' processor on Pillow's picture; popular packs keep ComfyUI's own squares."""
    from PIL import Image
    from transformers import CLIPImageProcessorPil

    loaded, image = loaded_adapter(ip_adapter(layout, "sd15")), face("A")[:, : shape[0], : shape[1]]
    clip, size = clip_vision["clip-h"], clip_vision["clip-h"].image_size
    square = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    pixels = square(Image.fromarray((image[0] * 255).round().byte().numpy()), return_tensors="pt")["pixel_values"]

    def tokens(seen):
        return loaded.patcher.model.project(adapters.FaceInput(seen=seen))

    def ours(word):
        sources = person_module.Sources(image=image, clip_vision=clip, compatibility=word)
        return tokens(person_module.gather(loaded.spec, "x", sources, torch.device("cpu")).face.seen)

    with torch.inference_mode():
        _, hidden, *_ = clip.model(pixel_values=pixels, intermediate_output=-2)
        popular = tokens(adapters.Seen((clip.encode_image(image).penultimate_hidden_states,)))
        torch.testing.assert_close(ours("reference"), tokens(adapters.Seen((hidden,))), atol=2e-3, rtol=0)
        torch.testing.assert_close(ours("popular packs"), popular)
        assert (popular - ours("reference")).abs().max() > (0.1 if shape == (85, 230) else 5e-3)


@pytest.mark.parametrize("kind", SITES)
def test_every_site_fires_with_the_lora_in_place(models, person, kind, monkeypatch):
    loaded = loaded_adapter(ip_adapter("faceid", kind))
    graph = Graph(models[kind], kind).apply(loaded, identity=person)
    fired = []
    residual = Injection.residual

    def counting(self, index, *arguments):
        fired.append(index)
        return residual(self, index, *arguments)

    monkeypatch.setattr(Injection, "residual", counting)
    with_identity = graph.sample(steps=1)
    assert sorted(fired) == list(range(SITES[kind]))
    assert len(graph.model.patches) == 8 * SITES[kind]
    plain = sample(models[kind], *Graph(None, kind).state[1:], steps=1)
    assert (plain - with_identity).abs().max() > 1e-2


def test_nothing_is_exactly_nothing_with_a_lora_too(models, person):
    loaded = loaded_adapter(ip_adapter("faceid", "sd15"))
    graph = Graph(models["sd15"], "sd15").apply(loaded, weight=0.0, identity=person)
    assert graph.model is models["sd15"] and not graph.model.patches


def test_two_people_share_one_lora(models, person):
    loaded, other = loaded_adapter(ip_adapter("faceid", "sd15")), identity(seed=8, dim=512, space=SPACE)
    one = Graph(models["sd15"], "sd15").apply(loaded, identity=person)
    two = Graph(models["sd15"], "sd15").apply(loaded, identity=person).apply(loaded, identity=other)
    assert {key: len(patches) for key, patches in two.model.patches.items()} == {key: 1 for key in one.model.patches}
    without = Graph(models["sd15"], "sd15").apply(loaded, lora=0.0, identity=person)
    assert not without.model.patches and not torch.equal(without.sample(), one.sample())
    # another file's LoRA is another one
    third = loaded_adapter(ip_adapter("faceid", "sd15", seed=5))
    assert {len(patches) for patches in two.apply(third, identity=person).model.patches.values()} == {2}


def kohya(lora, sites):
    """The LoRA as the separate files have it: names of diffusers' modules, joined by underscores."""
    kinds = {"input": "down_blocks", "output": "up_blocks"}
    tensors = {}
    for (index, attention, part), (down, up) in lora.by_site.items():
        kind, number, depth = sites[index].key
        where = "mid_block_attentions_0"
        if kind != "middle":
            level, place = ((number - 1) // 3, (number - 1) % 3) if kind == "input" else (number // 3, number % 3)
            where = f"{kinds[kind]}_{level}_attentions_{place}"
        part = "to_out_0" if part == "to_out" else part
        stem = f"lora_unet_{where}_transformer_blocks_{depth}_{attention}_{part}"
        tensors[f"{stem}.lora_down.weight"], tensors[f"{stem}.lora_up.weight"] = down, up
    return tensors


@pytest.mark.parametrize("kind", SITES)
def test_a_separate_lora_file_does_the_same(models, person, kind):
    loaded = loaded_adapter(ip_adapter("faceid", kind))
    sites = attention_sites(models[kind])
    separate = adapter_module.LoadedAdapter(
        "x", loaded.spec, loaded.patcher, adapters.LoRA(by_name=kohya(loaded.lora, sites))
    )
    one = Graph(models[kind], kind).apply(loaded, identity=person)
    two = Graph(models[kind], kind).apply(separate, identity=person)
    assert one.model.patches.keys() == two.model.patches.keys()
    assert torch.equal(one.sample(), two.sample())


def test_a_lora_of_another_model_is_said(models, person):
    loaded = loaded_adapter(ip_adapter("faceid", "sd15"))
    sites = attention_sites(models["sdxl"])
    strange = kohya(loaded_adapter(ip_adapter("faceid", "sdxl")).lora, sites)
    wrong = adapter_module.LoadedAdapter("x.bin", loaded.spec, loaded.patcher, adapters.LoRA(by_name=strange))
    text = refusal(models["sd15"], wrong, identity=person)
    assert "has 560 layers" in text and "are in the connected model" in text


def test_order_of_three_adapters_does_not_matter(models, clip_vision, person):
    """FaceID, InstantID and a plain IP-Adapter in every order."""
    faceid = loaded_adapter(ip_adapter("faceid", "sd15")), {"identity": person}
    instantid = adapter("sd15"), {"identity": identity(seed=3, space=FACE_SPACE)}
    plain = loaded_adapter(ip_adapter("plus", "sd15")), {"image": face("A"), "clip_vision": clip_vision["clip-h"]}
    results = []
    for order in itertools.permutations((faceid, instantid, plain)):
        graph = Graph(models["sd15"], "sd15")
        for loaded, sources in order:
            graph.apply(loaded, weight=0.5, **sources)
        assert {len(patch.injections) for patch in attn2(graph.model).values()} == {3}
        results.append(graph.sample())
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], atol=3e-4, rtol=1e-4)
    alone = Graph(models["sd15"], "sd15").apply(faceid[0], weight=0.5, **faceid[1]).sample()
    assert (alone - results[0]).abs().max() > 1e-2


def test_complementary_masks_part_two_adapters(models, clip_vision, person):
    """At a site: inside its mask each of two adapters gives what it gives alone, and nothing of the other."""
    faceid = loaded_adapter(ip_adapter("faceid", "sdxl"))
    plain = loaded_adapter(ip_adapter("plus", "sdxl"))
    left = torch.zeros(1, 64, 64)
    left[..., :32] = 1
    eyes = {"image": face("A"), "clip_vision": clip_vision["clip-h"]}
    both = Graph(models["sdxl"], "sdxl").apply(faceid, left, identity=person).apply(plain, 1 - left, **eyes)
    first = Graph(models["sdxl"], "sdxl").apply(faceid, identity=person)
    second = Graph(models["sdxl"], "sdxl").apply(plain, **eyes)
    options = {"n_heads": 4, "cond_or_uncond": [1, 0], "activations_shape": [2, 128, 8, 8], "sigmas": torch.ones(2)}
    q, k, v = randn(2, 64, 128, seed=1), randn(2, 77, 128, seed=2), randn(2, 77, 128, seed=3)
    for key in [("input", 7, 0), ("middle", 0, 3), ("output", 1, 9)]:
        joint, one, two = (
            attn2(graph.model)[key](q, k, v, dict(options)).view(2, 8, 8, 128) for graph in (both, first, second)
        )
        torch.testing.assert_close(joint[:, :, :4], one[:, :, :4], atol=1e-6, rtol=0)
        torch.testing.assert_close(joint[:, :, 4:], two[:, :, 4:], atol=1e-6, rtol=0)
        assert (one - two).abs().max() > 1e-3


@pytest.mark.parametrize("how", ["concat", "add", "subtract", "average", "norm average"])
def test_photographs_combine_by_the_popular_words(how):
    rows = randn(3, 5, seed=1)
    expected = {
        "concat": rows,
        "add": rows[0] + rows[1] + rows[2],
        "subtract": rows[0] - (rows[1] + rows[2]) / 2,
        "average": (rows[0] + rows[1] + rows[2]) / 3,
        "norm average": sum(row / (rows[0] ** 2 + rows[1] ** 2 + rows[2] ** 2).sqrt() for row in rows) / 3,
    }[how]
    torch.testing.assert_close(combine_embeds(rows, how), expected.reshape(-1, 5))
    assert combine_embeds(rows[:1], how) is not None and torch.equal(combine_embeds(rows[:1], how), rows[:1])


def test_old_workflows_of_the_popular_packs(models, encoder, clip_vision, person, monkeypatch):
    """Their middle block is left out, an empty picture is black, and SDXL's crops have 256 pixels."""
    plus = loaded_adapter(ip_adapter("faceid-plus", "sdxl"))
    sources = {"identity": person, "encoder": encoder, "image": face("A"), "clip_vision": clip_vision["clip-h"]}
    sizes = []
    see = person_module.see

    def spying(look, crops, clip, name, popular):
        sizes.append((crops.shape[-1], popular))
        return see(look, crops, clip, name, popular)

    monkeypatch.setattr(person_module, "see", spying)
    ours = Graph(models["sdxl"], "sdxl").apply(plus, **sources)
    theirs = Graph(models["sdxl"], "sdxl").apply(plus, compatibility="popular packs", **sources)
    assert sizes == [(224, False), (256, True)]
    assert len(attn2(ours.model)) == 70
    assert len(attn2(theirs.model)) == 60 and not any(key[0] == "middle" for key in attn2(theirs.model))
    assert theirs.sample().isfinite().all() and not torch.equal(ours.sample(), theirs.sample())


def test_nobody_of_the_popular_instantid_pack_is_noise(models):
    loaded, face_ = adapter("sd15"), identity(seed=3, space=FACE_SPACE)
    gather, sources = (getattr(person_module, name) for name in ("gather", "Sources"))
    reference, popular = (
        gather(loaded.spec, "x", sources(face_, compatibility=word), torch.device("cpu"))
        for word in ("reference", "popular packs")
    )
    assert torch.equal(reference.nobody.vectors, torch.zeros(1, 128))
    with torch.random.fork_rng():
        torch.manual_seed(int(face_.vector.sum().item()) % 1000000007)
        assert torch.equal(popular.nobody.vectors[0], 0.35 * torch.rand(128))
    assert torch.equal(popular.face.vectors, reference.face.vectors)
    ours = Graph(models["sd15"], "sd15").apply(loaded, identity=face_)
    theirs = Graph(models["sd15"], "sd15").apply(loaded, identity=face_, compatibility="popular packs")
    assert not torch.equal(ours.sample(steps=1), theirs.sample(steps=1))
