"""Keys and maps that rows without identity give away in FLUX's attentions, against the formulas written out."""

import math

import flux_cases
import pytest
import torch
import torch.nn.functional as F
from flux_cure_cases import OVERRIDE, Case, clip, prompt, recorded, reference_latent, softmax_attention
from likeness.core.host.adapters import adapter as adapters
from likeness.core.host.adapters import mixed
from likeness.core.host.cure.where import Where, Words
from likeness.core.host.dit.attention import Inside
from likeness.core.host.sampling.injection import Here
from likeness.core.host.sampling.rows import IdentityOff, in_chunks
from likeness.core.host.sampling.run import Run
from likeness.core.host.sampling.spans import Span
from likeness.core.host.sampling.twins import TwinRun
from tiny import flux as tiny
from torch._subclasses.fake_tensor import FakeTensorMode

GRID, TEXT, EPSILON = (6, 8), 32, 2e-6  # tokens of pictures of 12 x 16 cells, and of prompts
NUMBER = GRID[0] * GRID[1]
PICTURE = slice(TEXT, TEXT + NUMBER)
BIAS = 1.5  # FreeCure's with SDXL, which stands in for FLUX's
BLOCKS = [("double_block", 9), ("single_block", 30)]


@pytest.fixture(scope="module")
def case():
    return Case()


def parts(seen):
    """Rows of the one attention that was seen: (person's, its twin's), each (q, k, v [heads,L,D], out [L,C])."""
    [(q, k, v, out, ([own], [twin]))] = seen
    return [(q[row], k[row], v[row], out[row]) for row in (own, twin)]


def expected(own, twin, bias, keys=None, values=None, others=0.0):
    """The person's attention: picture queries see the twin's picture too, all others what they ever did. `others`: a
    bias on the keys that are not the picture's."""
    q, k, v, _ = own
    keys, values = k if keys is None else keys, v if values is None else values
    out = softmax_attention(q, k, v)
    seen = torch.cat([keys, twin[1][:, PICTURE].to(keys)], 1), torch.cat([values, twin[2][:, PICTURE].to(values)], 1)
    plain = torch.full((k.shape[1],), others).double()
    plain[PICTURE] = 0
    spread = torch.cat([plain, bias.double()])
    out[PICTURE] = softmax_attention(q[:, PICTURE], *seen, spread)
    return out


def off(one, other):
    return ((one.double() - other).abs().max() / other.abs().max()).item()


@pytest.mark.parametrize("extras", [{}, reference_latent()], ids=["", "Kontext"])
@pytest.mark.parametrize("strangers", [False, True])
def test_the_cure_shares_keys_inside_its_mask(case, extras, strangers):
    """FASA: a bias and the logarithm of mask and strength on the twin's keys in the last 16 of 57 blocks."""
    mask, calls = torch.zeros(1, *(2 * side for side in GRID)), []
    mask[..., 1:9] = 1  # so that tokens of one column have half of it, and one of the next
    model = case.plain.clone()
    if strangers:
        model.model_options["transformer_options"][OVERRIDE] = lambda func, q, *args, **more: (
            calls.append(len(q)) or func(q, *args, **more)
        )
    cured = case.cure(case.identity(model), prompt="a tree", mask=mask, mode="shared_attention", weight=0.7)
    keyed = sorted(key for key, patch in patches(cured).items() if patch.shares)
    assert keyed == [("single_block", index) for index in range(22, 38)]
    model, seen = recorded(cured, BLOCKS[1])
    case.sample(model, (prompt(**extras), prompt("blurry", **extras)), steps=1)
    own, twin = parts(seen)
    assert own[0].shape[1] == TEXT + NUMBER + (3 * 5 if extras else 0)
    share = F.avg_pool2d(mask[None], 2).flatten()
    by_hand = expected(own, twin, BIAS + (0.7 * share).log())
    print(off(own[3], by_hand), off(twin[3], softmax_attention(*twin[:3])))
    assert off(own[3], by_hand) < EPSILON and off(twin[3], softmax_attention(*twin[:3])) < EPSILON
    assert off(softmax_attention(*own[:3])[PICTURE], by_hand[PICTURE]) > 1e-2
    assert set(calls) == ({2} if strangers else set())  # another pack's attention sees whole batches


def patches(model):
    return model.model_options["transformer_options"]["patches_replace"]["dit"]


