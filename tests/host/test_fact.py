"""FaceChain-FACT on the tiny SD1.5: its gates before every cross-attention, ranges, masks, company, and the cure."""

import copy
import dataclasses

import pytest
import torch
from host_cases import adapter, apply, conditioning, identity, loaded_adapter, randn, sample
from likeness.core.adapters import FaceInput
from likeness.core.host.adapters.adapter import Settings
from likeness.core.host.sampling import rows
from torch._subclasses.fake_tensor import FakeTensorMode


@pytest.fixture(scope="module")
def model():
    from tiny.unet import unet

    return unet("sd15")


@pytest.fixture(scope="module")
def fact():
    from tiny.fact import nested

    return loaded_adapter(nested(), "fact.ckpt")


@pytest.fixture(scope="module")
def prompt():
    return conditioning("sd15", seed=10), conditioning("sd15", seed=20)


def face(seed=0):
    from tiny.fact import FACE_DIM

    return identity(seed, FACE_DIM, "transface-anything:0123")


@pytest.fixture
def applied(model, prompt, fact):
    def applied(seed=0, mask=None, onto=None, **strength):
        return apply(*(onto or (model, *prompt)), fact, face(seed), mask, **{"weight": 0.5, **strength})

    return applied


def patch_of(model):
    [patch] = model.model_options["transformer_options"]["patches"]["middle_patch"]
    return patch


def test_every_gate_fires(model, prompt, applied):
    patched = applied()
    [scope] = patched[0].get_wrappers("outer_sample", "likeness")
    assert len(scope.sites) == 16 and ("gate", "middle", 0, 0) in scope.sites
    seen = []
    watched = patched[0].clone()
    watched.add_wrapper_with_key("outer_sample", "watch", lambda executor, *a, **k: (
        executor(*a, **k), seen.append(set(executor.class_obj.model_options["transformer_options"]["likeness"].fired)),
    )[0])  # fmt: skip
    picture = sample(watched, *patched[1:])
    assert scope.sites == seen[0]
    plain, other = sample(model, *prompt), sample(*applied(seed=5))
    assert (picture - plain).abs().max() > 1e-2 and (picture - other).abs().max() > 1e-3
    assert torch.equal(sample(*patched), picture) and torch.equal(sample(*applied()), picture)
    assert torch.equal(sample(model, *prompt), plain) and "patches" not in model.model_options["transformer_options"]


@pytest.mark.parametrize("nothing", [{"weight": 0.0}, {"start_at": 1.0}, {"mask": torch.zeros(1, 8, 8)}], ids=str)
def test_nothing_is_exactly_nothing(model, applied, nothing):
    assert applied(**nothing)[0] is model


def test_range_mask_and_cfg_1(model, prompt, applied):
    assert torch.equal(sample(*applied(start_at=0.5), steps=1), sample(model, *prompt, steps=1))
    late = sample(*applied(start_at=0.5))
    assert not torch.equal(late, sample(*applied())) and not torch.equal(late, sample(model, *prompt))
    masks, shape = torch.stack([torch.ones(32, 32), torch.zeros(32, 32)]), (2, 4, 16, 16)
    masked, plain = sample(*applied(mask=masks), shape=shape, steps=1), sample(model, *prompt, shape=shape, steps=1)
    torch.testing.assert_close(masked[1], plain[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(masked[0], sample(*applied(), shape=shape, steps=1)[0], atol=1e-4, rtol=0)
    assert (masked[0] - plain[0]).abs().max() > 1e-2
    assert (sample(*applied(), cfg=1.0, steps=1) - sample(model, *prompt, cfg=1.0, steps=1)).abs().max() > 1e-3
    assert sample(*applied(mask=masks), shape=(3, 4, 17, 9), steps=1).isfinite().all()


def test_a_mask_limits_where_a_gate_adds(applied):
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :32] = 1
    x = randn(2, 64, 128, seed=1)
    options = {"n_heads": 8, "cond_or_uncond": [1, 0], "activations_shape": [2, 128, 8, 8], "sigmas": torch.ones(2),
               "block": ("input", 7), "block_index": 0}  # fmt: skip
    inside, everywhere = (patch_of(model)(x, options).view(2, 8, 8, 128)
                          for model in (applied(mask=mask)[0], applied()[0]))  # fmt: skip
    assert torch.equal(inside[:, :, 4:], x.view(2, 8, 8, 128)[:, :, 4:])
    torch.testing.assert_close(inside[:, :, :4], everywhere[:, :, :4], atol=1e-5, rtol=0)
    assert (everywhere - x.view(2, 8, 8, 128)).abs().amax(-1).min() > 1e-3


def test_company_in_either_order_is_one_picture(model, prompt, applied):
    instantid = adapter("sd15")
    first = applied(onto=apply(model, *prompt, instantid, weight=0.5))
    second = apply(*applied(), instantid, weight=0.5)
    torch.testing.assert_close(sample(*first), sample(*second), atol=3e-4, rtol=1e-4)
    assert (sample(*first) - sample(*applied())).abs().max() > 1e-3


def test_two_people_and_strangers_share_the_place(applied):
    left, right = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)
    left[..., :4], right[..., 4:] = 1, 1
    one, two = applied(1, left, applied(2, right)), applied(2, right, applied(1, left))
    torch.testing.assert_close(sample(*one), sample(*two), atol=3e-4, rtol=1e-4)
    assert len(patch_of(one[0]).applied) == 2 and len(patch_of(applied()[0]).applied) == 1
    foreign = applied()[0].clone()
    foreign.set_model_patch(lambda x, options: x + 0.1, "middle_patch")
    both = applied(3, onto=(foreign, *applied()[1:]))[0]
    names = [type(one).__name__ for one in both.model_options["transformer_options"]["patches"]["middle_patch"]]
    assert names == ["GatePatch", "function"]


