"""UniPortrait on ComfyUI's own U-Net: one person, and several who share a picture out by the router."""

from dataclasses import replace

import photographs
import pytest
import torch
from host_cases import attn2, conditioning, loaded_adapter, randn, sample
from likeness.core import adapters
from likeness.core.attention import residuals
from likeness.core.faces.identity import identity
from likeness.core.host.adapters import adapter as adapter_module
from likeness.core.host.comfyui import managed
from likeness.core.host.sampling import injection as injection_module
from likeness.core.host.sampling import rows as rows_module
from likeness.core.host.sampling import run as run_module
from likeness.core.host.unet import cross_attention
from likeness.core.host.unet.routing import token_shares
from likeness.core.host.unet.sites import running
from likeness.core.host.who import person as person_module
from likeness.core.weights import WeightFile
from node_cases import ComfyError, outputs, sentence
from safetensors.torch import save_file
from tiny.ip_adapter import flat
from tiny.uniportrait import FACE_DIM, SPACE, faceid, router, vectors
from torch._subclasses.fake_tensor import FakeTensorMode

KEY = ("input", 7, 0)


@pytest.fixture(scope="module")
def model():
    from tiny.unet import unet

    return unet("sd15")


@pytest.fixture(scope="module")
def prompt():
    return conditioning("sd15", seed=10), conditioning("sd15", seed=20)


@pytest.fixture(scope="module")
def vision(tmp_path_factory):
    from tiny.vision import clip_vision

    return clip_vision(tmp_path_factory.mktemp("clip"), pixels=224)


@pytest.fixture(scope="module")
def alone():
    """The adapter without a router."""
    return loaded_adapter(faceid())


@pytest.fixture(scope="module")
def loaded(alone):
    file = WeightFile("router.bin", flat(router()), {})
    made = adapters.load_router(file, alone.spec, operations=managed.OPERATIONS)
    return replace(alone, router=managed.managed(made))


@pytest.fixture(scope="module")
def photograph():
    face = photographs.people()["sample1"]["faces"][0]["box"]
    left, top, right, bottom = face
    margin = 0.6 * (right - left)
    cut = photographs.picture("sample1").crop((left - margin, top - margin, right + margin, bottom + margin))
    return photographs.as_image(cut.resize((160, 160)))


@pytest.fixture(scope="module")
def sources(encoder, vision, photograph):
    """Who a person is, by a number."""

    def of(number, count=1):
        known = vectors(count, seed=number)
        made, _ = identity.combine_identity(SPACE, known, torch.ones(count), "mean")
        return person_module.Sources(made, encoder, photograph.expand(count, -1, -1, -1), vision)

    return of


@pytest.fixture(scope="module")
def put(sources, loaded):
    """Apply people by number, one after the other."""

    def onto(model, prompt, *numbers, adapter=loaded, mask=None, options=None, **strength):
        applied = (model, *prompt)
        for place, number in enumerate(numbers):
            own = mask[place] if isinstance(mask, list) else mask
            strong = adapter_module.Strength(**{"weight": 0.8, **strength})
            applied = adapter_module.apply_adapter(
                *applied, adapter, sources(number), strong, own, options or adapter_module.Settings()
            )[:3]
        return applied

    return onto


@pytest.fixture(scope="module")
def one(put, model, prompt):
    return put(model, prompt, 1)


@pytest.fixture(scope="module")
def two(put, model, prompt):
    return put(model, prompt, 1, 2)


def site_options(kinds=(1, 0), **more):
    """What ComfyUI tells the site KEY, with the hidden states that it is given."""
    rows = len(kinds)
    return {
        "n_heads": 8, "cond_or_uncond": list(kinds), "activations_shape": [rows, 128, 8, 8], "sigmas": torch.ones(rows),
        "likeness_hidden_states": randn(rows, 64, 128, seed=7), **more,
    }  # fmt: skip


def shares_at(applied, kinds=(1, 0), **more):
    q, run = randn(len(kinds), 64, 128, seed=1), run_module.Run()
    injections, options = attn2(applied[0])[KEY].injections, site_options(kinds, **more)
    here = running(options)
    found = token_shares(injections, q, here, options, run)
    return list(found.values())


def run_site(applied, kinds=(1, 0), **more):
    """What the identity adds at KEY."""
    q = randn(len(kinds), 64, 128, seed=1)
    patch = attn2(applied[0])[KEY].copy()
    patch.base = lambda q, k, v, options: torch.zeros_like(q)
    return patch(q, q, q, site_options(kinds, **more))


