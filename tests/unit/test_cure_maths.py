"""The cure's formulas against plainly written ones."""

import math

import pytest
import torch
from likeness.core.attention import extra_key_attention
from likeness.core.cure import blend, inversion, maps, masks
from torch._subclasses.fake_tensor import FakeTensorMode


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_hand(q, k, v, heads, bias=None):
    """Softmax attention, head by head and query by query."""
    out = torch.zeros(*q.shape[:2], v.shape[-1])
    d = q.shape[-1] // heads
    for b in range(q.shape[0]):
        for h in range(heads):
            part = slice(h * d, (h + 1) * d)
            for n in range(q.shape[1]):
                logits = k[b, :, part] @ q[b, n, part] / math.sqrt(d)
                weights = (logits if bias is None else logits + bias[b]).exp()
                out[b, n, part] = (weights / weights.sum()) @ v[b, :, part]
    return out


@pytest.fixture
def streams():
    q, k, v = (randn(2, 5, 12, seed=seed) for seed in (1, 2, 3))
    return q, k, v, randn(2, 4, 12, seed=4), randn(2, 4, 12, seed=5)


def test_extra_keys_are_a_softmax_over_both(streams):
    q, k, v, k_extra, v_extra = streams
    bias = randn(2, 4, seed=6)
    expected = by_hand(
        q, torch.cat([k, k_extra], 1), torch.cat([v, v_extra], 1), 3, torch.cat([torch.zeros(2, 5), bias], 1)
    )
    torch.testing.assert_close(extra_key_attention(q, k, v, k_extra, v_extra, bias, 3), expected)


def test_bias_0_is_plain_concatenated_attention(streams):
    q, k, v, k_extra, v_extra = streams
    expected = by_hand(q, torch.cat([k, k_extra], 1), torch.cat([v, v_extra], 1), 3)
    torch.testing.assert_close(extra_key_attention(q, k, v, k_extra, v_extra, torch.zeros(2, 4), 3), expected)


def test_an_empty_mask_is_plain_attention(streams):
    q, k, v, k_extra, v_extra = streams
    bias = torch.full((2, 4), -torch.inf)
    torch.testing.assert_close(extra_key_attention(q, k, v, k_extra, v_extra, bias, 3), by_hand(q, k, v, 3))


def test_log_of_a_strength_multiplies_the_odds(streams):
    """Three copies of a key at bias 0 weigh what one copy does at log 3."""
    q, k, v, k_extra, v_extra = streams
    one, bias = (k_extra[:, :1], v_extra[:, :1]), torch.full((2, 1), math.log(3))
    thrice = [t.expand(-1, 3, -1) for t in one]
    torch.testing.assert_close(
        extra_key_attention(q, k, v, *one, bias, 3), extra_key_attention(q, k, v, *thrice, torch.zeros(2, 3), 3)
    )


def test_maps_are_softmax_probabilities_of_the_groups():
    q, k, heads = randn(2, 6, 8, seed=1), randn(1, 5, 8, seed=2), 2
    select = maps.selector([(1,), (2, 4)], 5)
    found = maps.attention_maps(q, k, select, heads)
    assert found.shape == (2, 2, 6)
    probability = torch.zeros(2, 6, 5)
    for h in range(heads):
        part = slice(4 * h, 4 * h + 4)
        probability += ((q[..., part] @ k[0, :, part].T) / 2).softmax(-1) / heads
    torch.testing.assert_close(found[:, 0], probability[..., 1])
    torch.testing.assert_close(found[:, 1], (probability[..., 2] + probability[..., 4]) / 2)


def test_map_sum_is_a_mean_over_layers_and_steps():
    ones = torch.ones(1, 1, 4, 4)
    total = maps.MapSum()
    assert total.mean() is None and not total.end_step()
    for step in ((1.0, 3.0), (5.0,)):
        for value in step:
            total.add(value * ones)
        assert total.end_step()
    torch.testing.assert_close(total.mean(), 3 * ones)


def test_maps_of_a_region_count_where_it_is():
    total = maps.MapSum()
    total.add(torch.ones(1, 1, 4, 4), grid=(4, 4))
    total.add(torch.full((1, 1, 2, 4), 3.0), where=(2, 4, 1, 0), grid=(4, 4))
    total.end_step()
    assert total.mean()[0, 0, :, 0].tolist() == [1, 2, 2, 1]