@pytest.mark.parametrize("style", [0.0, 0.6])
@pytest.mark.parametrize("key", BLOCKS, ids=str)
def test_mixed_attention_shares_all_keys_in_all_blocks(case, style, key):
    """K_own and V_own of the picture are moved by AdaIN-mean, the keys as they were before they were rotated."""
    mixing = case.identity(case.plain, adapters.Settings(mixed_attention=True, style_strength=style))
    assert len(patches(mixing)) == 57 and all(patch.shares for patch in patches(mixing).values())
    model, seen = recorded(mixing, key)
    case.sample(model, steps=1)
    own, twin = parts(seen)
    keys, values = own[1].double(), own[2].double()
    if style:
        turn = turned(case)
        moved = turn(own[1][:, PICTURE], -1), turn(twin[1][:, PICTURE], -1)
        moved = moved[0] + style * (moved[1].mean(1, True) - moved[0].mean(1, True))
        keys[:, PICTURE] = turn(moved, 1)
        values[:, PICTURE] += style * (twin[2] - own[2])[:, PICTURE].double().mean(1, True)
    by_hand = expected(own, twin, torch.zeros(NUMBER), keys, values, others=math.log(2))
    print(key, off(own[3], by_hand))
    assert off(own[3], by_hand) < EPSILON
    assert off(softmax_attention(*own[:3]), by_hand) > 1e-2


def turned(case):
    """A function that turns the picture's keys [heads,N,D] by their places, or back."""
    ids = torch.zeros(*GRID, 3)
    ids[..., 1] += torch.arange(GRID[0])[:, None]
    ids[..., 2] += torch.arange(GRID[1])
    pe = case.plain.model.diffusion_model.pe_embedder(ids.view(1, -1, 3))[0, 0].double()
    angle = torch.atan2(pe[..., 1, 0], pe[..., 0, 0])

    def turn(x, way):
        pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), way * angle)).flatten(-2)

    return turn


def test_mixing_is_the_same_by_itself_and_in_both_orders(case):
    """A MODEL applied anew, and another person on top or below who does not mix."""
    settings = adapters.Settings(mixed_attention=True)
    first = case.sample(case.identity(case.plain, settings), steps=1)
    assert torch.equal(first, case.sample(case.identity(case.plain, settings), steps=1))
    orders = [case.identity(case.identity(case.plain, one), two) for one, two in ((settings, None), (None, settings))]
    both = [case.sample(model, steps=1) for model in orders]
    torch.testing.assert_close(*both, atol=1e-3, rtol=1e-4)
    assert (first - case.uncured(steps=1)).abs().max() > 1e-2


@pytest.mark.parametrize("extras", [{}, reference_latent()], ids=["", "Kontext"])
def test_freecure_reads_what_the_picture_sees_of_a_word(case, extras, monkeypatch):
    """Softmax over all keys of the twin's own attention, mean over heads, of the words' tokens; in blocks 6 to 12."""
    found, original = [], Where.add_maps

    def spy(self, maps, size, place):
        found.append(maps)
        assert size == GRID
        original(self, maps, size, place)

    monkeypatch.setattr(Where, "add_maps", spy)
    model, seen = recorded(case.cure(mode="freecure"), ("double_block", 9))
    case.sample(model, (prompt(**extras), prompt("blurry", **extras)), steps=1)
    _, (q, k, _, _) = parts(seen)
    assert len(found) == 7
    shares = torch.einsum("hnd,hmd->hnm", q[:, PICTURE].double(), k.double()) / q.shape[-1] ** 0.5
    shares = shares.softmax(-1).mean(0)
    written = pieces()
    hair, hat = written.index("▁hair"), written.index("hat")
    by_hand = torch.stack([shares[:, hair], (shares[:, hat - 1] + shares[:, hat]) / 2])
    print(off(found[3][0], by_hand))
    assert off(found[3][0], by_hand) < EPSILON


def pieces():
    """How T5 writes the prompt."""
    made = clip()
    [row] = made.tokenize("a portrait of a woman, (curly red hair:1.2), wearing a green hat, laughing")["t5xxl"]
    return [made.tokenizer.t5xxl.inv_vocab[token] for token, _ in row]


def test_maps_are_taken_of_the_prompt_alone(case, monkeypatch):
    """Another positive prompt has other words at these places; where there is no other, it counts for the prompt."""
    found = []
    monkeypatch.setattr(Where, "add_maps", lambda self, maps, size, place: found.append(maps))
    other = prompt("a green tree in the fog, painted by somebody who liked hats")
    for positive, maps in ((prompt() + other, 7), (other, 7)):
        found.clear()
        case.sample(case.cure(mode="freecure"), (positive, prompt("blurry")), steps=1)
        assert len(found) == maps


