"""Mixed attention: rows with identity see the text-only rows' keys and values, after Infinite-ID."""

import copy

import pytest
import torch
from cure_cases import GUIDERS, Case, clip, custom, prompt
from host_cases import apply, identity, loaded_adapter, sample
from likeness.core.host.adapters import adapter as adapter_module
from likeness.core.host.adapters import mixed
from likeness.core.host.prompts import id_prompt
from likeness.core.host.sampling import rows as rows_module
from likeness.core.host.sampling import spans
from likeness.core.host.sampling.run import Run
from likeness.core.host.unet.self_attention import ExtraKeys
from likeness.core.host.who.person import Sources
from torch._subclasses.fake_tensor import FakeTensorMode

SITES = {"sd15": ("output", 5, 0), "sdxl": ("middle", 0, 7)}


def mixing(case, style=0.0, model=None, prompts=None, on=True, **options):
    """Apply the case's adapter with mixed attention: returns (model, positive, negative)."""
    chosen = adapter_module.Settings(mixed_attention=on, style_strength=style)
    model, prompts = case.plain if model is None else model, prompts or case.prompts
    return apply(model, *prompts, case.adapter, kind=case.kind, options=chosen, **options)


def attn1(model):
    return model.model_options["transformer_options"].get("patches_replace", {}).get("attn1", {})


def recorded(model, key):
    """The model with its self-attention at `key` written down: [(q, k, v, out, chunk kinds, which are off)]."""
    seen, key_of_rows = [], "likeness_rows"
    ours, model = attn1(model)[key], model.clone()

    def spy(q, k, v, options):
        out = ours(q, k, v, options)
        rows = options[key_of_rows]
        seen.append((q, k, v, out, rows.kinds, tuple(rows.is_off(index) for index in range(len(rows.kinds)))))
        return out

    model.set_model_attn1_replace(spy, *key)
    return model, seen


def softmax_attention(q, k, v, heads):
    """softmax(q k^T / sqrt(d)) v, one picture and one head at a time, in double precision."""
    size = q.shape[-1] // heads
    out = torch.empty(q.shape, dtype=torch.float64)
    for row in range(len(q)):
        for start in range(0, q.shape[-1], size):
            part = slice(start, start + size)
            scores = torch.einsum("nd,md->nm", q[row, :, part].double(), k[row, :, part].double()) / size**0.5
            out[row, :, part] = scores.softmax(-1) @ v[row, :, part].double()
    return out


@pytest.mark.parametrize("style", [0.0, 0.6])
def test_one_site_is_the_formula(case, kind, style):
    """Out = Attn(Q_id, [K_id ; K_text], [V_id ; V_text]), K_id and V_id moved by AdaIN-mean; the rest as ever."""
    model, *prompts = mixing(case, style)
    model, seen = recorded(model, SITES[kind])
    sample(model, *prompts, steps=1, shape=(2, 4, 16, 16))
    [(q, k, v, out, kinds, off)] = seen
    assert sorted(zip(kinds, off, strict=True)) == [(0, False), (0, True), (1, False)]
    rows = {pair: place for place, pair in enumerate(zip(kinds, off, strict=True))}
    q, k, v, out = (t.chunk(3) for t in (q, k, v, out))
    heads = heads_of(case.plain, SITES[kind])
    own, text = rows[0, False], rows[0, True]
    assert (q[own] - q[text]).abs().max() > 1e-3
    keys, values = (
        torch.cat([t[own] + style * (t[text].mean(1, True) - t[own].mean(1, True)), t[text]], 1) for t in (k, v)
    )
    torch.testing.assert_close(out[own].double(), softmax_attention(q[own], keys, values, heads), atol=1e-4, rtol=1e-4)
    for row in (text, rows[1, False]):
        expected = softmax_attention(q[row], k[row], v[row], heads)
        torch.testing.assert_close(out[row].double(), expected, atol=1e-4, rtol=1e-4)