def test_every_site_fires_and_the_identity_shows(model, prompt, one, two):
    plain = sample(model, *prompt)
    for applied in (one, two):
        runs = []

        def watch(function, arguments, runs=runs):
            options = arguments["c"]["transformer_options"]
            runs.append((options["likeness"], options["cond_or_uncond"]))
            return function(arguments["input"], arguments["timestep"], **arguments["c"])

        watched = applied[0].clone()
        watched.set_model_unet_function_wrapper(watch)
        assert (sample(watched, *applied[1:]) - plain).abs().max() > 1e-2
        assert {len(run.fired) for run, _ in runs} == {16} and len(attn2(watched)) == 16
    assert (sample(*one) - sample(*two)).abs().max() > 1e-3


def test_weight_0_is_nothing_and_upstream_is_untouched(put, model, prompt, one, two):
    applied = put(model, prompt, 1, weight=0.0)
    assert applied[0] is model and applied[1] is prompt[0]
    assert not model.patches and not attn2(model) and "patches" not in model.model_options["transformer_options"]
    assert len(attn2(one[0])[KEY].injections) == 1 and put(one[0], one[1:], 2, weight=0.0)[0] is one[0]


def test_the_order_of_people_does_not_matter(put, model, prompt, two):
    turned = put(model, prompt, 2, 1)
    assert torch.equal(sample(*turned), sample(*two))


def test_one_person_is_never_gated(one):
    assert shares_at(one) == [] and "patches" not in one[0].model_options["transformer_options"]


def test_people_share_every_token_out(put, model, prompt, two):
    """Conditional tokens have one face each, unconditional ones that of nobody once."""
    three = put(*two[:1], two[1:], 3)
    for applied, count in ((two, 2), (three, 3)):
        found = torch.stack(shares_at(applied))
        torch.testing.assert_close(found.sum(0), torch.ones(2, 64, 1))
        torch.testing.assert_close(found[:, 0], torch.full((count, 64, 1), 1 / count))
        assert set(found[:, 1].unique().tolist()) == {0.0, 1.0} and (found[:, 1].sum(1) > 0).all()


def test_a_site_adds_each_token_of_the_person_who_has_it(put, model, prompt, one, two):
    other = put(model, prompt, 2)
    first, second = shares_at(two)
    expected = first * run_site(one) + second * run_site(other)
    torch.testing.assert_close(run_site(two), expected, atol=1e-5, rtol=1e-5)


def test_in_a_whole_sampling_the_router_sees_what_the_sites_are_given(two):
    """The very hidden states of the block, not the queries that come after."""
    seen, module = [], two[0].model.diffusion_model.middle_block[1].transformer_blocks[0].attn2.to_q
    rows = []
    hook = module.register_forward_pre_hook(lambda layer, inputs: rows.append(inputs[0].clone()))
    watched = two[0].clone()
    patch = attn2(watched)["middle", 0, 0]

    def base(q, k, v, options):
        seen.append(options["likeness_hidden_states"].clone())
        return q

    patch.base = base
    sample(watched, *two[1:], steps=1)
    hook.remove()
    assert len(seen) == len(rows) == 1 and torch.equal(seen[0], rows[0])


def test_the_lora_of_several_takes_the_place_of_ones_own(put, model, prompt, one, two, alone, loaded):
    def downs(applied):
        return {float(entries[0][1].weights[1].sum()) for entries in applied[0].patches.values()}

    own, several = alone.lora.by_site, loaded.router.model.lora.by_site
    for applied, wanted in ((one, own), (two, several), (put(*two[:1], two[1:], 3), several)):
        assert len(applied[0].patches) == 128 and {len(entries) for entries in applied[0].patches.values()} == {1}
        assert downs(applied) == {float(down.sum()) for down, _ in wanted.values()}
    assert one[0].patches_uuid != two[0].patches_uuid
    off = put(model, prompt, 1, 2, options=None, adapter=replace(loaded, lora=type(loaded.lora)()))
    assert downs(off) == downs(two)


def test_without_a_router_people_are_added_up(put, model, prompt, alone):
    applied = put(model, prompt, 1, 2, adapter=alone)
    assert shares_at(applied) == [] and len(applied[0].patches) == 128


def test_masks_say_where_a_person_may_be(put, model, prompt):
    left = torch.zeros(1, 64, 64)
    left[:, :, :32] = 1
    right = 1 - left
    apart = put(model, prompt, 1, 2, mask=[left, right])
    first, second = (share.view(2, 8, 8) for share in shares_at(apart))
    assert (first[:, :, :4] == 1).all() and (second[:, :, 4:] == 1).all()
    assert not first[:, :, 4:].any() and not second[:, :, :4].any()
    gap = put(model, prompt, 1, 2, mask=[left, left])
    added = run_site(gap).view(2, 8, 8, 128)
    assert not added[:, :, 4:].any() and (added[:, :, :4].abs().amax(-1) > 0).all()
    with_free = put(model, prompt, 1, 2, mask=[left, None])
    free = shares_at(with_free)[1].view(2, 8, 8)
    assert (free[:, :, 4:] == 1).all() and not (free[1, :, :4] == 1).all()


