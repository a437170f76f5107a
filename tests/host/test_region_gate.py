"""What remains of the identity outside the attn_mask."""

import pytest
import torch
from host_cases import apply, randn, sample
from likeness.core.host.adapters import adapter
from likeness.core.host.comfyui import masks


@pytest.fixture
def gated(case, kind):
    """apply with a share outside the mask: (mask, outside) -> (model, positive, negative)."""

    def applied(mask, outside):
        options = adapter.Settings(outside=outside)
        return apply(case.plain, *case.prompts, case.adapter, mask=mask, kind=kind, options=options)

    return applied


def test_the_formula():
    mask = randn(2, 7, 9, seed=1).abs().clamp(0, 1)
    torch.testing.assert_close(masks.with_outside(mask, 0.3), 0.3 + 0.7 * mask)
    assert torch.equal(masks.with_outside(mask, 0.0), mask)
    assert torch.equal(masks.with_outside(mask, 1.0), torch.ones(2, 7, 9))


def test_a_share_of_one_is_exactly_no_mask(case, gated):
    without = sample(case.model, *case.conditionings, steps=1)
    for mask in (torch.zeros(1, 9, 9), randn(2, 30, 20, seed=2).abs().clamp(0, 1)):
        assert torch.equal(sample(*gated(mask, 1.0), steps=1), without)


def test_nothing_inside_and_nothing_outside_is_the_model_itself(case, gated):
    assert gated(torch.zeros(1, 9, 9), 0.0)[0] is case.plain


def test_a_share_outside_an_empty_mask_is_a_lower_weight(case, kind, gated):
    """Nothing but the share remains, everywhere."""
    weaker = apply(case.plain, *case.prompts, case.adapter, kind=kind, weight=0.8 * 0.25)
    share = sample(*gated(torch.zeros(1, 9, 9), 0.25), steps=1)
    torch.testing.assert_close(share, sample(*weaker, steps=1), atol=1e-4, rtol=1e-4)


def test_the_share_lies_between_mask_and_no_mask(case, gated):
    """In a single step, at the black end of the picture."""
    mask = torch.zeros(1, 16, 16)
    mask[..., :4] = 1
    masked, half, unmasked = (sample(*gated(mask, share), steps=1)[..., 10:] for share in (0.0, 0.5, 1.0))
    distance = (unmasked - masked).abs().mean()
    assert (half - masked).abs().mean() > 0.1 * distance and (half - unmasked).abs().mean() > 0.1 * distance
