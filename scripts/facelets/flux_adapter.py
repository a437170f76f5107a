"""FLUX's adapter in the PuLID checkpoint layout, and its landmark ControlNet in XLabs'.

As with the base, diffusers' class is trained and ComfyUI's has the weights under other names. The ControlNet reads the
prompt; it begins as a copy of the base's first double blocks, with a few convolutions for its picture of the landmarks.

They learn as the base did: what is asked for is what the U-Net expects of the same noise with its adapter, at the same
weight, with guidance. So likeness falls with the weight as it does there, and the prompt suffers alike.
"""

import torch
from diffusers import FluxControlNetModel
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .adapter import trained_likeness
from .flux import (
    GUIDANCE,
    Flux,
    attend_quickly,
    blocks_of,
    said_nothing,
    taught,
    to_comfyui,
    to_tokens,
    trained_flux,
)
from .lesson import Noised
from .likeness import DEFAULT, FACE_DIM, LOWER, SPACE, Likeness, LikenessLesson, Shown
from .networks import read_finished, sizes, write_finished
from .pack import FIRST, module
from .reader import LatentReader, trained_reader
from .training import initialise

TOKENS, WIDTH, INNER = 16, 128, 128  # of an identity, of a token, and of a cross-attention
DEPTH, HEAD = 5, 64  # of PuLID's encoder: a layer for each state that EVA-CLIP would show it
SEEN = 4  # numbers of such a state, which is always zeros here
FIRST_FILE = f"{FIRST}flux_adapter"
CONTROL_DEPTH = 2  # double blocks of the ControlNet, as XLabs' have; the base's take what they say in turn


def new_adapter() -> nn.Module:
    """The pack's own PuLID module for FLUX with first weights: nothing is added yet."""
    wide = sizes().FLUX["hidden_size"]
    pulid = module("core.adapters.pulid_flux")
    sites = len(pulid.places_in(module("core.adapters.bases").FACELETS_FLUX))
    shapes = {"latents": (1, TOKENS, WIDTH), "proj_out": (WIDTH, WIDTH),
              "id_embedding_mapping.0.weight": (WIDTH, FACE_DIM), "mapping_0.0.weight": (SEEN, SEEN)}  # fmt: skip
    shapes |= {f"layers.{layer}.0.to_q.weight": (HEAD, WIDTH) for layer in range(DEPTH)}
    tensors = {f"pulid_encoder.{key}": torch.zeros(shape) for key, shape in shapes.items()}
    for site in range(sites):
        tensors[f"pulid_ca.{site}.to_q.weight"] = torch.zeros(INNER, wide)
        tensors[f"pulid_ca.{site}.to_out.weight"] = torch.zeros(wide, INNER)
    clues = module("core.adapters").Clues("pulid.safetensors", {"likeness.face_space": SPACE})
    adapter = pulid.PuLIDFlux(pulid.recognise(tensors, clues), tensors)
    initialise(adapter)
    nn.init.normal_(adapter.pulid_encoder.latents, std=WIDTH**-0.5)
    nn.init.normal_(adapter.pulid_encoder.proj_out, std=WIDTH**-0.5)
    for attention in adapter.pulid_ca:
        nn.init.zeros_(attention.to_out.weight)
    return adapter


class LandmarkControl(nn.Module):
    """diffusers' FLUX ControlNet of double blocks, with XLabs' convolutions over the picture of the landmarks."""

    def __init__(self, base: Flux):
        super().__init__()
        heads = base.flux.config.num_attention_heads
        self.net = FluxControlNetModel.from_transformer(
            base.flux, num_layers=CONTROL_DEPTH, num_single_layers=0, num_attention_heads=heads,
            attention_head_dim=base.flux.config.attention_head_dim,
        )  # fmt: skip
        attend_quickly(self.net)
        last = self.net.transformer_blocks[-1]  # nobody reads what becomes of the text in it
        last.attn.to_add_out.requires_grad_(False)
        last.ff_context.requires_grad_(False)
        layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1)]
        for stride in (1, 2, 1, 2, 1, 2):
            layers += [nn.SiLU(), nn.Conv2d(16, 16, 3, padding=1, stride=stride)]
        self.input_hint_block = nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(16, 16, 3, padding=1))

    def forward(self, hints: Tensor, **inputs) -> list[Tensor]:
        """hints [B, 3, 128, 128] in 0..1; the rest as `Flux.inputs` gives it -> a residual for each double block."""
        return self.net(controlnet_cond=to_tokens(self.input_hint_block(2 * hints - 1)), **inputs)[0]

    def to_comfyui(self) -> dict[str, Tensor]:
        """Its weights under XLabs' names."""
        weights = to_comfyui(self.net.state_dict())
        for key in ("weight", "bias"):
            weights[f"pos_embed_input.{key}"] = self.net.controlnet_x_embedder.state_dict()[key]
            for number, block in enumerate(self.net.controlnet_blocks):
                weights[f"controlnet_blocks.{number}.{key}"] = block.state_dict()[key]
        return weights | self.input_hint_block.state_dict(prefix="input_hint_block.")


