"""The small FLUX, its ControlNet and its adapter: trained as diffusers' classes, and the same in ComfyUI's."""

import importlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from facelets import flux, flux_adapter, prompts, words
from facelets.generator import trained_text
from facelets.lesson import Noised
from facelets.likeness import ALONE, BOTH, POSE, SPACE, Shown, drawn_landmarks
from facelets.pack import module
from likeness.core.host.facelets import load
from likeness.core.weights import WeightFile
from tiny.weights import fill
from torch import nn

LANDMARKS = np.array([[[44.2, 60], [76, 58.7], [60, 75], [48, 92], [72.5, 91]]] * 2, np.float32)


@pytest.fixture(scope="module")
def base():
    base = flux.Flux(nn.Identity())
    fill(base.flux, seed=4)
    return base.requires_grad_(False)


@pytest.fixture(scope="module")
def trained(base):
    """A FluxLikeness with random weights, in which what joins the parts is no longer zero."""
    torch.manual_seed(5)
    likeness = flux_adapter.FluxLikeness(base, nn.Identity())
    for number, part in enumerate((likeness.control.net.controlnet_x_embedder, *likeness.control.net.controlnet_blocks,
                                   *likeness.adapter.pulid_ca)):  # fmt: skip
        fill(part, seed=number, gain=0.5)
    return likeness.requires_grad_(False)


@pytest.fixture(scope="module")
def prompt():
    torch.manual_seed(1)
    return torch.randn(2, 56, 128), torch.randn(2, 128)


def noise_alone():
    """What is sampled from at the highest level, as ComfyUI draws it from seed 3 for two pictures."""
    noise = torch.randn(2, 16, 16, 16, generator=torch.manual_seed(3))
    level = torch.ones(2)
    return Noised(noise, level, *[None] * 4)


def first_velocity(model, positive, negative):
    """What ComfyUI predicts at the highest level: with one step it leaves the noise without it."""
    nodes = importlib.import_module("nodes")
    latent = {"samples": torch.zeros(2, 16, 16, 16)}
    sampled = nodes.common_ksampler(model, 3, 1, 1.0, "euler", "normal", positive, negative, latent)[0]["samples"]
    return noise_alone().latents - model.model.process_latent_in(sampled)


def conditioning(prompt):
    return [[prompt[0], {"pooled_output": prompt[1]}]]


def with_person(model, positive, negative, adapter, vector, weight):
    """As ApplyIDAdapter."""
    host = module("core.host.adapters.adapter")
    person = module("core.faces.identity.identity").Identity(SPACE, vector, vector[None], vector, "mean")
    sources = module("core.host.who.person").Sources(person)
    return host.apply_adapter(model, positive, negative, adapter, sources, host.Strength(weight))[:3]


def with_landmarks(positive, negative, control_net, hints):
    """As LandmarkControl, of pictures of landmarks [B, 3, H, W]."""
    add, strength = module("core.host.prompts.landmarks").add_control_net, module("core.host.adapters.adapter").Strength
    return add(positive, negative, control_net, hints.movedim(1, -1), strength(1.0))


@pytest.fixture(scope="module")
def model(base):
    return load.build_flux(flux.to_comfyui(base.flux.state_dict()))


def close(ours, theirs):
    return (ours - theirs).abs().max() < 3e-5 * theirs.abs().max()


def test_comfyui_predicts_what_was_trained(base, model, prompt):
    ours = base.velocity(noise_alone(), prompt)
    assert close(ours, first_velocity(model, conditioning(prompt), conditioning(prompt)))


def test_a_prompt_is_what_cliptextencode_makes_of_it():
    """With the text encoder's own few tokens, cut to FLUX's length, and what stands at its end as the pooled vector."""
    text = fill(words.compact_text_encoder(), seed=9)
    base, captions = flux.Flux(text), ["a man, a smiling face, with a grey beard", "", "a tarantula with brown hair"]
    numbers = torch.tensor(prompts.known_tokens(), dtype=torch.int32)
    clip = load.build_clip({**text.state_dict(), load.KNOWN_TOKENS: numbers}, tokens=load.FLUX_TEXT)
    ours = base.prompt(prompts.encode_captions(captions, np.random.default_rng(0)))
    theirs = [clip.encode_from_tokens(clip.tokenize(caption), return_pooled=True) for caption in captions]
    for part, found in zip(ours, zip(*theirs, strict=True), strict=True):
        assert (part - torch.cat(found)).abs().max() < 1e-2 < part.std()  # ComfyUI keeps them in half precision


def test_weights_come_back_from_comfyuis_layout(base):
    weights = base.flux.state_dict()
    again = flux.to_diffusers(flux.to_comfyui(weights), weights)
    assert all(torch.equal(again[key], value) for key, value in weights.items())