def test_comfyui_loads_the_weights_and_clones_share_them(applied, fact):
    patched = applied()[0]
    [(injection, layers, _)] = patch_of(patched).applied
    assert patch_of(patched).models() == [injection.patcher, layers] and layers is fact.patcher
    assert set(map(id, patched.model_patches_models())) == {id(injection.patcher), id(layers)}
    assert patch_of(patched.clone()).applied[0][0] is injection
    assert copy.deepcopy(patch_of(patched)) is patch_of(patched)


def test_identity_off_for_some_chunks(applied):
    """Chunks: conditional, the cure's foundation, unconditional."""
    x = randn(6, 64, 128, seed=4)
    options = {"n_heads": 8, "cond_or_uncond": [0, 0, 1], "sigmas": torch.ones(6), "block": ("middle", 0),
               "block_index": 0, "activations_shape": [6, 128, 8, 8]}  # fmt: skip
    patch = patch_of(applied()[0])

    def switched_off(*chunks):
        return {**options, "likeness_rows": rows.in_chunks([0, 0, 1], 6, off=rows.IdentityOff(chunks))}

    on, switched = patch(x, options).chunk(3), patch(x, switched_off(False, True, False)).chunk(3)
    torch.testing.assert_close(switched[0], on[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(switched[2], on[2], atol=1e-5, rtol=0)
    torch.testing.assert_close(switched[1], x[2:4], atol=1e-5, rtol=0)
    assert (switched[1] - on[1]).abs().max() > 1e-3
    assert torch.equal(patch(x, switched_off(True, True, True)), x)


def test_the_cure_knows_the_identity(model, fact):
    from cure_cases import Case

    case = Case("sd15", model, fact, face=face())
    plain, cured = case.sample(case.model), case.sample(case.cure(attributes="green hat"))
    assert cured.isfinite().all() and (cured - plain).abs().max() > 1e-5


def test_every_photograph_gives_tokens(model, prompt, fact):
    bank = patch_of(apply(model, *prompt, fact, face())[0]).applied[0][0].patcher.model
    assert {site.k.shape[1] for site in bank.sites} == {32}
    one = dataclasses.replace(face(), vectors=face().vectors[:1])
    bank = patch_of(apply(model, *prompt, fact, one)[0]).applied[0][0].patcher.model
    assert {site.k.shape[1] for site in bank.sites} == {16}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_models(prompt, fact, dtype):
    from tiny.unet import unet

    patched, *conditionings = apply(unet("sd15", dtype=dtype), *prompt, fact, face())
    bank = patch_of(patched).applied[0][0].patcher.model
    assert {parameter.dtype for parameter in bank.parameters()} == {dtype}
    assert {parameter.dtype for parameter in fact.patcher.model.parameters()} == {torch.float32}
    assert sample(patched, *conditionings, steps=1).isfinite().all()


def test_nothing_is_read_on_cuda(fact):
    with FakeTensorMode(allow_non_fake_inputs=True):
        vectors = torch.empty(2, fact.spec.face_dim, device="cuda")
        module = fact.patcher.model
        tokens = module.project(FaceInput(vectors))
        gate = module.sites(torch.cat([tokens, tokens]))[0]
        x = torch.empty(4, 64, 32, device="cuda", dtype=torch.float16)
        added = gate.scaled(0.5)(x, x, [1, 0], 8)
    assert tokens.shape == (1, 32, 48) and added.shape == x.shape
    assert added.device.type == "cuda" and added.dtype == torch.float16


def test_style_rows_of_mixed_attention_go_without_gates(model, prompt, fact):
    options = Settings(mixed_attention=True)
    mixed = sample(*apply(model, *prompt, fact, face(), options=options, weight=0.5))
    alone = sample(*apply(model, *prompt, fact, face(), weight=0.5))
    assert mixed.isfinite().all() and (mixed - alone).abs().max() > 1e-4
