"""InfiniteYou on FLUX against diffusers' FluxControlNetModel and FluxTransformer2DModel: whole samplings, by Euler."""

import math

import comfy.samplers
import flux_cases
import flux_reference
import pytest
import torch
from diffusers import FluxControlNetModel
from host_cases import randn
from likeness.core.host.prompts import landmarks
from likeness.core.host.sampling.strength import Strength
from tiny import flux as tiny
from tiny import infiniteyou
from torch.nn import functional as F

ONE_STEP, WHOLE = 2e-6, 1e-4  # how far a prediction may be off, and a picture after eight steps
GUIDANCE = 1.0  # what the authors' pipeline tells InfuseNet
WEIGHT, STRENGTH = 0.8, 0.9  # ApplyIDAdapter's and LandmarkControl's
HEIGHT, WIDTH = flux_cases.SIZE


class Graph:
    """The tiny FLUX with InfuseNet, in ComfyUI and in diffusers."""

    def __init__(self):
        self.model, weights = tiny.flux(), infiniteyou.infusenet()
        self.net, self.vae, self.adapter = infiniteyou.loaded(weights), flux_cases.vae(), flux_cases.infinite_you()
        self.drawn = flux_cases.drawn()
        self.flux = flux_reference.reference(self.model.model)
        made = FluxControlNetModel(
            patch_size=1, in_channels=64, num_layers=4, num_single_layers=10, attention_head_dim=32,
            num_attention_heads=2, joint_attention_dim=tiny.TEXT, pooled_projection_dim=tiny.POOLED,
            guidance_embeds=True, axes_dims_rope=(8, 12, 12),
        ).eval()  # fmt: skip
        made.load_state_dict(weights)
        self.control = made.requires_grad_(False)
        encoded = self.vae.encode(self.drawn)
        self.hint = self.model.model.latent_format.process_in(encoded)
        self.prompts = flux_cases.conditioning(1), flux_cases.conditioning(2)

    def applied(self, faces, graph=None, **strength):
        """ApplyIDAdapter for each (face, mask), then LandmarkControl: (model, positive, negative)."""
        model, positive, negative = graph or (self.model, *self.prompts)
        for one, mask in faces:
            model, positive, negative = flux_cases.apply(
                model, self.adapter, one, mask, (positive, negative), **{"weight": WEIGHT, **strength}
            )
        conds = landmarks.add_control_net(positive, negative, self.net, self.drawn, Strength(STRENGTH), self.vae)
        return model, *conds

    def tokens(self, one):
        return resampled(dict(self.adapter.patcher.model.state_dict()), one[0].vectors)

    def velocity(self, prompt, people=(), works=lambda sigma: True):
        """The reference's prediction; `people` are (tokens, mask on the tokens or None)."""
        [[context, extras]] = prompt

        def predict(x, sigma):
            more, pooled = {}, extras["pooled_output"]
            if people and works(sigma):
                said = [self._control(x, sigma, pooled, *one) for one in people]
                names = "controlnet_block_samples", "controlnet_single_block_samples"
                more = {
                    name: [sum(blocks) for blocks in zip(*parts, strict=True)]
                    for name, parts in zip(names, zip(*said, strict=True), strict=True)
                }
            return flux_reference.predict(self.flux, x, sigma, context, pooled, extras["guidance"], **more)

        return predict

    def _control(self, x, sigma, pooled, tokens, mask):
        picture, ids = flux_reference._tokens(x)
        hint, _ = flux_reference._tokens(self.hint)
        share = 1.0 if mask is None else mask
        parts = self.control(
            hidden_states=picture * share, controlnet_cond=hint, conditioning_scale=WEIGHT * STRENGTH,
            encoder_hidden_states=tokens, pooled_projections=pooled, timestep=torch.full((1,), sigma), img_ids=ids,
            txt_ids=torch.zeros(tokens.shape[1], 3), guidance=torch.full((1,), GUIDANCE), return_dict=False,
        )  # fmt: skip
        return [[share * block for block in part] for part in parts]


@pytest.fixture(scope="module")
def graph(comfyui):
    return Graph()


def resampled(state, vectors):
    """Tokens of face vectors [1,512], by the formula of a Resampler (pipelines/resampler.py of the authors')."""

    def linear(x, name):
        return F.linear(x, state[f"image_proj.{name}.weight"], state.get(f"image_proj.{name}.bias"))

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], state[f"image_proj.{name}.weight"], state[f"image_proj.{name}.bias"])

    def heads(x):
        return x.view(1, x.shape[1], -1, 64).transpose(1, 2)

    x, latents = linear(vectors[:, None], "proj_in"), state["image_proj.latents"]
    for layer in (f"layers.{number}" for number in range(infiniteyou.LAYERS)):
        seen, asking = norm(x, f"{layer}.0.norm1"), norm(latents, f"{layer}.0.norm2")
        q = heads(linear(asking, f"{layer}.0.to_q"))
        k, v = map(heads, linear(torch.cat([seen, asking], 1), f"{layer}.0.to_kv").chunk(2, -1))
        found = (q @ k.transpose(-2, -1) / math.sqrt(64)).softmax(-1) @ v
        latents = latents + linear(found.transpose(1, 2).flatten(2), f"{layer}.0.to_out")
        inner = F.gelu(linear(norm(latents, f"{layer}.1.0"), f"{layer}.1.1"))
        latents = latents + linear(inner, f"{layer}.1.3")
    return norm(linear(latents, "proj_out"), "norm_out")