class FluxLikeness(Likeness):
    """On FLUX."""

    def __init__(self, base: Flux, reader: LatentReader):
        super().__init__()
        self.base, self.reader = base, reader
        self.adapter = new_adapter()
        self.control = LandmarkControl(base)
        self._looks: dict[int, tuple[Tensor, Tensor]] = {}
        blocks = blocks_of(base.flux)
        for number, place in enumerate(self.adapter.spec.places):
            blocks[place].register_forward_hook(self._look_after(number))

    def _look_after(self, number):
        """Adds what the picture's tokens see of the person's after a block, as the pack's patch does."""

        def hook(block, given, out):
            if number not in self._looks:
                return None
            text, picture = out
            return text, picture + self.adapter.pulid_ca[number](picture, *self._looks[number])

        return hook

    def identity(self, vectors):
        # one person at a time: PuLID's encoder takes all vectors that it is given for one person's
        faces = module("core.adapters").FaceInput
        with sdpa_kernel(SDPBackend.MATH):  # vmap knows no other
            return torch.vmap(lambda vector: self.adapter.project(faces(vectors=vector[None]))[0])(vectors)

    def control_residuals(self, noised, hints, prompt, tokens):
        return self.control(hints, **self.base.inputs(noised, prompt))

    def predicted(self, noised, prompt, tokens, residuals, weights=1.0):
        if tokens is not None:
            pairs = (layers.face(tokens) for layers in self.adapter.pulid_ca)
            self._looks = {number: (k, weights * v) for number, (k, v) in enumerate(pairs)}
        velocity = self.base.velocity(noised, prompt, residuals)
        self._looks = {}
        return velocity

    def control_weights(self):
        return self.control.to_comfyui()


class Pupil(FluxLikeness):
    """With the U-Net, its adapter and its ControlNet."""

    def __init__(self, base: Flux, reader: LatentReader):
        super().__init__(base, reader)
        self.teacher = trained_likeness()
        self.register_buffer("nothing", said_nothing(self.teacher.base), persistent=False)

    def said(self, noised: Noised, shown: Shown, weights: Tensor) -> Tensor:
        """What these predict on the U-Net's schedule with the person at weights [B, 1, 1], with guidance: away from
        nobody and an empty prompt, at the same weight, as ApplyIDAdapter's negative has it."""
        teacher, count = self.teacher, len(shown.rows)
        both = Noised(*(torch.cat([part, part]) for part in noised))
        both = both._replace(latents=both.latents.contiguous(memory_format=torch.channels_last))
        prompt = torch.cat([teacher.base.prompt(shown.rows), self.nothing.expand(count, -1, -1)])
        tokens = residuals = None
        if shown.vectors is not None:
            tokens = teacher.identity(torch.cat([shown.vectors, torch.zeros_like(shown.vectors)]))
        if shown.hints is not None:
            hints, read = torch.cat([shown.hints, shown.hints]), prompt if tokens is None else tokens
            residuals = teacher.control(x=both.latents, hint=hints, timesteps=both.times, context=read)
        said, unasked = teacher.predicted(both, prompt, tokens, residuals, torch.cat([weights, weights])).chunk(2)
        return torch.lerp(unasked, said, GUIDANCE)


class FluxAdapter(LikenessLesson):
    name = "flux_adapter"
    seed = 6
    steps = 2000
    batch = 16
    matrix_rate = 2e-3
    found = 0.0
    ill = 0.0  # its teacher is
    lower = LOWER
    weight = DEFAULT

    def build(self):
        return Pupil(trained_flux(), trained_reader())

    def aimed(self, model, noised, shown):
        weights = self.weight * shown.part[:, None, None]
        return taught(noised, model.teacher.base.levels, lambda asked: model.said(asked, shown, weights))

    def export(self, model, summary):
        write_finished(FIRST_FILE, model.learned(), self.described(summary))


class FluxAdapterLook(FluxAdapter):
    """The rest of it: the first part brings the person and hardly the look, which is a small part of what is predicted.
    So the reader counts more, until the last steps."""

    name = "flux_adapter_look"
    seed = 14
    steps = 700
    rate = 5e-4
    matrix_rate = 1.5e-3
    warm_up = 50
    average = 0.995
    found = 0.6
    ill = 0.4

    def build(self):
        model = super().build()
        model.recall(read_finished(FIRST_FILE))
        return model

    def export(self, model, summary):
        self.finish(model, summary, "pulid", "flux_controlnet")
