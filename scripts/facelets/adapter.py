"""The U-Net's adapter in the InstantID checkpoint layout, and its landmark ControlNet.

The ControlNet sees the drawn landmarks and, in place of the prompt, identity tokens; in the training those of another
person. It begins as a copy of the U-Net's first half (Zhang et al. 2023).
"""

import torch
from torch import Tensor, nn

from . import networks
from .generator import Generator, trained_generator
from .likeness import ALONE, BOTH, DEFAULT, FACE_DIM, LOWER, POSE, SPACE, Likeness, LikenessLesson
from .networks import read_finished, write_finished
from .pack import FIRST, module
from .reader import trained_reader
from .training import initialise, quicken

TOKENS, WIDTH, DEPTH = 16, 128, 2
FIRST_FILE, ADAPTER_FILE, CONTROL_FILE = f"{FIRST}adapter", "ip_adapter", "controlnet"


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
    def weaken(self, share: float):
        """Let the adapter add so much of what it adds."""
        for site in self.adapter.ip_adapter.values():
            site.to_v_ip.weight.mul_(share)

    def control_weights(self):
        return self.control.state_dict()


class Adapter(LikenessLesson):
    name = "adapter"
    seed = 3

    def build(self):
        return UNetLikeness()

    def export(self, model, summary):
        write_finished(FIRST_FILE, model.learned(), self.described(summary))


class AdapterWeight(Adapter):
    """The second lesson. After the first, half of the weight brings nearly the whole person. So at lower weights the
    target lies between what the base says and the truth, for likeness to fall with the weight; the look is asked for at
    every weight."""

    name = "adapter_weight"
    seed = 10
    steps = 700
    rate = 5e-4
    matrix_rate = 2e-3
    warm_up = 50
    average = 0.995
    kinds = {ALONE: 0.3, BOTH: 0.4, POSE: 0.3}
    found = 0.0
    ill = 2.0
    lower = LOWER
    weight = DEFAULT
    falls = 3  # power of the part that is asked for, where the target is
    kept = 0.625  # of what the adapter adds, in its file; with all of it prompts lose 40 points, pictures are stained

    def build(self):
        model = super().build()
        model.recall(read_finished(FIRST_FILE))
        return model

    def aimed(self, model, noised, shown):
        if shown.vectors is None or (shown.part == 1).all():
            return noised
        nobody = model.predicted(noised, shown.prompt, None, shown.residuals)
        return noised._replace(
            velocity=torch.lerp(nobody, noised.velocity, shown.part[:, None, None, None] ** self.falls)
        )

    def export(self, model, summary):
        model.weaken(self.kept)
        self.finish(model, summary, ADAPTER_FILE, CONTROL_FILE)


def trained_likeness() -> UNetLikeness:
    """Adapter and ControlNet as the last lesson left them, on the base, frozen, in fp32."""
    model = UNetLikeness()
    model.adapter.load_state_dict(read_finished(ADAPTER_FILE))
    model.control.load_state_dict(read_finished(CONTROL_FILE))
    return model.eval().requires_grad_(False)