def levels(graph, steps):
    return comfy.samplers.calculate_sigmas(graph.model.get_model_object("model_sampling"), "simple", steps).tolist()


def by_euler(graph, predict, steps, seed=1):
    """What Euler's sampler makes of `predict(x, sigma)`, a velocity, on the noise levels of KSampler's "simple"."""
    sigmas = levels(graph, steps)
    x = randn(1, tiny.CHANNELS, HEIGHT, WIDTH, seed=seed) * sigmas[0]
    for sigma, after in zip(sigmas[:-1], sigmas[1:], strict=True):
        x = x + (after - sigma) * predict(x, sigma)
    return graph.model.model.process_latent_out(x)


def difference(one, other):
    return ((one - other).abs().max() / other.abs().max()).item()


def half(left):
    """A mask [1,H,W] of pixels that is white on one side, and what it is on the tokens [1,N,1]."""
    mask = torch.zeros(1, 8 * HEIGHT, 8 * WIDTH)
    side = mask[..., : 4 * WIDTH] if left else mask[..., 4 * WIDTH :]
    side += 1
    return mask, mask[:, ::16, ::16].reshape(1, -1, 1)


def test_the_projection(graph):
    one = flux_cases.face()
    ours, theirs = graph.adapter.patcher.model.project(one[0]), graph.tokens(one)
    assert ours.shape == (1, 8, tiny.TEXT) and difference(ours, theirs) < 1e-6


@pytest.mark.parametrize(("steps", "bound"), [(1, ONE_STEP), (8, WHOLE)])
def test_one_person_in_one_pass(graph, steps, bound):
    one = flux_cases.face()
    ours = flux_cases.sample(*graph.applied([(one, None)]), steps=steps)
    prompt = graph.prompts[0]
    theirs = by_euler(graph, graph.velocity(prompt, [(graph.tokens(one), None)]), steps)
    assert difference(ours, theirs) < bound
    assert difference(ours, flux_cases.sample(graph.model, prompt, prompt, steps=steps)) > 1e-2


def test_with_a_negative_prompt_that_has_no_control(graph):
    one, scale = flux_cases.face(), 3.0
    ours = flux_cases.sample(*graph.applied([(one, None)]), steps=4, cfg=scale)
    positive = graph.velocity(graph.prompts[0], [(graph.tokens(one), None)])
    negative = graph.velocity(graph.prompts[1])

    def guided(x, sigma):
        away = negative(x, sigma)
        return away + scale * (positive(x, sigma) - away)

    assert difference(ours, by_euler(graph, guided, 4)) < WHOLE


def test_two_people_each_in_their_mask_and_beside_a_third_without(graph):
    """A mask multiplies the latents that InfuseNet sees and all that it says, as the authors' node does it."""
    faces = [flux_cases.face(seed) for seed in range(3)]
    sides = half(True), half(False), (None, None)
    ours = flux_cases.sample(
        *graph.applied([(one, mask) for one, (mask, _) in zip(faces, sides, strict=True)]), steps=1
    )
    people = [(graph.tokens(one), tokens) for one, (_, tokens) in zip(faces, sides, strict=True)]
    assert difference(ours, by_euler(graph, graph.velocity(graph.prompts[0], people), 1)) < ONE_STEP


def test_in_a_part_of_the_denoising(graph):
    one, span = flux_cases.face(), (0.3, 0.7)
    ours = flux_cases.sample(*graph.applied([(one, None)], start_at=span[0], end_at=span[1]), steps=8)
    upper, lower = map(graph.model.get_model_object("model_sampling").percent_to_sigma, span)
    acts = [lower <= sigma <= upper for sigma in levels(graph, 8)[:-1]]
    assert True in acts and False in (acts[0], acts[-1])
    predict = graph.velocity(graph.prompts[0], [(graph.tokens(one), None)], lambda sigma: lower <= sigma <= upper)
    assert difference(ours, by_euler(graph, predict, 8)) < WHOLE


def test_beside_pulid(graph):
    """PuLID adds to what a block gives, before the ControlNet does."""
    pulid, who = flux_cases.pulid_flux(), flux_cases.pulid_face()
    one = flux_cases.face()
    applied = flux_cases.apply(graph.model, pulid, who, prompts=graph.prompts)
    ours = flux_cases.sample(*graph.applied([(one, None)], applied), steps=1)
    module = pulid.patcher.model
    layers = [*module.pulid_ca]
    tokens = module.project(who[0])

    def added(number, picture):
        return layers[number](picture, *layers[number].face(tokens))

    hooks = flux_reference.add_after(graph.flux, module.spec.places, added)
    theirs = by_euler(graph, graph.velocity(graph.prompts[0], [(graph.tokens(one), None)]), 1)
    for hook in hooks:
        hook.remove()
    assert difference(ours, theirs) < ONE_STEP