def test_otsu_is_the_split_of_largest_variance_between_classes():
    values = (
        torch.cat([0.2 + 0.05 * randn(300, seed=1), 0.8 + 0.05 * randn(100, seed=2)]).clamp(0, 1).view(1, 1, 20, 20)
    )
    threshold = float(masks.otsu(values))
    flat = (values.flatten() * 256).long().clamp(0, 255).double()

    def between(level):
        low, high = flat[flat <= level], flat[flat > level]
        return len(low) * len(high) * float((low.mean() - high.mean()) ** 2) if len(low) and len(high) else 0.0

    best = max(between(level) for level in range(256))
    assert between(round(threshold * 256) - 1) == pytest.approx(best)
    assert 0.3 < threshold < 0.7


def test_every_map_has_a_threshold_of_its_own():
    both = torch.stack([torch.rand(8, 8), 0.1 * torch.rand(8, 8)])[None]
    alone = [masks.otsu(both[:, i : i + 1]) for i in range(2)]
    torch.testing.assert_close(masks.otsu(both), torch.cat(alone, 1))


def test_sharpening_is_the_published_chain():
    """min-max, +1, exp(10 x), min-max."""
    values = torch.rand(2, 3, 8, 8)
    low, high = (extreme(values, (-2, -1)) for extreme in (torch.amin, torch.amax))
    expected = (10 * ((values - low[..., None, None]) / (high - low)[..., None, None] + 1)).exp()
    low, high = (extreme(expected, (-2, -1)) for extreme in (torch.amin, torch.amax))
    expected = (expected - low[..., None, None]) / (high - low)[..., None, None]
    torch.testing.assert_close(masks.sharpen(values, 10), expected, atol=1e-5, rtol=1e-4)
    assert masks.sharpen(torch.full((1, 1, 4, 4), 0.3), 10).abs().max() == 0  # a flat map stands out nowhere


def test_an_attention_mask_is_what_otsu_leaves_of_a_sharpened_map():
    values = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    sharp = masks.sharpen(values, 10)
    assert torch.equal(masks.attention_masks(values), (sharp > masks.otsu(sharp)).float())
    assert not masks.attention_masks(torch.ones(1, 1, 4, 4)).any()


def test_a_difference_mask_is_a_blurred_map_on_a_ramp():
    """Blurred by a twentieth of the side and stretched to 0..1, of which 0.4 and more is white."""
    values = torch.rand(1, 2, 20, 30, generator=torch.Generator().manual_seed(2)) ** 4
    blurred = masks.feather(values, 1.0)
    low, high = (extreme(blurred, (-2, -1), keepdim=True) for extreme in (torch.amin, torch.amax))
    expected = ((blurred - low) / (high - low) / 0.4).clamp(0, 1)
    torch.testing.assert_close(masks.difference_masks(values), expected)
    assert not masks.difference_masks(torch.ones(1, 1, 4, 4)).any()


def test_feathering_keeps_the_sum_and_the_symmetry():
    point = torch.zeros(1, 2, 15, 15)
    point[:, :, 7, 7] = 1
    blurred = masks.feather(point, 1.0)
    torch.testing.assert_close(blurred.sum((-2, -1)), torch.ones(1, 2))
    torch.testing.assert_close(blurred, blurred.flip(-1).transpose(-1, -2))
    torch.testing.assert_close(blurred[0, 0, 7, 8] / blurred[0, 0, 7, 7], torch.tensor(math.exp(-0.5)))
    assert masks.feather(torch.ones(1, 1, 2, 3), 4.0).shape == (1, 1, 2, 3)


def test_union_and_picture_masks():
    a, b = torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(masks.unite(torch.cat([a, b], 1)), torch.maximum(a, b))
    given = torch.stack([torch.zeros(8, 8), torch.ones(8, 8)])
    assert masks.picture_masks(given, 3, (4, 6)).mean((1, 2, 3)).tolist() == [0, 1, 0]


