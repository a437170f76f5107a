"""What adapters add in a transformer's blocks: several people in one attention, and keys normalised in each head."""

import pytest
import torch
from likeness.core.attention.transformer import CrossAttention, InsideNormed, LookAfter, added_together

WIDTH, TOKENS, ROWS, HEADS = 32, 6, 5, 4


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def person(layers, seed, weights=(1.0, 1.0)):
    """A person who looks by several cross-attentions, with a weight in each; nobody has no V."""
    looks = []
    for one, weight in zip(layers, weights, strict=True):
        k, v = one.face(randn(2, TOKENS, WIDTH, seed=seed))
        looks.append((one, k, v * torch.tensor([0.0, weight]).view(2, 1, 1)))
    return LookAfter([look for look, weight in zip(looks, weights, strict=True) if weight], shared=True)


@pytest.fixture(scope="module")
def layers():
    torch.manual_seed(0)
    return [CrossAttention(WIDTH, WIDTH, 128, 64).requires_grad_(False) for _ in range(2)]


def test_masks_share_a_picture_out(layers):
    """One's own part as if alone, nothing where nobody is, and half of each masks at a half of both together."""
    one, other, q = person(layers, 1), person(layers, 2), randn(1, ROWS, WIDTH, seed=3)

    def added(*masks):
        return added_together([one, other], q, [0], [torch.tensor(mask).view(1, -1, 1) for mask in masks])

    whole = added([1.0] * ROWS, [1.0] * ROWS)
    alone = [added_together([each], q, [0], [None]) for each in (one, other)]
    out = added([1.0, 0.0, 0.0, 0.5, 0.2], [0.0, 1.0, 0.0, 0.5, 0.0])
    expected = torch.stack([alone[0][0, 0], alone[1][0, 1], torch.zeros(WIDTH), whole[0, 3] / 2, alone[0][0, 4] / 5])
    torch.testing.assert_close(out[0], expected)
    assert torch.equal(whole, added_together([one, other], q, [0], [None, None]))
    assert not torch.allclose(whole, sum(alone))


def test_people_meet_in_each_attention_that_both_have(layers):
    """One who has no weight in the first meets the others in the second alone."""
    q, both, second = randn(2, ROWS, WIDTH, seed=3), person(layers, 1), person(layers, 2, (0.0, 0.7))
    apart = [person(layers[:1], 1, (1.0,)), person(layers[1:], 1, (1.0,)), second]
    expected = added_together(apart, q, [0, 1], [None] * 3)
    for people in ([both, second], [second, both]):
        out = added_together(people, q, [0, 1], [None, None])
        torch.testing.assert_close(out, expected)
        assert not torch.allclose(out[0], sum(added_together([one], q, [0, 1], [None]) for one in people)[0])
        assert not out[1].any()  # nobody's


def test_keys_and_values_of_length_one_in_each_head():
    k, v, q = randn(2, TOKENS, WIDTH, seed=1), 5 * randn(2, TOKENS, WIDTH, seed=2), randn(2, ROWS, WIDTH, seed=3)
    v[0] = 0
    site = InsideNormed(k, v).scaled(0.5).scaled(3.0)
    site.settle(HEADS)
    out = site(q, q, [1, 0], HEADS)
    expected = []
    for keys, values, queries in zip(*(one.chunk(HEADS, -1) for one in (k[1], v[1], q[1])), strict=True):
        keys, values = (one / (one.square().mean(-1, keepdim=True) + 1e-5).sqrt() for one in (keys, values))
        expected.append((queries @ keys.T / keys.shape[-1] ** 0.5).softmax(-1) @ values)
    torch.testing.assert_close(out[1], 1.5 * torch.cat(expected, -1))
    assert not out[0].any()