def test_who_is_out_of_range_does_not_compete(put, one):
    both = put(*one[:1], one[1:], 2, start_at=0.5)
    assert shares_at(both, sigmas=torch.full((2,), 900.0)) == []
    assert len(shares_at(both, sigmas=torch.full((2,), 0.5))) == 2


def test_the_switch_that_turns_the_identity_off(two):
    one_off = rows_module.in_chunks([0, 0], 2, off=rows_module.IdentityOff((False, True)))
    kept, gone = run_site(two, (0, 0), **{"likeness_rows": one_off})
    with_identity = run_site(two, (0, 0))
    torch.testing.assert_close(kept, with_identity[0])
    assert with_identity[1].any() and not gone.any()


def test_several_photographs_are_one_person_and_nobody_counts_once(sources, alone):
    person = person_module.gather(alone.spec, "a.bin", sources(1, count=2), torch.device("cpu"))
    assert person.face.vectors.shape == (2, FACE_DIM) and person.face.seen.hidden[0].shape == (2, 257, 1280)
    assert person.nobody.vectors.shape == (1, FACE_DIM) and person.nobody.seen.hidden[0].shape == (1, 257, 1280)
    module = alone.patcher.model
    assert module.project(person.face).shape == module.project(person.nobody).shape == (1, 16, 48)


def test_faces_of_another_encoder_are_refused(put, model, prompt, sources, alone):
    known = sources(1)
    other = replace(known, identity=replace(known.identity, space="buffalo_l-w600k_r50"))
    with pytest.raises(ValueError, match="takes faces from curricularface .* made by buffalo_l-w600k_r50"):
        adapter_module.apply_adapter(model, *prompt, alone, other, adapter_module.Strength(0.8))


def test_two_people_on_cuda_without_a_host_read(two):
    injections = attn2(two[0])[KEY].injections
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:

        def cuda(tensor):
            return mode.from_tensor(tensor.detach()).to("cuda")

        moved = []
        for injection, index in injections:
            inner = injection.patcher.model.sites[index]
            attend = residuals.Attend(cuda(inner.site.k[:2]), cuda(inner.site.v[:2]))
            site = residuals.Routed(attend, cuda(inner.key[:2]))
            owner = type(
                "Owner", (), {"model": injection_module.IdentityBank([site], torch.ones(1, 8, 8, device="cuda"))}
            )
            shared = type("Owner", (), {"model": type("Model", (), {"queries": lambda self, index, hidden: hidden})()})
            moved.append((injection_module.Injection(owner, injection.span, shared), 0))
        q = torch.empty(2, 64, 128, device="cuda")
        options = site_options(sigmas=torch.empty(2, device="cuda"), likeness=run_module.Run())
        options["likeness_hidden_states"] = torch.empty(2, 64, 128, device="cuda")
        out = cross_attention.IDPatch(KEY, moved, base=lambda q, k, v, o: q)(q, q, q, options)
    assert out.device.type == "cuda" and out.shape == q.shape


@pytest.fixture
def folder(pack):
    path = pack.base / "models/likeness"
    path.mkdir(parents=True, exist_ok=True)
    names = ("uniportrait-faceid_sd15.bin", "uniportrait-router_sd15.bin", "uni.safetensors")
    torch.save(faceid(), path / names[0])
    torch.save(router(), path / names[1])
    save_file(flat(faceid()), path / names[2])
    yield path
    for name in names:
        (path / name).unlink()


def test_the_node_takes_both_files(pack, folder):
    both = {"adapter": "likeness/uniportrait-faceid_sd15.bin", "router": "likeness/uniportrait-router_sd15.bin"}
    adapter, about = outputs(pack, "LoadIDAdapter", **both)
    assert adapter.router is not None and "Router: shares the picture out" in about
    assert adapter.get_models() == [adapter.patcher, adapter.router]
    alone, about = outputs(pack, "LoadIDAdapter", adapter="likeness/uni.safetensors")
    assert alone.router is None and "Router:" not in about
    with pytest.raises(ComfyError, match="likeness/gone.bin"):
        outputs(pack, "LoadIDAdapter", **{**both, "router": "likeness/gone.bin"})
    text = sentence(pack, "LoadIDAdapter", **{**both, "router": "likeness/uni.safetensors"})
    assert "uni.safetensors is a UniPortrait adapter" in text and "set router to none" in text
    node = pack.nodes["LoadIDAdapter"]
    before = node.fingerprint_inputs(**both)
    torch.save(router(1), folder / "uniportrait-router_sd15.bin")
    assert node.fingerprint_inputs(**both) != before