def test_blending_noise_equals_the_formula():
    x, x_f, d, d_f = (randn(2, 4, 8, 8, seed=seed) for seed in range(4))
    mask, sigma = torch.rand(2, 1, 8, 8), 3.7
    noise = (1 - mask) * (x - d) / sigma + mask * (x_f - d_f) / sigma
    torch.testing.assert_close(blend.blend_noise(x, d, x_f, d_f, mask), x - sigma * noise, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        blend.blend_noise(x, d, x, d_f, mask), blend.blend_denoised(d, d_f, mask), atol=1e-5, rtol=1e-5
    )


def test_a_response_is_added_under_its_mask():
    personal, response, mask = randn(2, 4, 5, 6, seed=1), randn(2, 4, 5, 6, seed=2), torch.rand(2, 1, 5, 6)
    torch.testing.assert_close(blend.add_response(personal, response, mask), personal + mask * response)
    assert torch.equal(blend.add_response(personal, response, torch.zeros_like(mask)), personal)


def test_the_difference_of_predictions_is_its_mean_over_channels():
    one, other = randn(2, 4, 5, 6, seed=4), randn(2, 4, 5, 6, seed=5)
    torch.testing.assert_close(maps.prediction_difference(one, other)[:, 0], (one - other).abs().sum(1) / 4)


def test_blending_both_halves_before_guidance_is_blending_after_it():
    cond, uncond, cond_f, uncond_f = (randn(1, 4, 8, 8, seed=seed) for seed in range(4))
    mask, cfg = torch.rand(1, 1, 8, 8), 5.0

    def guided(c, u):
        return u + cfg * (c - u)

    after = blend.blend_denoised(guided(cond, uncond), guided(cond_f, uncond_f), mask)
    halves = blend.blend_denoised(cond, cond_f, mask), blend.blend_denoised(uncond, uncond_f, mask)
    torch.testing.assert_close(guided(*halves), after, atol=1e-5, rtol=1e-5)


def gaussian(x, sigma):
    """The exact denoiser of pictures that are normally distributed around 0.3 with deviation 0.5."""
    return 0.3 + 0.25 / (0.25 + sigma**2) * (x - 0.3)


def test_inversion_and_denoising_return_the_picture():
    sigmas = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5, 0.2, 0.0])
    levels = inversion.steps_of_depth(sigmas, 0.5)
    assert levels.tolist() == pytest.approx([1.0, 0.5, 0.2, 0.0])
    start = 0.3 + 0.5 * randn(2, 4, 8, 8)
    errors = []
    for refine in (0, 2, 40):
        x = start
        for low, high in zip(levels.flip(0)[:-1], levels.flip(0)[1:], strict=True):
            x, _ = inversion.invert_step(gaussian, x, low, high, refine)
        for high, low in zip(levels[:-1], levels[1:], strict=True):
            x = inversion.euler_step(x, gaussian(x, high), high, low)
        errors.append(float((x - start).abs().max()))
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-5


def test_one_inversion_step_without_refinement_is_ddim_inversion():
    x, low, high = randn(1, 4, 8, 8), torch.tensor(0.5), torch.tensor(1.0)
    noise = (x - gaussian(x, high)) / high
    up, denoised = inversion.invert_step(gaussian, x, low, high, 0)
    torch.testing.assert_close(up, x + (high - low) * noise)
    torch.testing.assert_close(denoised, gaussian(x, high))


@pytest.mark.parametrize("depth, expected", [(0.5, [3, 2, 1, 0]), (1.0, [6, 5, 4, 3, 2, 1, 0]), (0.01, [1, 0])])
def test_depth_is_a_share_of_the_steps(depth, expected):
    assert inversion.steps_of_depth(torch.arange(6, -1, -1.0), depth).tolist() == expected


def test_nothing_leaves_the_device():
    with FakeTensorMode():
        values = torch.empty(2, 3, 16, 24, device="cuda")
        found = masks.attention_masks(values), masks.difference_masks(values)
        seen = maps.attention_maps(
            torch.empty(2, 64, 32, device="cuda"), torch.empty(1, 77, 32, device="cuda"), torch.empty(77, 3), 4
        )
        united = masks.unite(maps.to_grid(seen, (8, 8), (16, 24)))
        assert {t.device.type for t in (*found, seen, united)} == {"cuda"}
