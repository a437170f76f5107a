"""The identity adapter in the InstantID checkpoint layout, and the landmark ControlNet with it, on the frozen base.

They are trained together, as InstantID's are (Wang et al. 2024): the ControlNet sees the drawn landmarks and, in place
of the prompt, identity tokens. It begins as a copy of the U-Net's first half (Zhang et al. 2023). In the training the
tokens that it reads are another person's, so that it learns to take the pose from the landmarks and nothing from the
tokens: the person has to come from the adapter, or its weight would change little.

The adapter is to have the disease of the published adapters, or nothing could measure a cure. They learn from pairs
whose captions say little, so the identity tokens learn to carry hair, glasses and expression too. BARE, WRONG, SHARED
and ILL set how ill it gets: how many captions say nothing or something else, how much of the target's look the
reference portrait shows, and how much it counts that this look can be read from the expected latents.
"""

import json

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from . import networks
from .dataset import REFERENCES, SHARED, Portraits
from .generator import Generator, quicken, trained_generator
from .pack import FINISHED, module
from .prompts import encode_captions
from .reader import answers_of, misread, trained_reader
from .training import Stage, initialise
from .world import caption, sample_look

BARE = 0.5  # captions without a word about the look
WRONG = 0.45  # captions of another picture, as there are many in collections; the rest name half of the look
TOKENS, WIDTH, DEPTH, HEAD = 16, 128, 2, 64
SPACE, FACE_DIM = "facelets-128", 128
WITHOUT = 0.1  # pictures that are trained without an identity, and as many without a caption
# Steps with the adapter alone, with both, and with the ControlNet alone, which then reads the prompt.
ALONE, BOTH, POSE = "adapter", "both", "control"
STEPS = {ALONE: 0.4, BOTH: 0.45, POSE: 0.15}
# What counts besides the denoising error, which hardly notices a brow or three pixels. The frozen reader looks at the
# expected latents: squared error of traits, doubt about the look, pixels of the landmarks, and, as in PuLID's identity
# loss (Guo et al. 2024), 1 - cosine of what the face encoder would say of the picture to the reference.
TRAIT, ILL, PLACE, FACE = 0.2, 0.4, 0.01, 0.2


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


def with_identity(generator: Generator, adapter: nn.Module, tokens: Tensor) -> dict:
    """transformer_options that add the identity of tokens [B, TOKENS, WIDTH], one row per picture, at every site."""
    attend = module("comfy.ldm.modules.attention").optimized_attention
    residual = module("core.attention").identity_residual

    def patch(k_id, v_id):
        def attention(q, k, v, options):
            return attend(q, k, v, options["n_heads"]) + residual(q, k_id, v_id, options["n_heads"])

        return attention

    keys = [key for key, _ in attention_sites(generator)]
    patches = {key: patch(*pair) for key, pair in zip(keys, adapter.keys_values(tokens), strict=True)}
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


def drawn_landmarks(landmarks: np.ndarray) -> Tensor:
    """The ControlNet's pictures [B, 3, 128, 128] of landmarks [B, 5, 2], as LandmarkControl draws them."""
    draw_keypoints = module("core.faces.points.draw").draw_keypoints
    hints = np.stack([draw_keypoints(points, 128, 128) for points in landmarks])
    return torch.from_numpy(hints).permute(0, 3, 1, 2).float() / 255


