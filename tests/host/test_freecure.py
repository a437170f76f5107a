"""The mode freecure against its formulas written out, on the plain model's own attention."""

import pytest
import torch
import torch.nn.functional as F
from cure_cases import TRAJECTORIES, clip

CFG = 4.0
SIDE = {"sd15": 8, "sdxl": 4}  # tokens, where the model's own size has 32: 64 and 128 cells, of which there are 16 here


def at(model, conditionings, x, sigma, cfg):
    """A model's guided prediction [1,4,16,16] at a latent."""
    import comfy.sample
    import comfy.samplers

    def predict(wrapped, noise, sigmas, extra_args=None, callback=None, disable=None):
        return wrapped(x, sigmas[:1].expand(len(x)), **extra_args)

    sigmas = torch.stack([sigma, torch.zeros(())])
    sampler = comfy.samplers.KSAMPLER(predict)
    with torch.inference_mode():
        arguments = (cfg, sampler, sigmas, *conditionings, torch.zeros_like(x))
        latent = comfy.sample.sample_custom(model, torch.zeros_like(x), *arguments, disable_pbar=True, seed=0)
    return model.get_model_object("latent_format").process_in(latent)


def attention_to(case, words, x, sigma):
    """What each word gets of the plain model's attention [W,16,16], mean over heads and layers of that size."""
    made = clip(case.kind)
    [row] = next(iter(made.tokenize(case.text).values()))
    wanted = [next(iter(made.tokenize(word).values()))[0][1][0] for word in words]
    columns = [[token for token, *_ in row].index(token) for token in wanted]
    found, side = [], SIDE[case.kind]

    def look(module, arguments, options):
        hidden, context = arguments[0], options.get("context", arguments[1] if len(arguments) > 1 else None)
        if hidden.shape[1] == side**2:
            q, k = (t.unflatten(-1, (module.heads, -1)) for t in (module.to_q(hidden), module.to_k(context)))
            shares = (torch.einsum("bnhd,bthd->bhnt", q, k) / q.shape[-1] ** 0.5).softmax(-1).mean(1)[0]
            found.append(shares[:, columns].T.reshape(1, len(words), side, side))

    unet = case.plain.model.diffusion_model
    blocks = [*unet.input_blocks, *unet.output_blocks]
    layers = [module for block in blocks for name, module in block.named_modules() if name.endswith("attn2")]
    hooks = [layer.register_forward_pre_hook(look, with_kwargs=True) for layer in layers]
    try:
        at(case.plain, case.prompts, x, sigma, 1.0)
    finally:
        for hook in hooks:
            hook.remove()
    assert found
    return F.interpolate(torch.cat(found).mean(0, keepdim=True), size=(16, 16), mode="bilinear")[0]


def mask_of(attention):
    """min-max, exp(10 x), min-max; white above the level of 256 that parts the cells into two groups best."""
    for stretch in (lambda x: (10 * (x + 1)).exp(), lambda x: x):
        attention = stretch((attention - attention.min()) / (attention.max() - attention.min()))
    levels = (attention * 256).long().clamp(max=255)

    def parted(level):
        low, high = (levels[levels <= level].double(), levels[levels > level].double())
        return len(low) * len(high) * float((low.mean() - high.mean()) ** 2) if len(low) and len(high) else 0.0

    return (attention > (max(range(256), key=parted) + 1) / 256).float()


@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_the_noise_is_replaced_where_the_words_are(case, trajectory):
    """The first of two steps only looks. The second's noise is `(1 - M) eps + M eps_plain`, each of its own latent."""
    seen, latents = [], []
    cured = case.cure(mode="freecure", trajectory=trajectory, observe=lambda attributes, masks: seen.append(masks))
    result = recorded(case, cured, latents)
    (x0, s0), (x1, s1) = latents
    guided = at(case.model, case.conditionings, x1, s1, CFG)
    torch.testing.assert_close(recorded(case, case.model, []), guided, atol=1e-4, rtol=1e-4)  # no cure before
    plain0 = at(case.plain, case.prompts, x0, s0, CFG)
    y1 = x1 if trajectory == "shared" else plain0 + s1 / s0 * (x0 - plain0)

    words = ["hair", "hat"]
    attention = (attention_to(case, words, x0, s0) + attention_to(case, words, y1, s1)) / 2
    masks = torch.stack([mask_of(one) for one in attention])
    torch.testing.assert_close(seen[0][0], masks)

    mask = masks.amax(0)
    assert 0 < mask.mean() < 1
    noise = (x1 - guided) / s1
    plain_noise = (y1 - at(case.plain, case.prompts, y1, s1, CFG)) / s1
    expected = x1 - s1 * ((1 - mask) * noise + mask * plain_noise)
    torch.testing.assert_close(result, expected, atol=2e-3, rtol=1e-3)


def recorded(case, model, latents):
    """Two steps, as Case.sample takes them, in the model's own space; `latents` gets (x, sigma) of each."""
    import comfy.sample
    from host_cases import randn

    shape, sampling = (1, 4, 16, 16), model.get_model_object("model_sampling")
    sigmas = torch.tensor([float(sampling.percent_to_sigma(share)) for share in (0.02, 0.5)] + [0.0])

    def keep(step, denoised, x, total):
        latents.append((x.clone(), sigmas[step]))

    with torch.inference_mode():
        latent = comfy.sample.sample(
            model, randn(*shape, seed=1), 2, CFG, "euler", "simple", *case.conditionings, torch.zeros(shape), seed=1,
            sigmas=sigmas, callback=keep, disable_pbar=True,
        )  # fmt: skip
    return model.get_model_object("latent_format").process_in(latent)


@pytest.mark.parametrize("steps, unchanged", [(4, 1), (12, 2)])
def test_the_picture_is_changed_after_a_tenth_of_the_steps(sd15, steps, unchanged):
    """As in PhotoMaker's pipeline: steps up to int(0.1 * steps) go by untouched, six of the published fifty."""
    import comfy.sample
    from host_cases import randn

    def latents(model):
        seen, shape = [], (1, 4, 16, 16)
        with torch.inference_mode():
            comfy.sample.sample(
                model, randn(*shape, seed=1), steps, CFG, "euler", "normal", *sd15.conditionings, torch.zeros(shape),
                seed=1, callback=lambda step, denoised, x, total: seen.append(denoised.clone()), disable_pbar=True,
            )  # fmt: skip
        return seen

    cured, plain = latents(sd15.cure(mode="freecure", foundation=sd15.plain)), latents(sd15.model)
    same = [torch.equal(*pair) for pair in zip(cured, plain, strict=True)]
    assert same == [True] * unchanged + [False] * (steps - unchanged)


def test_strength_is_the_share_of_the_noise_that_is_replaced(sd15):
    mask = torch.full((1, 16, 16), 0.5)
    half = sd15.sample(sd15.cure(mode="freecure", prompt="a tree", mask=mask, weight=0.5))
    whole = sd15.sample(sd15.cure(mode="freecure", prompt="a tree", mask=mask))
    torch.testing.assert_close(half - sd15.uncured(), (whole - sd15.uncured()) / 2, atol=2e-3, rtol=0)
