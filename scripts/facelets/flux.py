"""The FLUX base model: a small FLUX on the same latents, with the U-Net's text encoder, which stays as it is.

ComfyUI's own blocks write into the tensors that they get, which autograd does not forgive, so diffusers' class is
trained, and ComfyUI's own table of names takes its weights over.
"""

import shutil
from collections.abc import Callable

import numpy as np
import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn

from .generator import Generator, trained_generator, trained_text
from .lesson import Foundation, Lesson, Noised, Taught
from .networks import read_finished, sizes, write_finished
from .pack import FIRST, TRIAL, module
from .prompts import END, compact_numbers, encode_captions

GUIDANCE = 3.0  # of the U-Net, where FLUX is to say what it says
SIDE = 8  # tokens across: each is 2 x 2 places of the latents


def to_tokens(latents: Tensor) -> Tensor:
    """[B, C, 2h, 2w] latents -> [B, h * w, 4 C] tokens, as FLUX packs them."""
    count, channels, height, width = latents.shape
    parts = latents.view(count, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return parts.reshape(count, height * width // 4, 4 * channels)


def to_latents(tokens: Tensor) -> Tensor:
    """The way back, of a square picture."""
    count, _, wide = tokens.shape
    parts = tokens.view(count, SIDE, SIDE, wide // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return parts.reshape(count, wide // 4, 2 * SIDE, 2 * SIDE)


class _Attention:
    """What diffusers' own processor computes, in steps that a processor takes faster, and that can be compiled."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, image_rotary_emb=None):
        picture, text = hidden_states, encoder_hidden_states
        q, k, v = (_heads(attn, part(picture)) for part in (attn.to_q, attn.to_k, attn.to_v))
        q, k = attn.norm_q(q), attn.norm_k(k)
        if text is not None:
            q = torch.cat([attn.norm_added_q(_heads(attn, attn.add_q_proj(text))), q], 1)
            k = torch.cat([attn.norm_added_k(_heads(attn, attn.add_k_proj(text))), k], 1)
            v = torch.cat([_heads(attn, attn.add_v_proj(text)), v], 1)
        q, k, v = (_rotated(q, image_rotary_emb).to(v), _rotated(k, image_rotary_emb).to(v), v.transpose(1, 2))
        logits = (q @ k.transpose(-1, -2)).float() * attn.head_dim**-0.5
        out = (logits.softmax(-1).to(v) @ v).transpose(1, 2).flatten(2)
        if text is None:
            return out
        return attn.to_out[0](out[:, text.shape[1] :]), attn.to_add_out(out[:, : text.shape[1]])


def _heads(attn, x: Tensor) -> Tensor:
    return x.unflatten(-1, (-1, attn.head_dim))


def _rotated(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """[B, T, heads, D] -> [B, heads, T, D]: pairs of numbers turned by cosines and sines [T, D], each there twice."""
    cos, sin = (part[None, :, None, ::2] for part in turns)
    one, other = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([one * cos - other * sin, one * sin + other * cos], -1).flatten(-2).transpose(1, 2)


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """Double and single blocks of diffusers' FLUX or ControlNet."""
    return [*model.transformer_blocks, *model.single_transformer_blocks]


def attend_quickly(model: nn.Module):
    """Give diffusers' FLUX or ControlNet the attention above."""
    for block in blocks_of(model):
        block.attn.processor = _Attention()


def compile_blocks(model: nn.Module):
    """Compile its blocks, where there is a compiler and enough to do: it takes two minutes, and then a step takes two
    thirds of its time."""
    if shutil.which("g++") and not TRIAL:
        for block in blocks_of(model):
            block.compile(fullgraph=True, dynamic=False)


def new_flux() -> FluxTransformer2DModel:
    """diffusers' class in the small size, uninitialised."""
    size = sizes().FLUX
    heads = size["num_heads"]
    flux = FluxTransformer2DModel(
        patch_size=1, in_channels=4 * size["in_channels"], num_layers=size["depth"],
        num_single_layers=size["depth_single_blocks"], attention_head_dim=size["hidden_size"] // heads,
        num_attention_heads=heads, joint_attention_dim=size["context_in_dim"],
        pooled_projection_dim=size["vec_in_dim"], guidance_embeds=size["guidance_embed"],
        axes_dims_rope=tuple(size["axes_dim"]),
    )  # fmt: skip
    attend_quickly(flux)
    return flux


def begin(module: nn.Module):
    """First weights of diffusers' FLUX or of some blocks of it, which begin as identities: their gates are zero. What a
    gate lets through is not, or neither would ever get a gradient."""
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if name.endswith(("norm1.linear", "norm1_context.linear", "norm.linear")):
                nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)


class Flux(Foundation):
    """The small FLUX, as diffusers has it, and the frozen text encoder."""

    logits = 0.3, 1.0  # mean and deviation of the logits of the times that it is trained at

    def __init__(self, text: nn.Module):
        super().__init__()
        self.flux, self.text = new_flux(), text
        begin(self.flux)
        for last in (self.flux.norm_out.linear, self.flux.proj_out):
            nn.init.zeros_(last.weight)
        places = torch.zeros(SIDE, SIDE, 3)
        places[..., 1], places[..., 2] = torch.arange(SIDE)[:, None], torch.arange(SIDE)[None]
        self.register_buffer("places", places.flatten(0, 1), persistent=False)

    @torch.no_grad()
    def prompt(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 77] rows of the text encoder's table -> context [B, FLUX_TEXT, 128], and what is at its end token."""
        context = self.text(rows)[0]
        ends = (rows == int(compact_numbers()[END])).int().argmax(1)
        return context[:, : sizes().FLUX_TEXT], context[torch.arange(len(rows), device=rows.device), ends]

    def noised(self, latents: Tensor) -> Noised:
        """Most of the times are in the middle (Esser et al. 2024)."""
        middle, wide = self.logits
        return self.noised_to(latents, torch.sigmoid(middle + wide * torch.randn(len(latents), device=latents.device)))

    def noised_to(self, latents: Tensor, level: Tensor) -> Noised:
        """Latents with these shares [B] of noise."""
        noise, spread = torch.randn_like(latents), level.view(-1, 1, 1, 1)
        noisy, velocity = (1 - spread) * latents + spread * noise, noise - latents
        return Noised(noisy, level, 1 - spread, torch.ones_like(spread), spread, velocity)

    def inputs(self, noised: Noised, prompt: tuple[Tensor, Tensor]) -> dict:
        """What diffusers' FLUX and its ControlNet are called with. prompt: context [B, T, 128], pooled [B, 128]."""
        context, pooled = prompt
        return {
            "hidden_states": to_tokens(noised.latents),
            "timestep": noised.times,
            "encoder_hidden_states": context,
            "pooled_projections": pooled,
            "img_ids": self.places,
            "txt_ids": self.places.new_zeros(context.shape[1], 3),
            "return_dict": False,
        }

    def velocity(self, noised: Noised, prompt: tuple[Tensor, Tensor], residuals: list[Tensor] | None = None) -> Tensor:
        """residuals: what a ControlNet adds to the double blocks, in turn."""
        predicted = self.flux(**self.inputs(noised, prompt), controlnet_block_samples=residuals,
                              controlnet_blocks_repeat=True)[0]  # fmt: skip
        return to_latents(predicted.float())


class FluxFirst(Lesson):
    """The first part of the lesson, at high rates: a stage of its own, so that it can be kept. The parts after it each
    go on from the file of the one `before`."""

    name = "flux_first"
    file = f"{FIRST}flux"
    before: str | None = None
    seed = 5
    steps = 2600
    batch = 64
    rate = 1e-3
    matrix_rate = 2e-3
    warm_up = 200
    floor = 0.6
    average = 0.998
    kind: type[Taught] = Taught
    logits = Flux.logits

    def build(self):
        base = trained_flux(self.before) if self.before else Flux(trained_text())
        base.logits = self.logits
        base.flux.requires_grad_(True)
        compile_blocks(base.flux)
        return self.kind(base)

    def is_matrix(self, name):
        return "transformer_blocks." in name

    def export(self, model, summary):
        write_finished(self.file, to_comfyui(model.base.flux.state_dict()), summary)


class FluxBase(FluxFirst):
    """The rest of it."""

    name = "flux"
    file = f"{FIRST}flux_base"
    before = FluxFirst.file
    seed = 7
    steps = 6000
    rate = 7e-4
    matrix_rate = 1.4e-3
    floor = 0.02


class Pupil(Taught):
    """With the U-Net, which knows the same latents better."""

    def __init__(self, base: Flux):
        super().__init__(base)
        self.teacher = trained_generator()
        self.register_buffer("nothing", said_nothing(self.teacher), persistent=False)

    def said(self, noised: Noised, rows: Tensor, guidance: float) -> Tensor:
        """What the U-Net predicts on its own schedule, with this guidance."""
        said = self.teacher.velocity(noised, self.teacher.prompt(rows))
        if guidance != 1:
            said = torch.lerp(self.teacher.velocity(noised, self.nothing.expand(len(rows), -1, -1)), said, guidance)
        return said


def said_nothing(teacher: Generator) -> Tensor:
    """What the empty prompt says [1, 77, 128]."""
    with torch.no_grad():
        return teacher.prompt(torch.as_tensor(encode_captions([""], np.random.default_rng(0))))


@torch.no_grad()
def taught(noised: Noised, levels: Tensor, said: Callable[[Noised], Tensor]) -> Noised:
    """The same with the velocity that leads to the clean latents which the U-Net expects behind the same noise.

    levels [1000]: of its schedule. said: what it predicts of latents on that.
    """
    ratio = (noised.clear.flatten() / noised.spread.flatten()).square()
    nearest = torch.searchsorted(-levels, -ratio / (1 + ratio)).clamp(max=len(levels) - 1)
    level = levels[nearest].view(-1, 1, 1, 1)
    # on the U-Net's schedule picture and noise have a variance of 1 together
    seen = noised.latents / (noised.clear.square() + noised.spread.square()).sqrt()
    asked = Noised(seen, nearest.float(), level.sqrt(), level.sqrt(), (1 - level).sqrt(), noised.velocity)
    velocity = (noised.latents - asked.expected(said(asked))) / noised.spread
    # that schedule begins at a noise of 0.03
    return noised._replace(velocity=torch.where(noised.spread < 0.05, noised.velocity, velocity))


class FluxDetails(FluxBase):
    """To say what the U-Net says of the same noise, which no noise disturbs: shapes come from the lessons before, sharp
    edges from this one (the distillation of Salimans and Ho 2022, from one architecture to another)."""

    name = "flux_details"
    file = f"{FIRST}flux_details"
    before = FluxBase.file
    seed = 9
    steps = 3200
    rate = 8e-4
    matrix_rate = 1.6e-3
    kind = Pupil
    logits = -0.3, 1.4  # more of the times at low noise
    guidance = 1.0

    def aimed(self, model: Pupil, noised: Noised, rows: Tensor) -> Noised:
        return taught(noised, model.teacher.levels, lambda asked: model.said(asked, rows, self.guidance))


class FluxGuided(FluxDetails):
    """To say at once what the U-Net says with guidance, as the published FLUX was taught (Meng et al. 2023): guidance
    would multiply what a small model is off by."""

    name = "flux_guided"
    file = "flux_guided"
    before = FluxDetails.file
    seed = 13
    steps = 3300
    rate = 1e-3
    matrix_rate = 2e-3
    logits = 0.0, 1.4
    guidance = GUIDANCE


class FluxWhole(FluxGuided):
    """The same lesson once more. The file that it starts from was trained while the single blocks could not learn, so
    these begin anew."""

    name = "flux_whole"
    file = "flux"
    before = FluxGuided.file
    seed = 15
    steps = 3000
    batch = 32
    rate = 8e-4
    matrix_rate = 1.6e-3

    def build(self):
        model = super().build()
        for block in model.base.flux.single_transformer_blocks:
            if not block.proj_out.weight.any():
                begin(block)
        return model


def to_comfyui(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of diffusers' FLUX under the names and in the layout that ComfyUI's class has."""
    copies = {key: value.clone() for key, value in weights.items()}  # ComfyUI writes into some of them
    converted = module("comfy.model_detection").convert_diffusers_mmdit(copies, "")
    assert converted is not None
    return converted


def to_diffusers(weights: dict[str, Tensor], like: dict[str, Tensor]) -> dict[str, Tensor]:
    """The way back, to tensors `like` these: numbers are followed to where they go."""
    counts = [value.numel() for value in like.values()]
    numbers = torch.arange(sum(counts)).split(counts)
    places = to_comfyui({key: part.view_as(like[key]) for key, part in zip(like, numbers, strict=True)})
    flat = torch.zeros(sum(counts))
    for key, value in weights.items():
        flat[places[key].flatten()] = value.flatten()
    return {key: part.view_as(like[key]) for key, part in zip(like, flat.split(counts), strict=True)}


def trained_flux(name: str = FluxWhole.file) -> Flux:
    """The base model as its stages left it, frozen, in fp32; its text encoder knows the world's words only."""
    base = Flux(trained_text())
    base.flux.load_state_dict(to_diffusers(read_finished(name), base.flux.state_dict()))
    return base.eval().requires_grad_(False)
