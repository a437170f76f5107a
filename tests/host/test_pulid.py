"""PuLID and MasterWeaver from photographs to pixels: what they look through, every site, and when they do nothing."""

import os
import shutil

import pytest
import torch
from host_cases import SPACE, conditioning, loaded_adapter, sample
from likeness.core import adapters as adapters_module
from likeness.core.faces.crops import CROPS
from likeness.core.faces.regions import backdrop
from likeness.core.host.adapters import adapter
from likeness.core.host.faces.parser import find_parser
from likeness.core.host.sampling.injection import Injection
from likeness.core.host.who import person
from likeness.core.vision.eva import load_eva
from node_cases import face
from parser_files import reference
from tiny.eva import eva
from tiny.masterweaver import masterweaver
from tiny.pulid import pulid
from torch._subclasses.fake_tensor import FakeTensorMode

METADATA = {"likeness.face_space": SPACE}
SITES = {"sdxl": 70, "sd15": 16}


@pytest.fixture(scope="module")
def folders(pack):
    """EVA-CLIP under another name than its own, beside a file of another kind, and a face parser."""
    made = [pack.base / "models" / folder for folder in ("clip_vision", "face_parsing")]
    for folder in made:
        folder.mkdir(exist_ok=True)
    torch.save(eva(), made[0] / "visual.pt")
    torch.save({"text_model.embeddings.weight": torch.ones(2)}, made[0] / "an_eva.pt")
    torch.save(reference().state_dict(), made[1] / "parsing.pth")
    for folder in made:
        os.utime(folder)
    yield made
    (made[0] / "visual.pt").unlink(missing_ok=True)
    (made[0] / "an_eva.pt").unlink()
    shutil.rmtree(made[1])


@pytest.fixture(scope="module")
def models():
    from tiny.unet import unet

    return {kind: unet(kind) for kind in SITES}


@pytest.fixture(scope="module")
def adapters():
    made = {version: loaded_adapter(pulid(version), f"{version}.bin", METADATA) for version in ("v1", "v1.1")}
    return made | {"masterweaver": loaded_adapter(masterweaver(seen_dim=1024), "adapter_final.pt")}


@pytest.fixture(scope="module")
def clip_l(comfyui, tmp_path_factory):
    from tiny.vision import clip_vision

    return clip_vision(tmp_path_factory.mktemp("vision"), "clip-l", pixels=28)


@pytest.fixture(scope="module")
def apply(models, adapters, encoder, clip_l, folders):
    """(model, positive, negative) with an adapter applied to the face on photographs."""

    def applied(name, image=None, mask=None, method="fidelity", combine_embeds="auto", **strength):
        kind = "sd15" if name == "masterweaver" else "sdxl"
        vision = clip_l if name == "masterweaver" else None
        photographs = face("A") if image is None else image
        sources = person.Sources(encoder=encoder, image=photographs, clip_vision=vision, combine_embeds=combine_embeds)
        options = adapter.Settings(choices=adapters_module.Choices(method=method))
        prompt = conditioning(kind, seed=1), conditioning(kind, seed=2)
        strength = adapter.Strength(**{"weight": 0.8, **strength})
        return adapter.apply_adapter(models[kind], *prompt, adapters[name], sources, strength, mask, options)[:3]

    return applied


@pytest.fixture(scope="module")
def plain(models):
    return {kind: sample(models[kind], conditioning(kind, seed=1), conditioning(kind, seed=2)) for kind in SITES}


@pytest.fixture
def fired(monkeypatch):
    """The number of each site that adds something, once per forward."""
    numbers = []
    residual = Injection.residual

    def counting(self, index, *arguments):
        out = residual(self, index, *arguments)
        if out is not None:
            numbers.append(index)
        return out

    monkeypatch.setattr(Injection, "residual", counting)
    return numbers


@pytest.mark.parametrize("name", ["v1", "v1.1", "masterweaver"])
def test_every_site_fires_and_the_picture_changes(apply, plain, fired, name):
    kind = "sd15" if name == "masterweaver" else "sdxl"
    picture = sample(*apply(name))
    assert sorted(fired) == sorted(2 * list(range(SITES[kind])))  # two steps
    assert picture.isfinite().all() and (picture - plain[kind]).abs().max() > 1e-2


def test_methods_and_guidance_of_one(apply):
    pictures = [sample(*apply("v1", method=method), cfg=1.0, steps=1) for method in ("fidelity", "style", "plain")]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (pictures[one] - pictures[other]).abs().max() > 1e-3


def test_nothing_is_exactly_nothing(apply, models):
    for nothing in ({"weight": 0.0}, {"start_at": 0.5, "end_at": 0.5}, {"mask": torch.zeros(1, 8, 8)}):
        assert apply("v1", **nothing)[0] is models["sdxl"]


