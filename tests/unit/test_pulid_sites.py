"""PuLID's sites against the published formula, written out picture by picture and head by head."""

import pytest
import torch
from likeness.core.attention.residuals import Ortho, OrthoV2, ZeroPadded
from torch._subclasses.fake_tensor import FakeTensorMode

HEADS, WIDTH, TOKENS = 4, 64, 10
TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}
SITES = {"plain": ZeroPadded, "ortho": Ortho, "ortho v2": OrthoV2}


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def expected_of_one_picture(mode, q, text, k, v, zeros):
    """q, text [N,C], k, v [T,C] -> what is added [N,C], in double precision; no line is shared with the package."""
    q, text = q.double(), text.double()
    k = torch.cat([k.double(), torch.zeros(zeros, WIDTH, dtype=torch.double)])
    v = torch.cat([v.double(), torch.zeros(zeros, WIDTH, dtype=torch.double)])
    size = WIDTH // HEADS
    parts, looks = [], torch.zeros(len(q), dtype=torch.double)
    for head in range(HEADS):
        columns = slice(head * size, (head + 1) * size)
        logits = torch.einsum("nc,tc->nt", q[:, columns], k[:, columns])
        parts.append(torch.einsum("nt,tc->nc", torch.softmax(logits / size**0.5, 1), v[:, columns]))
        unscaled = torch.exp(logits - logits.max(1, keepdim=True).values)
        looks += (unscaled[:, :5].sum(1) / unscaled.sum(1)) / HEADS
    out = torch.cat(parts, 1)
    if mode == "plain":
        return out
    projection = torch.empty_like(out)
    for channel in range(WIDTH):
        h, o = text[:, channel], out[:, channel]
        projection[:, channel] = torch.dot(h, o) / torch.dot(h, h) * h
    if mode == "ortho":
        return out - projection
    return out + (looks - 1)[:, None] * projection


@pytest.mark.parametrize(("mode", "zeros"), [("plain", 0), ("ortho", 16), ("ortho v2", 8)])
@pytest.mark.parametrize("kinds", [[1, 0], [0, 1], [0], [1], [0, 0, 1], [1, 0, 0, 1]])
@pytest.mark.parametrize("pictures", [1, 3])
def test_each_picture_by_itself(mode, zeros, kinds, pictures, device, dtype):
    k, v = (randn(2, TOKENS, WIDTH, seed=seed).to(device, dtype) for seed in (1, 2))
    rows = pictures * len(kinds)
    q, text = (randn(rows, 12, WIDTH, seed=seed).to(device, dtype) for seed in (3, 4))
    out = SITES[mode](k, v, zeros)(q, text, kinds, HEADS)
    assert out.shape == q.shape and out.dtype == dtype
    for row, kind in enumerate(kind for kind in kinds for _ in range(pictures)):
        expected = expected_of_one_picture(
            mode, *(t.cpu() for t in (q[row], text[row], k[1 - kind], v[1 - kind])), zeros
        )
        torch.testing.assert_close(out[row].cpu().double(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("mode", SITES)
def test_the_weight_is_in_the_values(mode):
    k, v, q, text = (randn(2, TOKENS, WIDTH, seed=seed) for seed in range(4))
    whole, third = (SITES[mode](k, v, 8).scaled(factor)(q, text, [1, 0], HEADS) for factor in (1, 0.3))
    torch.testing.assert_close(third, 0.3 * whole)
    assert not SITES[mode](k, v, 8).scaled(0)(q, text, [1, 0], HEADS).any()


@pytest.mark.parametrize("mode", ["ortho", "ortho v2"])
def test_beside_an_empty_text_there_is_nothing_to_take_away(mode):
    """ConditioningZeroOut gives keys and values of zeros, so that the attention to the text is zero."""
    k, v, q = (randn(2, TOKENS, WIDTH, seed=seed) for seed in range(3))
    plain = ZeroPadded(k, v, 8)(q, torch.zeros_like(q), [1, 0], HEADS)
    assert torch.equal(SITES[mode](k, v, 8)(q, torch.zeros_like(q), [1, 0], HEADS), plain)


def test_what_ortho_adds_is_orthogonal_to_the_text():
    k, v, q, text = (randn(2, TOKENS, WIDTH, seed=seed) for seed in range(4))
    ortho, plain = (site(k, v, 16)(q, text, [1, 0], HEADS) for site in (Ortho, ZeroPadded))
    assert (ortho * text).sum(1).abs().max() < 1e-5
    assert (plain * text).sum(1).abs().max() > 0.1


@pytest.mark.parametrize("mode", SITES)
@pytest.mark.parametrize("kinds", [[1, 0], [0], [0, 0, 1]])
def test_on_cuda_without_a_host_read(mode, kinds):
    with FakeTensorMode():
        k, v = (torch.empty(2, TOKENS, WIDTH, device="cuda") for _ in range(2))
        q, text = (torch.empty(2 * len(kinds), 12, WIDTH, device="cuda", dtype=torch.float16) for _ in range(2))
        out = SITES[mode](k, v, 8).scaled(0.8)(q, text, kinds, HEADS)
        assert out.device.type == "cuda" and out.shape == q.shape and out.dtype == q.dtype