def test_merged_tokens_are_said(case, caplog):
    """Another node that leaves tokens out of the attention, as ToMe's kin do."""
    mixing = case.identity(case.plain, adapters.Settings(mixed_attention=True))
    ours = mixing.model_options["transformer_options"][OVERRIDE]

    def merged(func, q, k, v, heads, *args, **more):
        out = ours(func, q[:, :, ::2], k, v, heads, *args, **more)
        return out.repeat_interleave(2, dim=1)[:, : q.shape[2]]

    mixing.model_options["transformer_options"][OVERRIDE] = merged
    assert case.sample(mixing, steps=1).isfinite().all()
    assert "merges or cuts the tokens of self-attentions" in caplog.text


def test_clones_have_patches_of_their_own(case):
    cured = case.cure(mode="both")
    clone = cured.clone()
    for key, patch in patches(cured).items():
        assert patches(clone)[key] is not patch and patches(clone)[key].shares == patch.shares
    assert tiny.DOUBLE + tiny.SINGLE > len(patches(cured)) == 20 + 16 - 4  # PuLID is in four of the last 16 as well


@pytest.mark.parametrize("trajectory", ["shared", "separate"])
@pytest.mark.parametrize("longer", [{}, {"likeness_plain_text": 2}], ids=["in one batch", "of another length"])
def test_every_person_gets_keys_whatever_else_is_in_the_step(case, trajectory, longer, monkeypatch):
    """Two prompts of different lengths run in separate forwards, and so may one and its twin."""
    given, original = [], TwinRun.shared_keys

    def spy(self, site, rows, *rest):
        found = original(self, site, rows, *rest)
        given.extend(found[index] for index in rows.conditional(without_identity=False))
        return found

    monkeypatch.setattr(TwinRun, "shared_keys", spy)
    text = "a portrait, " + "very " * 40 + "old"
    extras = {key: prompt()[0][0][:, :-times] for key, times in longer.items()}
    positive = [*prompt(**extras), *prompt(text)]
    assert positive[0][0].shape[1] < positive[1][0].shape[1]
    cured = case.cure(prompt="a tree", mask=torch.ones(1, 4, 4).tril(), mode="shared_attention", trajectory=trajectory)
    case.sample(cured, (positive, prompt("blurry")), steps=1)
    assert len(given) == 2 * 16 and all(one is not None for one in given)


def test_the_patch_runs_on_cuda_without_a_host_sync():
    found, text, length = [], 3, TEXT + NUMBER
    with FakeTensorMode(allow_non_fake_inputs=True):
        mixes = (mixed.Mix(Span(0.0, 1.0), 0.5),)
        run = mixed.MixedRun(mixes, None, [{"uuid": 1}], [{"uuid": 2}], Run())
        assert run.begin_step(None)
        run.reads_maps, run.says_words = True, lambda name: name == 2
        run.words = Words(None, torch.zeros(TEXT, text, device="cuda"))
        run.add_maps = lambda maps, size, place: found.append(maps)
        rows = in_chunks([1, 0, 0], 6, [0, 1, 2], IdentityOff((False, False, True)))
        q, pe = torch.empty(6, 2, length, 32, device="cuda"), torch.empty(6, 1, length, 16, 2, 2, device="cuda")
        block = Inside(("double_block", 9), [], TEXT, NUMBER, Here(0, GRID, 2), pe, Run(), shares=True, reads=True)

        def attend(q, k, v, mask):
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

        options = {"likeness_twins": run, "likeness_rows": rows}
        out = block.attention(q, q, q, None, attend, False, options)
        assert out.shape == (6, length, 64) and out.device.type == "cuda" and not run.keys
        assert [tuple(one.shape) for one in found] == [(2, text, NUMBER)]


def test_mixing_without_an_identity_changes_nothing(case):
    """Twins that are no other than their persons take nothing from the prompt."""
    settings = adapters.Settings(mixed_attention=True)
    faint = flux_cases.apply(case.plain, case.adapter, case.face, prompts=case.prompts, settings=settings, weight=1e-9)
    out, plain = case.sample(faint[0], steps=1), case.sample(case.plain, steps=1)
    torch.testing.assert_close(out, plain, atol=1e-4, rtol=1e-4)