def test_range_and_mask(apply, plain, fired):
    late = apply("v1.1", start_at=0.5)
    assert torch.equal(sample(*late, steps=1), sample(*apply("v1.1", weight=0.0), steps=1)) and not fired
    half = torch.zeros(1, 64, 64)
    half[..., :32] = 1
    masked = sample(*apply("v1.1", mask=half), shape=(2, 4, 24, 16))
    assert masked.isfinite().all() and len(fired) == 2 * SITES["sdxl"]


def test_several_photographs(apply, adapters):
    """Version 1 takes 5 tokens of each further one, or 10 by concat, for nobody too. Version 1.1 takes each, and nobody
    is one empty photograph whatever their number; MasterWeaver up to three."""
    several = torch.cat([face("A"), face("A").flip(2)])
    for word, tokens in (("auto", 15), ("concat", 20), ("average", 10)):
        k = _bank(apply("v1", several, combine_embeds=word)[0]).sites[0].k  # with 8 tokens of zeros
        assert k.shape[1] == tokens + 8
        assert (k[1, :10] - k[0, :10]).abs().max() > 1e-3
        if tokens > 10:  # the same nobody as often as the person
            torch.testing.assert_close(k[0, 10:15], k[0, :5])
    for name in ("v1.1", "masterweaver"):
        one, both = (_bank(apply(name, image)[0]).sites[0].k for image in (several[:1], several))
        assert one.shape != both.shape or (one[1] - both[1]).abs().max() > 1e-4
        torch.testing.assert_close(one[0], both[0])


def _bank(model):
    patches = model.model_options["transformer_options"]["patches_replace"]["attn2"]
    return patches["middle", 0, 0].injections[0][0].patcher.model


def test_what_pulid_sees(adapters, encoder, folders):
    """The face vector as it is, EVA's own output for the head in grey on white, and zeros for nobody."""
    loaded = adapters["v1"]
    image = face("A")
    sources = person.Sources(encoder=encoder, image=image)
    gathered = person.gather(loaded.spec, "v1.bin", sources, torch.device("cpu"), lambda: loaded.eyes)
    torch.testing.assert_close(gathered.face.vectors[0], gathered.identity.vector)
    faces = encoder.detect(image).select("largest", "0")
    crop = CROPS["head"](512).chips(image, faces, None)
    labels = find_parser().labels(crop.movedim(1, -1))
    grey = backdrop.grey(crop, labels)
    pooled, hidden = load_eva(eva())(grey)
    torch.testing.assert_close(gathered.face.seen.pooled, pooled, atol=1e-4, rtol=1e-4)
    for one, other in zip(gathered.face.seen.hidden, hidden, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    nobody = gathered.nobody
    assert not any(t.any() for t in (nobody.vectors, nobody.seen.pooled, *nobody.seen.hidden))
    assert [t.shape for t in nobody.seen.hidden] == [t.shape for t in hidden]
    assert loaded.eyes is loaded.eyes  # read once, and kept with the adapter
    assert loaded.get_models() == [loaded.patcher, loaded.eyes]


def test_what_is_missing_is_asked_for(folders, adapters, apply, encoder):
    fresh = adapter.LoadedAdapter("v1.bin", adapters["v1"].spec, adapters["v1"].patcher)
    moved = folders[0] / "visual.away"
    (folders[0] / "visual.pt").rename(moved)
    os.utime(folders[0])
    try:
        with pytest.raises(ValueError, match="no file in models/clip_vision, text_encoders, pulid holds it") as caught:
            _ = fresh.eyes
        assert fresh.get_models() == [fresh.patcher]
    finally:
        moved.rename(folders[0] / "visual.pt")
        os.utime(folders[0])
    assert "put QuanSun/EVA-CLIP, EVA02_CLIP_L_336_psz14_s6B.pt" in str(caught.value)
    with pytest.raises(ValueError, match="connect image and face_encoder"):
        person.gather(fresh.spec, "v1.bin", person.Sources(), "cpu")
    parser = folders[1] / "parsing.pth"
    parser.rename(folders[1] / "parsing.away")
    os.utime(folders[1])
    try:
        with pytest.raises(ValueError, match=r"v1.bin wants the face cut out .* into .*/models/face_parsing\.$"):
            apply("v1")
    finally:
        (folders[1] / "parsing.away").rename(parser)
        os.utime(folders[1])


@pytest.mark.parametrize("version", ["v1", "v1.1"])
def test_projection_stays_on_cuda(adapters, version):
    module = adapters[version].patcher.model
    with FakeTensorMode(allow_non_fake_inputs=True):
        hidden = tuple(torch.empty(1, 577, 64, device="cuda") for _ in range(5))
        seen = adapters_module.Seen(hidden, torch.empty(1, 768, device="cuda"))
        tokens = module.project(adapters_module.FaceInput(torch.empty(1, 128, device="cuda"), seen))
        sites = module.sites(tokens.expand(2, -1, -1))
    assert len(sites) == 70 and {site.k.device.type for site in sites} == {"cuda"}