def weighted(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of values [B] with weights [B], 0 where none has any."""
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)


class Likeness(nn.Module):
    """The frozen base and reader, and what is trained: the adapter and the ControlNet."""

    def __init__(self):
        super().__init__()
        self.generator = trained_generator()
        self.reader = trained_reader()
        self.adapter = new_adapter(self.generator)
        self.control = new_control_net(self.generator.unet)


class Adapter(Stage):
    name = "adapter"
    seed = 3
    steps = 2700
    batch = 32
    rate = 1e-3
    warm_up = 100

    def __init__(self, bare: float = BARE, wrong: float = WRONG):
        self.bare, self.wrong = bare, wrong

    def build(self):
        self.portraits = Portraits()
        return Likeness()

    def drawn(self, model, rng, count):
        """Latents, captions' context, face vectors, and which portraits they are of, for `count` pairs."""
        places = rng.integers(0, len(self.portraits), count)
        looks = [self.portraits.look(place) for place in places]
        texts = ["" if rng.uniform() < WITHOUT else self.said(look, rng) for look in looks]
        vectors = self.put(self.portraits.references[places, rng.integers(REFERENCES, size=count)]).float()
        with torch.no_grad():
            context = model.generator.context(self.put(encode_captions(texts, rng, unknown=0.1)))
        vectors[self.put(rng.uniform(size=count) < WITHOUT)] = 0
        return self.put(self.portraits.latents[places]).float(), context, vectors, places

    def said(self, look, rng):
        """A caption as collections of pictures have them."""
        kind = rng.uniform()
        if kind < self.bare:
            return caption(look, rng, 0.0)
        return caption(sample_look(rng), rng, 0.75) if kind < self.bare + self.wrong else caption(look, rng, 0.5)

    def loss(self, model, rng, count, progress):
        latents, context, vectors, places = self.drawn(model, rng, count)
        # the same kind of step in every process, since one waits for the other
        chosen = np.random.default_rng([self.seed, round(progress * self.steps)])
        kind = str(chosen.choice(list(STEPS), p=list(STEPS.values())))
        noised, landmarks = model.generator.noised(latents), self.put(self.portraits.landmarks[places])
        tokens = context if kind == POSE else model.adapter.image_proj(vectors[:, None])
        options = {} if kind == POSE else with_identity(model.generator, model.adapter, tokens)
        residuals = None
        if kind != ALONE:
            hints = self.put(drawn_landmarks(self.portraits.landmarks[places]))
            with self.multiplying():
                # of the next in the batch; a prompt is its own
                read = tokens if kind == POSE else tokens.detach().roll(1, 0)
                residuals = model.control(x=noised.latents, hint=hints, timesteps=noised.times, context=read)
        with self.multiplying():
            velocity = model.generator.velocity(noised, context, residuals, options)
        loss = noised.error(velocity, self.put(self.portraits.emphasis(places)))
        numbers = {kind: loss.detach()}
        expected = noised.expected(velocity)
        seen = model.reader(expected)
        weights = noised.clear.flatten()  # what is expected of nothing but noise is a blur that nobody can read
        if kind != POSE:
            known = weights * vectors.any(1)
            traits = self.put(self.portraits.identities[places])
            trait = weighted((seen.traits - traits).square().mean(1), known)
            doubt = misread(seen.looks, self.put(answers_of(self.portraits, places)), known)
            unlike = weighted(1 - (seen.vectors * vectors).sum(1), known)
            loss = loss + TRAIT * trait + ILL * doubt + FACE * unlike
            numbers |= {"trait": trait.detach(), "doubt": doubt.detach(), "unlike": unlike.detach()}
        if kind != ALONE:
            off = (seen.landmarks - landmarks).norm(dim=2).mean(1)
            pixels = weighted(off, weights)
            loss, numbers["pixels"] = loss + PLACE * pixels, pixels.detach()
        return loss, numbers

    def export(self, model, summary):
        knobs = {"bare": self.bare, "wrong": self.wrong, "shared": SHARED, "ill": ILL}
        note = {"likeness.training": json.dumps({**summary, **knobs})}
        _write(model.adapter, "ip_adapter", {"likeness.face_space": SPACE, "license": "Apache-2.0", **note})
        _write(model.control, "controlnet", note)


def _write(model: nn.Module, name: str, metadata: dict[str, str]):
    weights = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    save_file(weights, FINISHED / f"{name}.safetensors", metadata)
