"""The U-Net's adapter in the InstantID checkpoint layout, and its landmark ControlNet.

The ControlNet sees the drawn landmarks and, in place of the prompt, identity tokens; in the training those of another
person. It begins as a copy of the U-Net's first half (Zhang et al. 2023).
"""

import torch
from torch import Tensor, nn

from . import networks
from .generator import Generator, trained_generator
from .likeness import FACE_DIM, SPACE, Likeness, LikenessLesson, WeightLesson
from .pack import module
from .reader import trained_reader
from .training import initialise, quicken

TOKENS, WIDTH, DEPTH = 16, 128, 2


def new_adapter(generator: Generator) -> nn.Module:
    """The pack's own InstantID module with first weights: keys and values begin as the text's."""
    sites = attention_sites(generator)
    shapes = {"image_proj.latents": (1, TOKENS, WIDTH), "image_proj.proj_in.weight": (WIDTH, FACE_DIM),
              "image_proj.proj_out.weight": (WIDTH, WIDTH)}  # fmt: skip
    shapes |= {f"image_proj.layers.{layer}.0.to_q.weight": (WIDTH, WIDTH) for layer in range(DEPTH)}
    for number, (_, attention) in enumerate(sites):
        shapes |= {f"ip_adapter.{2 * number + 1}.to_{part}_ip.weight": attention.to_k.weight.shape for part in "kv"}
    tensors = {key: torch.zeros(shape) for key, shape in shapes.items()}
    instantid = module("core.adapters.instantid")
    clues = module("core.adapters").Clues("ip_adapter.safetensors", {"likeness.face_space": SPACE})
    adapter = instantid.InstantID(instantid.recognise(tensors, clues), tensors)
    initialise(adapter)
    nn.init.normal_(adapter.image_proj.latents, std=WIDTH**-0.5)
    with torch.no_grad():
        for site, (_, attention) in zip(adapter.ip_adapter.values(), sites, strict=True):
            site.to_k_ip.weight.copy_(attention.to_k.weight)
            site.to_v_ip.weight.copy_(attention.to_v.weight * 0.5)
    return adapter


def attention_sites(generator: Generator) -> list:
    """(ComfyUI's key, attention module) of every cross-attention in the order of adapter checkpoints: down, up,
    middle."""
    found = []
    for kind in ("input", "output", "middle"):
        blocks = [generator.unet.middle_block] if kind == "middle" else getattr(generator.unet, f"{kind}_blocks")
        for number, block in enumerate(blocks):
            for layer in block:
                for index, transformer in enumerate(getattr(layer, "transformer_blocks", ())):
                    found.append(((kind, number, index), transformer.attn2))
    return found


def with_identity(generator: Generator, adapter: nn.Module, tokens: Tensor, weights: Tensor | float = 1.0) -> dict:
    """transformer_options that add the identity of tokens [B, TOKENS, WIDTH] at weights [B, 1, 1], one row per picture,
    at every site. Its attention is linear in V, so the weights are folded into that."""
    attend = module("comfy.ldm.modules.attention").optimized_attention
    residual = module("core.attention").identity_residual

    def patch(k_id, v_id):
        def attention(q, k, v, options):
            return attend(q, k, v, options["n_heads"]) + residual(q, k_id, v_id, options["n_heads"])

        return attention

    keys = [key for key, _ in attention_sites(generator)]
    pairs = adapter.keys_values(tokens)
    patches = {key: patch(k, weights * v) for key, (k, v) in zip(keys, pairs, strict=True)}
    return {"patches_replace": {"attn2": patches}}


def new_control_net(unet: nn.Module) -> nn.Module:
    """ComfyUI's ControlNet with the U-Net's weights; what joins it to the U-Net begins at zero."""
    control = networks.new_control_net()
    initialise(control)
    known = unet.state_dict()
    control.load_state_dict({key: known.get(key, value) for key, value in control.state_dict().items()})
    for part in (*control.zero_convs, control.middle_block_out, control.input_hint_block[-1]):
        for parameter in part.parameters():
            nn.init.zeros_(parameter)
    quicken(control)
    return control


class UNetLikeness(Likeness):
    """On the U-Net."""

    def __init__(self):
        super().__init__()
        self.base: Generator = trained_generator()
        self.reader = trained_reader()
        self.adapter = new_adapter(self.base)
        self.control = new_control_net(self.base.unet)

    def identity(self, vectors):
        return self.adapter.image_proj(vectors[:, None])

    def control_residuals(self, noised, hints, prompt, tokens):
        # of the next in the batch; a prompt is its own
        read = prompt if tokens is None else tokens.detach().roll(1, 0)
        return self.control(x=noised.latents, hint=hints, timesteps=noised.times, context=read)

    def predicted(self, noised, prompt, tokens, residuals, weights=1.0):
        options = {} if tokens is None else with_identity(self.base, self.adapter, tokens, weights)
        return self.base.velocity(noised, prompt, residuals, options)

    @torch.no_grad()
    def weaken(self, share):
        for site in self.adapter.ip_adapter.values():
            site.to_v_ip.weight.mul_(share)

    def control_weights(self):
        return self.control.state_dict()


class Adapter(LikenessLesson):
    name = "adapter"
    seed = 3

    def build(self):
        return UNetLikeness()


class AdapterWeight(WeightLesson):
    name = "adapter_weight"
    seed = 10
    first = Adapter
    adapter_file, control_file = "ip_adapter", "controlnet"
