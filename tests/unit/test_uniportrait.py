"""UniPortrait's adapter and router against their formulas written out, and its files in every wrapping."""

import math

import pytest
import torch
import torch.nn.functional as F
from likeness.core.adapters import Choices, FaceInput, Seen, load_adapter, load_router
from likeness.core.attention import shares
from likeness.core.weights import WeightFile, WeightsError, kind_of, read_weights
from on_device import StaysOnDevice
from safetensors.torch import save_file
from tiny.files import SITE_WIDTHS
from tiny.ip_adapter import flat
from tiny.uniportrait import CELLS, EARLY, FACE_DIM, INTRINSIC, PATCHES, faceid, hidden, router, vectors
from torch._subclasses.fake_tensor import FakeTensorMode


def load(tensors, name="anna.bin", **options):
    return load_adapter(WeightFile(name, tensors, {}), **options)


def load_both(device="cpu", dtype=None):
    module = load(flat(faceid()), device=device, dtype=dtype)
    return module, load_router(WeightFile("r.bin", flat(router()), {}), module.spec, device=device, dtype=dtype)


def face(count=1, seed=0, device="cpu"):
    return FaceInput(vectors(count, seed).to(device), Seen((hidden(count, seed).to(device),)))


def test_what_the_file_says_about_itself():
    module = load(flat(faceid()))
    spec = module.spec
    assert (spec.family, spec.title, spec.tokens, spec.token_dim) == ("uniportrait", "UniPortrait", 16, 48)
    assert spec.site_widths == tuple(SITE_WIDTHS["sd15"]) and not spec.needs_control_net and not spec.normalised
    assert (spec.face_space, spec.face_dim) == ("curricularface", FACE_DIM)
    assert (spec.look.vision, spec.look.crop, spec.look.size) == ("clip-h", "face", 224)
    assert len(module.lora.by_site) == 32 * 4 and not any(p.requires_grad for p in module.parameters())
    about = spec.about("anna.bin", module.lora)
    for words in (
        "UniPortrait",
        "16, from up to 16 photographs",
        "glint360k_curricular_face",
        "LoRA inside: 128",
        "0.7",
    ):
        assert words in about, about


@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("count", [1, 3])
def test_tokens_by_the_formula(scale, count, device):
    """Step by step: all photographs are one sequence; the class token is left out."""
    state = faceid()["faceid_proj"]
    numbers, seen = vectors(count), hidden(count)

    def layer(x, name):
        return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0)

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def look(x, z, name):
        x, z = norm(x, f"{name}.norm1"), norm(z, f"{name}.norm2")
        q, rows = layer(z, f"{name}.to_q"), layer(torch.cat([x, z]), f"{name}.to_kv")
        inner = q.shape[1]
        heads = []
        for start in range(0, inner, 64):
            k, v = rows[:, start : start + 64], rows[:, inner + start : inner + start + 64]
            heads.append(torch.softmax(q[:, start : start + 64] @ k.T / math.sqrt(64), dim=1) @ v)
        return layer(torch.cat(heads, 1), f"{name}.to_out")

    intrinsic = torch.cat([row[: CELLS * INTRINSIC].view(CELLS, INTRINSIC) for row in numbers])
    early = torch.cat([row[CELLS * INTRINSIC :].view(PATCHES, EARLY) for row in numbers])
    structure = torch.cat([early, torch.cat([row[1:] for row in seen])], 1)
    intrinsic = layer(F.gelu(layer(intrinsic, "proj_id.0")), "proj_id.2")
    structure = layer(F.gelu(layer(structure, "proj_clip.0")), "proj_clip.2")
    z = state["latents"][0]
    for number in range(2):
        z = look(intrinsic, z, f"layers.{number}.0") + z
        z = scale * look(structure, z, f"layers.{number}.1") + z
        mlp = f"layers.{number}.2"
        z = layer(F.gelu(layer(norm(z, f"{mlp}.0"), f"{mlp}.1")), f"{mlp}.3") + z
    expected = norm(layer(z, "proj_out"), "norm_out")

    found = load(flat(faceid()), device=device).project(face(count, device=device), Choices(structure=10 * scale))
    assert found.shape == (1, 16, 48) and expected.std() > 0.5
    assert (found[0].cpu() - expected).abs().max() < 1e-4