def heads_of(model, key):
    kind, number, index = key
    unet = model.get_model_object("diffusion_model")
    block = unet.middle_block if kind == "middle" else unet.output_blocks[number]
    [layer] = [layer for layer in block if hasattr(layer, "transformer_blocks")]
    return layer.transformer_blocks[index].attn1.heads


def split(applied):
    """What `mixing` returns as (model, conditionings)."""
    return applied[0], applied[1:]


def predictions(model, conditionings, **options):
    """What ComfyUI predicted in the first step: conditional, unconditional, and the text-only rows where there are any.

    While it predicts, the unconditional list is the last one.
    """
    seen, model = [], model.clone()

    def spy(executor, *arguments):
        seen.append(executor(*arguments))
        return seen[-1]

    model.add_wrapper_with_key("calc_cond_batch", "test", spy)
    sample(model, *conditionings, steps=1, **options)
    conditional, *text, unconditional = seen[0]
    return [conditional, unconditional, *text]


def test_the_text_only_rows_are_the_plain_models(case):
    conditional, unconditional, text = predictions(*split(mixing(case, 0.5)))
    plain = predictions(case.plain, case.prompts)
    torch.testing.assert_close(text, plain[0], atol=1e-4, rtol=1e-4)
    personal = predictions(case.model, case.conditionings)
    torch.testing.assert_close(unconditional, personal[1], atol=1e-4, rtol=1e-4)
    assert (conditional - personal[0]).abs().max() > 1e-3


def test_a_face_in_the_prompt_is_not_in_the_text_only_rows(cases):
    """PhotoMaker: they have the class word as it was before the face went in."""
    from tiny.photomaker import photomaker

    case = cases["sdxl"]
    adapter = loaded_adapter(photomaker("v1"), "photomaker-v1.bin")
    image = torch.rand(1, 40, 32, 3, generator=torch.Generator().manual_seed(3))
    sources = Sources(image=image)
    text = "photo of a woman img, red hair"
    prompts = id_prompt
    positive = prompts.encode_id_prompt(clip("sdxl"), adapter, text, sources, "img", 0.0)
    applied = (positive, case.prompts[1], adapter, sources, adapter_module.Strength(1.0))
    model, *prompts, _ = adapter_module.apply_adapter(
        case.plain, *applied, settings=adapter_module.Settings(mixed_attention=True)
    )
    alone, *_ = adapter_module.apply_adapter(case.plain, *applied)
    personal, _, text_only = predictions(model, prompts)
    plain = [[prompt("sdxl", "photo of a woman, red hair")[0][0], positive[0][1]]]
    torch.testing.assert_close(text_only, predictions(alone, (plain, case.prompts[1]))[0], atol=1e-4, rtol=1e-4)
    assert (personal - predictions(alone, prompts)[0]).abs().max() > 1e-3


def test_mixing_changes_the_picture_and_repeats_itself(sd15):
    model, *prompts = mixing(sd15)
    first = sample(model, *prompts)
    assert first.isfinite().all() and (first - sample(sd15.model, *sd15.conditionings)).abs().max() > 1e-3
    assert torch.equal(sample(model, *prompts), first) and torch.equal(sample(*mixing(sd15)), first)
    assert (sample(*mixing(sd15, 1.0)) - first).abs().max() > 1e-3


def test_off_is_exactly_as_without(sd15):
    model, *prompts = mixing(sd15, 0.7, on=False)
    assert not attn1(model) and not model.get_wrappers("outer_sample", "likeness_mixed")
    assert torch.equal(sample(model, *prompts), sample(sd15.model, *sd15.conditionings))


@pytest.mark.parametrize(
    "nothing",
    [{"weight": 0.0}, {"start_at": 0.5, "end_at": 0.5}, {"mask": torch.zeros(1, 9, 9)}],
    ids=["weight 0", "empty range", "mask 0"],
)
def test_nothing_is_exactly_nothing(case, nothing):
    assert mixing(case, 0.5, **nothing)[0] is case.plain


