"""The pure residual functions against attention written out, row by row."""

import pytest
import torch
from likeness.core.attention import (
    chunks_of,
    extra_key_attention,
    extra_key_heads,
    identity_residual,
    token_mask,
    toward_mean,
)

TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}


def randn(*shape, seed, device, dtype):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device, dtype)


def attention_of_one_row(q, k, v, heads):
    """softmax(q k^T / sqrt(d)) v for q [N,C], k and v [T,C], head by head, in double precision."""
    parts = []
    for q_head, k_head, v_head in zip(*(t.double().chunk(heads, dim=-1) for t in (q, k, v)), strict=True):
        parts.append(torch.softmax(q_head @ k_head.T / q_head.shape[-1] ** 0.5, dim=-1) @ v_head)
    return torch.cat(parts, dim=-1)


@pytest.mark.parametrize("kinds", [[1, 0], [0, 1], [0], [1], [0, 0, 1], [1, 0, 0, 1]])
@pytest.mark.parametrize("pictures", [1, 3])
def test_each_row_attends_to_the_keys_of_its_half(kinds, pictures, device, dtype):
    uncond, cond = (randn(2, 16, 64, seed=seed, device=device, dtype=dtype) for seed in (1, 2))  # K and V of each
    banks = [torch.stack([uncond[part], cond[part], uncond[part]]) for part in (0, 1)]
    q = randn(pictures * len(kinds), 12, 64, seed=3, device=device, dtype=dtype)
    out = identity_residual(q, *(chunks_of(bank, kinds) for bank in banks), heads=4)
    assert out.shape == q.shape and out.dtype == dtype
    for row, kind in enumerate(kind for kind in kinds for _ in range(pictures)):
        k, v = uncond if kind else cond
        expected = attention_of_one_row(q[row], k, v, 4)
        torch.testing.assert_close(out[row].double(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("kinds", [[1, 0], [0, 1], [0], [1]])
def test_the_usual_layouts_copy_nothing(kinds, device, dtype):
    bank = randn(3, 16, 64, seed=1, device=device, dtype=dtype)
    chunks = chunks_of(bank, kinds)
    assert chunks.untyped_storage().data_ptr() == bank.untyped_storage().data_ptr()


def test_a_bias_takes_keys_away(device, dtype):
    q = randn(2, 12, 64, seed=1, device=device, dtype=dtype)
    k, v = (randn(2, 16, 64, seed=seed, device=device, dtype=dtype) for seed in (2, 3))
    bias = torch.zeros(2, 12, 16, device=device, dtype=dtype)
    bias[..., 9:] = -torch.inf
    expected = identity_residual(q, k[:, :9], v[:, :9], 4)
    torch.testing.assert_close(
        identity_residual(q, k, v, 4, bias), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype]
    )


def test_a_bank_of_one_is_for_all_rows(device, dtype):
    bank = randn(1, 16, 64, seed=1, device=device, dtype=dtype)
    q = randn(6, 12, 64, seed=2, device=device, dtype=dtype)
    out = identity_residual(q, chunks_of(bank, [0, 0]), chunks_of(bank, [0, 0]), 4)
    for row in range(6):
        expected = attention_of_one_row(q[row], bank[0], bank[0], 4)
        torch.testing.assert_close(out[row].double(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize(
    ("masks", "frames", "order"),
    [(1, [0, 1], [0, 0]), (2, [0, 1, 2], [0, 1, 0]), (5, [0, 1], [0, 1]), (5, [3, 4], [3, 4]), (3, [2, 3], [2, 0])],
)
def test_masks_go_by_picture(masks, frames, order, device, dtype):
    """A short batch of masks is cycled, a long one cut, and a context window has the masks of its own pictures."""
    batch = torch.arange(1, masks + 1, device=device, dtype=dtype).view(-1, 1, 1).expand(-1, 6, 10)
    tokens = token_mask(batch, 3, 5, frames)
    assert tokens[:, :, 0].tolist() == [[number + 1.0] * 15 for number in order]


def test_extra_keys_without_a_bias_are_more_keys(device, dtype):
    q, k, v = (randn(2, 6, 32, seed=seed, device=device, dtype=dtype) for seed in (1, 2, 3))
    extra = [randn(2, 9, 32, seed=seed, device=device, dtype=dtype) for seed in (4, 5)]
    out = extra_key_attention(q, k, v, *extra, None, 4)
    for row in range(2):
        keys, values = (torch.cat([own[row], other[row]]) for own, other in zip((k, v), extra, strict=True))
        expected = attention_of_one_row(q[row], keys, values, 4)
        torch.testing.assert_close(out[row].double(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    zeros = torch.zeros(2, 9, device=device, dtype=dtype)
    torch.testing.assert_close(
        out, extra_key_attention(q, k, v, *extra, zeros, 4), atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype]
    )


@pytest.mark.parametrize("shape", [(6, 6), (2, 6, 6), (2, 1, 6, 6)])
@pytest.mark.parametrize("boolean", [False, True])
def test_a_mask_of_its_own_stays_on_a_queries_own_keys(shape, boolean, device, dtype):
    q, k, v = (randn(2, 4, 6, 8, seed=seed, device=device, dtype=dtype) for seed in (1, 2, 3))
    extra = [randn(2, 4, 9, 8, seed=seed, device=device, dtype=dtype) for seed in (4, 5)]
    bias, mask = (randn(*size, seed=6, device=device, dtype=dtype) for size in ((2, 9), shape))
    if boolean:
        mask = mask > 0
    out = extra_key_heads(q, k, v, *extra, bias, mask)
    own = mask.double().log() if boolean else mask.double()
    logits = torch.cat(
        [own.expand(2, *own.shape[-2:]) if mask.ndim < 4 else own[:, 0], bias.double()[:, None].expand(-1, 6, -1)], -1
    )
    for row in range(2):
        for head in range(4):
            keys, values = (
                torch.cat([a[row, head], b[row, head]]).double() for a, b in zip((k, v), extra, strict=True)
            )
            shares = (q[row, head].double() @ keys.T / 8**0.5 + logits[row]).softmax(-1)
            found = out[row, :, 8 * head : 8 * (head + 1)].double()
            torch.testing.assert_close(found, shares @ values, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


def test_toward_mean_moves_means_and_nothing_else(device, dtype):
    own, other = (randn(2, count, 8, seed=seed, device=device, dtype=dtype) for count, seed in ((50, 1), (30, 2)))
    close = {"atol": TOLERANCE[dtype], "rtol": TOLERANCE[dtype]}
    torch.testing.assert_close(toward_mean(own, other, 1.0).mean(1), other.mean(1), **close)
    half = toward_mean(own, other, 0.5)
    torch.testing.assert_close(half.mean(1), (own.mean(1) + other.mean(1)) / 2, **close)
    torch.testing.assert_close(half - half.mean(1, True), own - own.mean(1, True), **close)