def test_one_site_by_the_formula():
    """Decoupled attention: softmax(q k) v per head, with K and V of the file."""
    module, tensors = load(flat(faceid())), faceid()["faceid_adapter"]
    tokens = torch.cat([module.project(face(seed=seed)) for seed in (1, 2)])
    site = module.sites(tokens)[7]
    q, text = torch.randn(2, 10, 128), torch.zeros(2, 10, 128)
    found = site(q, text, [1, 0], 8)
    k, v = (tokens @ tensors[f"15.to_{part}_faceid.weight"].T for part in "kv")
    for row in range(2):
        for head in range(8):
            at = slice(16 * head, 16 * head + 16)
            expected = torch.softmax(q[row, :, at] @ k[row, :, at].T / 4, dim=1) @ v[row, :, at]
            torch.testing.assert_close(found[row, :, at], expected, atol=1e-5, rtol=1e-4)


def test_router_by_a_plain_loop():
    module, shared = load_both()
    state, generator = router()["faceid_adapter"], torch.Generator().manual_seed(5)
    nobody = FaceInput(torch.zeros(1, FACE_DIM), Seen((hidden(seed=99),)))
    people = [torch.cat([module.project(one) for one in (nobody, face(seed=seed))]) for seed in range(3)]
    kinds, index, width, number = [1, 0], 4, SITE_WIDTHS["sd15"][4], 9
    given = torch.randn(4, 20, width, generator=generator)  # two pictures per chunk

    def mlp(x, name):
        x = F.gelu(F.linear(x, state[f"{number}.{name}.0.weight"], state[f"{number}.{name}.0.bias"]))
        return F.linear(x, state[f"{number}.{name}.2.weight"])

    sites = [shared.routed(module.sites(tokens), tokens)[index] for tokens in people]
    queries = shared.queries(index, given)
    scores = [site.score(queries, kinds) for site in sites]
    maps = shares(scores, [None] * 3)
    weights, bias = state[f"{number}.aggr_router.weight"][0], state[f"{number}.aggr_router.bias"][0]
    for row in range(4):
        for token in range(20):
            q, logits = mlp(given[row, token], "to_q_router"), []
            for tokens in people:
                mixed = sum(weights[n] * tokens[0 if row < 2 else 1, n] for n in range(16)) + bias
                logits.append(float(q @ mlp(mixed, "to_k_router")))
            assert [float(score[row, token]) for score in scores] == pytest.approx(logits, abs=1e-3)
            got = [float(one[row, token]) for one in maps]
            winner = max(range(3), key=logits.__getitem__)
            wanted = [1 / 3] * 3 if row < 2 else [float(person == winner) for person in range(3)]
            assert got == pytest.approx(wanted), (row, token)
    assert {int(one) for one in torch.stack(maps)[:, 2:].argmax(0).flatten()} == {0, 1, 2}


def test_shares_partition_the_tokens_in_any_order():
    generator = torch.Generator().manual_seed(0)
    scores = [torch.randn(2, 30, 1, generator=generator) for _ in range(4)]
    scores[3] = scores[1].clone()
    mask = (torch.rand(2, 30, 1, generator=generator) > 0.5).float()
    masks = [None, None, mask, None]
    maps = shares(scores, masks)
    torch.testing.assert_close(sum(maps), torch.ones(2, 30, 1))
    assert not (maps[2] * (1 - mask)).any() and maps[2].any() and torch.equal(maps[1], maps[3])
    order = [2, 0, 3, 1]
    turned = shares([scores[n] for n in order], [masks[n] for n in order])
    assert all(torch.equal(turned[place], maps[n]) for place, n in enumerate(order))


def test_a_floor_outside_of_masks_takes_nobodys_tokens_away():
    generator = torch.Generator().manual_seed(0)
    left = torch.where(torch.arange(30) < 15, 1.0, 0.2).view(1, 30, 1)
    scores = [torch.randn(1, 30, 1, generator=generator) for _ in range(2)]
    first, second = shares(scores, [left, 1.2 - left])
    assert torch.equal(first, (left == 1).float()) and torch.equal(second, 1 - first)


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("part", [faceid, router])
def test_files_as_they_are_saved(tmp_path, part):
    """The published pickle, in half precision, and flat safetensors of any name, behind a wrapper's."""
    nested = {top: {key: tensor.half() for key, tensor in inside.items()} for top, inside in part().items()}
    torch.save(nested, tmp_path / "a.bin")
    save_file({f"_orig_mod.{key}": half for key, half in flat(nested).items()}, tmp_path / "renamed.safetensors")
    spec = load(flat(faceid())).spec
    made = []
    for name in ("a.bin", "renamed.safetensors"):
        file = read_weights(tmp_path / name)
        made.append(load_adapter(file) if part is faceid else load_router(file, spec))
    assert same(*made) and {parameter.dtype for parameter in made[0].parameters()} == {torch.float16}
    assert len(made[0].lora.by_site) == len(made[1].lora.by_site) == 128
    assert kind_of(flat(nested)) == ("a UniPortrait adapter" if part is faceid else "a UniPortrait router")


