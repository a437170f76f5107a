"""The FLUX base model: a small FLUX on the same latents, with the U-Net's text encoder, which stays as it is.

ComfyUI's own blocks write into the tensors that they get, which autograd does not forgive, so diffusers' class is
trained, and ComfyUI's own table of names takes its weights over.
"""

import json

import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import save_file
from torch import Tensor, nn

from .dataset import Portraits
from .generator import trained_text
from .lesson import Lesson, Noised, Taught
from .networks import FLUX
from .pack import FINISHED, module
from .prompts import END, compact_numbers
from .reader import trained_reader

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


def new_flux() -> FluxTransformer2DModel:
    """diffusers' class in the small size, uninitialised."""
    heads = FLUX["num_heads"]
    return FluxTransformer2DModel(
        patch_size=1, in_channels=4 * FLUX["in_channels"], num_layers=FLUX["depth"],
        num_single_layers=FLUX["depth_single_blocks"], attention_head_dim=FLUX["hidden_size"] // heads,
        num_attention_heads=heads, joint_attention_dim=FLUX["context_in_dim"],
        pooled_projection_dim=FLUX["vec_in_dim"], guidance_embeds=FLUX["guidance_embed"],
        axes_dims_rope=tuple(FLUX["axes_dim"]),
    )  # fmt: skip


class TaughtFlux(Taught):
    """The FLUX that is trained, the frozen text encoder and the frozen reader."""

    def __init__(self):
        super().__init__()
        self.flux = new_flux()
        for name, part in self.flux.named_modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                # blocks begin as identities
                if name.endswith(
                    ("norm1.linear", "norm1_context.linear", "norm.linear", "norm_out.linear", "proj_out")
                ):
                    nn.init.zeros_(part.weight)
                nn.init.zeros_(part.bias)
        self.text = trained_text()
        self.reader = trained_reader()
        places = torch.zeros(SIDE, SIDE, 3)
        places[..., 1], places[..., 2] = torch.arange(SIDE)[:, None], torch.arange(SIDE)[None]
        self.register_buffer("places", places.flatten(0, 1), persistent=False)

    @torch.no_grad()
    def prompt(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 77] rows of the text encoder's table -> context [B, 77, 128], and of it what stands at the end token."""
        context = self.text(rows)[0]
        ends = (rows == int(compact_numbers()[END])).int().argmax(1)
        return context, context[torch.arange(len(rows), device=rows.device), ends]

    def noised(self, latents):
        """Most of the levels are in the middle (Esser et al. 2024)."""
        level = torch.sigmoid(torch.randn(len(latents), device=latents.device) + 0.3)
        noise, spread = torch.randn_like(latents), level.view(-1, 1, 1, 1)
        noisy, velocity = (1 - spread) * latents + spread * noise, noise - latents
        return Noised(noisy, level, 1 - spread, torch.ones_like(spread), spread, velocity)

    def predicted(self, noised, rows):
        return self.velocity(noised.latents, noised.times, *self.prompt(rows))

    def velocity(self, latents: Tensor, level: Tensor, context: Tensor, pooled: Tensor) -> Tensor:
        """[B, 16, 16, 16]: what is predicted at latents of these levels [B]."""
        words = self.places.new_zeros(context.shape[1], 3)
        predicted = self.flux(
            hidden_states=to_tokens(latents), timestep=level, pooled_projections=pooled, encoder_hidden_states=context,
            img_ids=self.places, txt_ids=words, return_dict=False,
        )[0]  # fmt: skip
        return to_latents(predicted.float())


class FluxBase(Lesson):
    name = "flux"
    seed = 5
    steps = 20_000
    batch = 64
    rate = 1e-3
    matrix_rate = 2e-3
    warm_up = 200
    average = 0.9995

    def build(self):
        self.portraits = Portraits()
        return TaughtFlux()

    def is_matrix(self, name):
        return "transformer_blocks." in name

    def export(self, model, summary):
        weights = {key: value.half().contiguous() for key, value in to_comfyui(model.flux).items()}
        save_file(weights, FINISHED / "flux.safetensors", {"likeness.training": json.dumps(summary)})


def to_comfyui(flux: FluxTransformer2DModel) -> dict[str, Tensor]:
    """Its weights under the names and in the layout that ComfyUI's class has."""
    weights = {key: value.clone() for key, value in flux.state_dict().items()}  # ComfyUI writes into some of them
    converted = module("comfy.model_detection").convert_diffusers_mmdit(weights, "")
    assert converted is not None
    return converted
