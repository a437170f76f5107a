"""The W+ adapter on the tiny SD1.5: every site, ranges, masks, and company."""

import pytest
import torch
from host_cases import adapter, apply, attn2, conditioning, identity, loaded_adapter, sample


@pytest.fixture(scope="module")
def model():
    from tiny.unet import unet

    return unet("sd15")


@pytest.fixture(scope="module")
def wplus():
    from tiny.wplus import wplus

    return loaded_adapter(wplus(), "wplus_adapter.bin")


@pytest.fixture(scope="module")
def prompt():
    return conditioning("sd15", seed=10), conditioning("sd15", seed=20)


def code(seed=0):
    from tiny.wplus import FACE_DIM

    return identity(seed, FACE_DIM, "e4e-anything:0123")


@pytest.fixture
def applied(model, prompt, wplus):
    def applied(seed=0, mask=None, onto=None, **strength):
        return apply(*(onto or (model, *prompt)), wplus, code(seed), mask, **{"weight": 1.0, **strength})

    return applied


def test_every_site_fires_and_the_code_matters(model, prompt, applied):
    patched = applied()
    run_scope = patched[0].get_wrappers("outer_sample", "likeness")
    assert len(attn2(patched[0])) == 16 and len(run_scope[0].sites) == 16
    plain, one, other = sample(model, *prompt), sample(*patched), sample(*applied(seed=5))
    assert (one - plain).abs().max() > 1e-2 and (one - other).abs().max() > 1e-3
    assert torch.equal(sample(*patched), one) and torch.equal(sample(*applied()), one)
    assert torch.equal(sample(model, *prompt), plain)


@pytest.mark.parametrize("nothing", [{"weight": 0.0}, {"start_at": 1.0}, {"mask": torch.zeros(1, 8, 8)}], ids=str)
def test_nothing_is_exactly_nothing(model, prompt, applied, nothing):
    assert applied(**nothing)[0] is model


@pytest.mark.parametrize(("share", "with_face"), [(0.2, [2, 3, 4]), (0.5, [3, 4]), (0.19, [1, 2, 3, 4])])
def test_a_late_start_counts_steps_as_the_authors_do(applied, share, with_face):
    """Their loop: scale 0 while `i <= int(share * steps)`; the noise level alone would start a step early."""
    patched = applied(start_at=share)
    [injection] = {one for patch in attn2(patched[0]).values() for one, _ in patch.injections}
    worked = []

    def count(executor, x, timestep, *args, **kwargs):
        worked.append(injection.works(args[3], args[3]["likeness"]))
        return executor(x, timestep, *args, **kwargs)

    patched[0].add_wrapper_with_key("apply_model", "a count", count)
    sample(*patched, steps=5, scheduler="normal")
    assert [step for step, works in enumerate(worked) if works] == with_face


def test_range_mask_and_cfg_1(model, prompt, applied):
    assert torch.equal(sample(*applied(start_at=0.5), steps=1), sample(model, *prompt, steps=1))
    late = sample(*applied(start_at=0.25), steps=3)
    assert not torch.equal(late, sample(*applied(), steps=3)) and not torch.equal(late, sample(model, *prompt, steps=3))
    masks = torch.stack([torch.ones(32, 32), torch.zeros(32, 32)])
    shape = (2, 4, 16, 16)
    masked, plain = sample(*applied(mask=masks), shape=shape, steps=1), sample(model, *prompt, shape=shape, steps=1)
    torch.testing.assert_close(masked[1], plain[1], atol=1e-5, rtol=0)
    assert (masked[0] - plain[0]).abs().max() > 1e-2
    assert (sample(*applied(), cfg=1.0, steps=1) - sample(model, *prompt, cfg=1.0, steps=1)).abs().max() > 1e-3


def test_company_in_either_order_is_one_picture(model, prompt, applied):
    instantid = adapter("sd15")
    first = applied(onto=apply(model, *prompt, instantid, weight=0.5))
    second = apply(*applied(), instantid, weight=0.5)
    torch.testing.assert_close(sample(*first), sample(*second), atol=1e-4, rtol=1e-4)
    assert (sample(*first) - sample(*applied())).abs().max() > 1e-3


def test_another_encoders_face_is_refused(model, prompt, wplus):
    with pytest.raises(ValueError, match=r"takes faces from e4e \(576 numbers\), but this identity was made by dlib"):
        apply(model, *prompt, wplus, identity())