def test_mixed_with_itself_a_picture_stays_what_it_is(sd15):
    """Twice the same keys are the same attention, so that hardly any identity means hardly any change."""
    faint = sample(*mixing(sd15, 0.5, weight=1e-6))
    torch.testing.assert_close(faint, sample(sd15.plain, *sd15.prompts), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(("start", "end", "lists"), [(0.0, 1.0, 3), (0.0, 0.5, 3), (0.5, 1.0, 2)])
def test_only_steps_in_the_range_mix(sd15, start, end, lists):
    model, *prompts = mixing(sd15, start_at=start, end_at=end)
    assert len(predictions(model, prompts)) == lists
    if lists == 2:
        assert torch.equal(sample(model, *prompts, steps=1), sample(sd15.plain, *sd15.prompts, steps=1))


@pytest.mark.parametrize("cfg", [4.0, 1.0])
def test_batches_odd_sizes_and_cfg_1(sd15, cfg):
    how = {"cfg": cfg, "shape": (3, 4, 17, 25)}
    personal, *_, text = predictions(*split(mixing(sd15, 0.5)), **how)
    plain = predictions(sd15.model, sd15.conditionings, **how)
    assert personal.shape == how["shape"] and personal.isfinite().all()
    assert (personal - plain[0]).abs().amax((1, 2, 3)).min() > 1e-3  # each picture
    torch.testing.assert_close(text, predictions(sd15.plain, sd15.prompts, **how)[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["heun", "dpmpp_2m_sde", "euler_cfg_pp"])
def test_samplers(sd15, name):
    result = sample(*mixing(sd15, 0.3), sampler=name)
    assert result.isfinite().all()
    assert (result - sample(sd15.model, *sd15.conditionings, sampler=name)).abs().max() > 1e-3


@pytest.mark.parametrize("guider", GUIDERS[1:])
def test_guiders(sd15, guider):
    model, *_ = mixing(sd15)
    result, plain = custom(sd15, model, guider), custom(sd15, sd15.model, guider)
    assert result.isfinite().all() and (result - plain).abs().max() > 1e-3


def test_chained_adapters_share_one_pass(sd15):
    left, right = torch.zeros(1, 64, 64), torch.zeros(1, 64, 64)
    left[..., :32], right[..., 32:] = 1, 1
    anna, bert = identity(5), identity(6)

    def both(first, second, on=(True, True)):
        one = mixing(sd15, 0.2, face=first[0], mask=first[1], on=on[0])
        return mixing(sd15, 0.4, one[0], one[1:], face=second[0], mask=second[1], on=on[1])

    chained = both((anna, left), (bert, right))
    [hooks] = {wrapper.__self__ for wrapper in chained[0].get_wrappers("outer_sample", "likeness_mixed")}
    assert [mix.style for mix in hooks.mixes] == [0.2, 0.4]
    result = predictions(*split(chained))
    swapped, early, late = (
        predictions(*split(both(*who)))
        for who in (
            ((bert, right), (anna, left)),
            ((anna, left), (bert, right), (True, False)),  # whichever asks for it, all of the identity is mixed
            ((anna, left), (bert, right), (False, True)),
        )
    )
    assert len(result) == len(swapped) == len(early) == len(late) == 3
    torch.testing.assert_close(result[0], swapped[0], atol=1e-4, rtol=1e-4)
    assert torch.equal(late[0], result[0]) and not torch.equal(early[0], result[0])  # 0.4 is the stronger of both


def test_batches_taken_apart_by_memory(sd15, monkeypatch):
    model, *prompts = mixing(sd15, 0.5)
    together = sample(model, *prompts)
    monkeypatch.setattr("comfy.model_base.BaseModel.memory_required", lambda *arguments, **keywords: 1e30)
    torch.testing.assert_close(sample(model, *prompts), together, atol=1e-3, rtol=1e-3)


def test_regional_prompts_and_prompts_of_another_length(sd15):
    area = [[prompt(sd15.kind)[0][0], {**sd15.conditionings[0][0][1], "area": (8, 16, 8, 0), "strength": 1.0}]]
    model, positive, negative = mixing(sd15)
    long = mixing(sd15, prompts=(prompt(sd15.kind, "a portrait, " + "very " * 90 + "old"), sd15.prompts[1]))
    for lists in ((positive + area, negative), (area, negative), long[1:]):
        result = sample(model, *lists, steps=1)
        assert result.isfinite().all() and (result - sample(sd15.model, *lists, steps=1)).abs().max() > 1e-3


def test_another_packs_self_attention_stays_on(sd15):
    """It sees every row, and what it makes of rows that don't mix is what they get."""
    key, calls = SITES["sd15"], []
    theirs = sd15.plain.clone()
    theirs.set_model_attn1_replace(lambda q, k, v, options: calls.append(len(q)) or q, *key)
    model, *prompts = mixing(sd15, model=theirs)
    model, seen = recorded(model, key)
    sample(model, *prompts, steps=1)
    [(q, _, _, out, kinds, off)] = seen
    for place, pair in enumerate(zip(kinds, off, strict=True)):
        assert torch.equal(out[place], q[place]) == (pair != (0, False))
    assert calls == [3]


def test_upstream_is_untouched(sd15):
    options, before = copy.deepcopy(sd15.model.model_options), sample(sd15.model, *sd15.conditionings)
    state = torch.random.get_rng_state()
    first = mixing(sd15, 0.2)
    hooks = first[0].get_wrappers("outer_sample", "likeness_mixed")
    sample(*mixing(sd15, 0.4, first[0], first[1:]))
    assert first[0].get_wrappers("outer_sample", "likeness_mixed") == hooks and len(hooks[0].__self__.mixes) == 1
    assert sd15.model.model_options.keys() == options.keys() and not attn1(sd15.model) and not attn1(sd15.plain)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(sample(sd15.model, *sd15.conditionings), before)


def test_with_the_attribute_cure_there_is_one_sentence(sd15):
    model, *_ = mixing(sd15)
    with pytest.raises(ValueError, match="has an adapter with mixed_attention.*switch mixed_attention off"):
        sd15.cure(model)
    with pytest.raises(ValueError, match="has an adapter with mixed_attention"):
        sd15.cure(sd15.plain, foundation=model)
    with pytest.raises(ValueError, match="has been through AttributeCure.*switch mixed_attention off"):
        mixing(sd15, model=sd15.cure())


def test_half_precision_models(sd15):
    from tiny.unet import unet

    low = Case("sd15", unet("sd15", dtype=torch.bfloat16), sd15.adapter)
    assert sample(*mixing(low, 0.5), steps=1).isfinite().all()


def test_a_whole_range_reads_nothing_from_the_device(sd15, overhead):
    plain, whole, partial = (
        overhead.forward(*chain).host_reads
        for chain in ((sd15.model, *sd15.conditionings), mixing(sd15, 0.5), mixing(sd15, 0.5, start_at=0.1))
    )
    assert whole == plain and partial == plain + 1


def test_the_patch_runs_on_cuda_without_a_host_sync():
    patch = ExtraKeys(("middle", 0, 0), base=lambda q, k, v, options: q)
    with FakeTensorMode(allow_non_fake_inputs=True):
        mixes, lives = (mixed.Mix(spans.Span(0.0, 1.0), 0.5),), Run()
        run = mixed.MixedRun(mixes, None, [{"uuid": 1}], [{"uuid": 2}], lives)
        x = torch.empty(6, 64, 128, device="cuda")
        assert run.begin_step(None)
        off = rows_module.IdentityOff((False, False, True))
        options = {
            "likeness_twins": run, "likeness_rows": rows_module.in_chunks([1, 0, 0], 6, [0, 1, 2], off), "n_heads": 4,
            "activations_shape": [6, 128, 8, 8],
        }  # fmt: skip
        out = patch(x, x, x, options)
        assert out.shape == x.shape and out.device.type == "cuda" and not run.keys