def test_the_landmarks_net_is_comfyuis_xlabs_one(trained, model, prompt):
    control = load.build_flux_control_net(trained.control.to_comfyui())
    hints = drawn_landmarks(LANDMARKS)
    residuals = trained.control_residuals(noise_alone(), hints, prompt, None)
    ours = trained.predicted(noise_alone(), prompt, None, residuals)
    theirs = first_velocity(model, *with_landmarks(*[conditioning(prompt)] * 2, control, hints))
    assert close(ours, theirs)
    assert (ours - trained.predicted(noise_alone(), prompt, None, None)).abs().max() > 0.1 * theirs.abs().max()


def test_the_adapter_is_what_apply_id_adapter_makes_of_its_file(trained, model, prompt):
    tensors = {key: value.clone() for key, value in trained.adapter.state_dict().items()}
    file = WeightFile("pulid.safetensors", tensors, {"likeness.face_space": SPACE})
    managed, host = module("core.host.comfyui.managed"), module("core.host.adapters.adapter")
    identity = module("core.adapters").load_adapter(file, operations=managed.OPERATIONS)
    assert identity.spec.family == "pulid_flux" and identity.spec.look is None and identity.spec.face_dim == 128
    adapter = host.LoadedAdapter(file.name, identity.spec, managed.managed(identity))
    vector = F.normalize(torch.randn(128, generator=torch.manual_seed(8)), dim=0)
    applied = with_person(model, *[conditioning(prompt)] * 2, adapter, vector, 1.0)
    tokens = trained.identity(vector.expand(2, 128))
    ours = trained.predicted(noise_alone(), prompt, tokens, None)
    theirs = first_velocity(*applied)
    assert close(ours, theirs)
    assert (ours - trained.predicted(noise_alone(), prompt, None, None)).abs().max() > 0.1 * theirs.abs().max()


def test_all_that_is_trained_learns(base, prompt):
    likeness = flux_adapter.FluxLikeness(base, nn.Identity())
    with torch.no_grad():
        for part in (*likeness.control.net.controlnet_blocks, *likeness.adapter.pulid_ca):
            torch.nn.init.normal_(next(reversed(list(part.parameters()))), std=0.1)
    tokens = likeness.identity(torch.randn(2, 128))
    residuals = likeness.control_residuals(noise_alone(), drawn_landmarks(LANDMARKS), prompt, tokens)
    likeness.predicted(noise_alone(), prompt, tokens, residuals).square().mean().backward()
    without = [key for key, one in likeness.named_parameters() if one.requires_grad and one.grad is None]
    assert not without


@pytest.mark.parametrize("lesson", [flux.FluxDetails, flux.FluxGuided])
def test_the_last_lessons_ask_for_what_the_u_net_expects(lesson):
    """Of the same picture under the same noise, which its own schedule has at another scale."""
    pupil = flux.Pupil(flux.Flux(trained_text()))
    rows = torch.as_tensor(prompts.encode_captions(["a man with a grey beard"] * 3, np.random.default_rng(0)))
    torch.manual_seed(4)
    latents, level = torch.randn(3, 16, 16, 16), torch.tensor([0.6, 0.2, 0.01])
    noised = pupil.base.noised_to(latents, level)
    noise = noised.velocity + latents
    aimed = lesson().aimed(pupil, noised, rows)
    nothing = torch.as_tensor(prompts.encode_captions([""], np.random.default_rng(0)))
    times_asked, times_unasked = {flux.FluxDetails: (1, 0), flux.FluxGuided: (3, -2)}[lesson]  # CFG 1 and 3
    for place in (0, 1):
        ratio = ((1 - level[place]) / level[place]).square()
        time = int((pupil.teacher.levels / (1 - pupil.teacher.levels) - ratio).abs().argmin())
        kept = pupil.teacher.levels[time]
        seen = kept.sqrt() * latents[place] + (1 - kept).sqrt() * noise[place]
        contexts = torch.cat([pupil.teacher.prompt(rows[:1]), pupil.teacher.prompt(nothing)])
        with torch.no_grad():
            said = pupil.teacher.unet(seen.expand(2, -1, -1, -1), torch.full((2,), float(time)), context=contexts)
        velocity = times_asked * said[0] + times_unasked * said[1]
        expected = kept.sqrt() * seen - (1 - kept).sqrt() * velocity
        assert (aimed.expected(aimed.velocity)[place] - expected).abs().max() < 0.02 * expected.abs().max()
    assert torch.equal(aimed.velocity[2], noised.velocity[2])  # the U-Net's schedule begins at more noise