def complaint(action):
    with pytest.raises(WeightsError) as caught:
        action()
    text = str(caught.value)
    assert ";" in text and text.endswith(".") and "\n" not in text and len(text) < 300, text
    return text


def test_every_tensor_is_needed():
    tensors, spec = flat(faceid()), load(flat(faceid())).spec
    for whole, action in ((tensors, load), (flat(router()), lambda left: load_router(WeightFile("r", left, {}), spec))):
        for key in list(whole)[::7]:
            text = complaint(lambda: action({other: t for other, t in whole.items() if other != key}))  # noqa: B023
            assert key in text, (key, text)


def test_structure_narrower_than_clips_patches():
    odd = flat(faceid()) | {"faceid_proj.proj_clip.0.weight": torch.ones(64, 900)}
    assert "don't fit together" in complaint(lambda: load(odd))


def test_files_in_each_others_place():
    spec = load(flat(faceid())).spec
    assert "is a UniPortrait router, and LoadIDAdapter reads" in complaint(lambda: load(flat(router())))
    wrong = complaint(lambda: load_router(WeightFile("a.bin", flat(faceid()), {}), spec))
    assert "is a UniPortrait adapter" in wrong and "set router to none" in wrong
    larger = {key: tensor for key, tensor in flat(router()).items() if not key.startswith("faceid_adapter.31.")}
    assert "belong together" in complaint(lambda: load_router(WeightFile("a.bin", larger, {}), spec))


@pytest.mark.parametrize("part", [faceid, router])
def test_a_lora_layer_that_is_missing(part):
    tensors, spec = flat(part()), load(flat(faceid())).spec
    left = {key: tensor for key, tensor in tensors.items() if ".20.to_v_lora." not in key}
    read = load if part is faceid else lambda tensors: load_router(WeightFile("r.bin", tensors, {}), spec)
    assert "its LoRA has 127 layers where 128 belong; fetch it again" in complaint(lambda: read(left))


def test_other_clip_models_are_refused():
    with pytest.raises(ValueError, match="256 patches from CLIP, but the connected clip_vision gives 16; load"):
        load(flat(faceid())).project(FaceInput(vectors(), Seen((hidden()[:, :17],))))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_precision(dtype, device):
    module, shared = load_both(device, dtype)
    face_in = FaceInput(vectors().to(device, dtype), Seen((hidden().to(device, dtype),)))
    tokens = torch.cat([module.project(face_in)] * 2)
    exact = load(flat(faceid())).project(face())
    assert tokens.dtype == dtype and F.cosine_similarity(tokens[:1].float().cpu(), exact, dim=-1).min() > 0.99
    routed = shared.routed(module.sites(tokens), tokens)
    queries = shared.queries(0, torch.randn(2, 9, 32, device=device, dtype=dtype))
    assert routed[0].score(queries, [1, 0]).shape == (2, 9, 1) and queries.dtype == dtype


def test_nothing_is_read_on_the_way():
    with FakeTensorMode(allow_non_fake_inputs=True):
        module, shared = load_both("cuda")
        seen = Seen((torch.empty(2, 257, 1280, device="cuda"),))
        with StaysOnDevice():
            tokens = torch.cat([module.project(FaceInput(torch.empty(2, FACE_DIM, device="cuda"), seen))] * 2)
            sites = shared.routed(module.sites(tokens), tokens)
            queries = shared.queries(3, torch.empty(4, 16, 64, device="cuda"))
            maps = shares([sites[3].score(queries, [1, 0])] * 2, [None, torch.ones(4, 16, 1, device="cuda")])
    assert tokens.shape == (2, 16, 48) and {one.device.type for one in maps} == {"cuda"}