@pytest.mark.parametrize("kind", [ALONE, BOTH, POSE])
def test_the_adapter_is_to_do_what_the_u_nets_does(base, kind):
    """What ComfyUI's sampler and the nodes expect at CFG 3, of the same picture under the same noise."""
    pupil = flux_adapter.Pupil(base, nn.Identity())
    says, weights = ["a man with a grey beard", "a sad face"], (0.8, 0.2)
    torch.manual_seed(6)
    latents, level = torch.randn(2, 16, 16, 16), torch.tensor([0.7, 0.4])
    noised = base.noised_to(latents, level)
    noise = noised.velocity + latents
    rows, vectors = prompts.encode_captions(says, np.random.default_rng(0)), F.normalize(torch.randn(2, 128), dim=1)
    hints = drawn_landmarks(LANDMARKS)
    shown = Shown(
        torch.as_tensor(rows), None, None if kind == POSE else vectors, None if kind == ALONE else hints, None,
        torch.tensor(weights) / 0.8,
    )  # fmt: skip
    aimed = flux_adapter.FluxAdapter().aimed(pupil, noised, shown)
    expected = aimed.expected(aimed.velocity)
    for place, text in enumerate(says):
        whom = None if kind == POSE else (vectors[place], weights[place])
        landmarks = None if kind == ALONE else hints[place]
        found = expected_by_comfyui(text, whom, landmarks, latents[place], noise[place], float(level[place]))
        assert (expected[place] - found).abs().max() < 0.03 * found.abs().max()


def expected_by_comfyui(text, whom, landmarks, latents, noise, level):
    """The clean latents, of deviation 1, after one step to the end. whom: a vector and a weight."""
    sample = importlib.import_module("comfy.sample")
    model, clip, _, control_net, adapter, _ = load.load_facelets()
    positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(said)) for said in (text, ""))
    if whom is not None:
        model, positive, negative = with_person(model, positive, negative, adapter, *whom)
    if landmarks is not None:
        positive, negative = with_landmarks(positive, negative, control_net, landmarks[None])
    sigmas = model.get_model_object("model_sampling").sigmas
    sigma = sigmas[(sigmas - level / (1 - level)).abs().argmin()]
    given = model.model.process_latent_out(latents[None])
    samplers = importlib.import_module("comfy.samplers")
    end = sample.sample_custom(
        model, noise[None], 3.0, samplers.sampler_object("euler"), torch.tensor([sigma, 0.0]), positive, negative, given
    )
    return model.model.process_latent_in(end)[0]


def test_every_block_of_the_base_can_learn(prompt):
    """Gates begin at zero, so what is behind one gets a gradient in the second step, or for the text in the third."""
    torch.manual_seed(7)
    base = flux.Flux(nn.Identity())
    torch.nn.init.normal_(base.flux.proj_out.weight, std=0.1)
    rest = {
        f"transformer_blocks.{len(base.flux.transformer_blocks) - 1}.{part}"
        for part in ("attn.to_add_out", "ff_context", "norm1_context")
    }  # nobody reads the text behind it
    optimizer = torch.optim.SGD(base.flux.parameters(), lr=1e-3)
    for _ in range(4):
        optimizer.zero_grad()
        (base.velocity(noise_alone(), prompt) - 1).square().mean().backward()
        optimizer.step()
    still = [name for name, one in base.flux.named_parameters()
             if not name.startswith((*rest, "norm_out", "context_embedder.bias")) and not one.grad.any()]  # fmt: skip
    assert not still


def test_blocks_that_could_not_learn_begin_anew():
    base = flux.FluxWhole().build().base.flux
    let_through, gates = zip(*[(one.proj_out.weight, one.norm.linear.weight)
                               for one in base.single_transformer_blocks], strict=True)  # fmt: skip
    assert all(one.any() for one in let_through) and not any(one.any() for one in gates)


def test_latents_become_tokens_and_latents_again():
    latents = torch.randn(2, 16, 16, 16)
    tokens = flux.to_tokens(latents)
    assert tokens.shape == (2, 64, 64) and torch.equal(flux.to_latents(tokens), latents)
    assert torch.equal(tokens[0, 1].view(16, 2, 2), latents[0, :, :2, 2:4])


def test_a_velocity_without_error_means_the_picture_itself(base):
    torch.manual_seed(2)
    latents = torch.randn(5, 16, 16, 16)
    noised = base.noised(latents)
    torch.testing.assert_close(noised.expected(noised.velocity), latents, atol=1e-5, rtol=0)
    assert (0 < noised.times).all() and (noised.times < 1).all()
    torch.testing.assert_close(noised.clear.flatten(), 1 - noised.times)
