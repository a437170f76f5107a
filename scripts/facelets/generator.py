"""The base model: text encoder and U-Net, trained together on SD's schedule.

It predicts the velocity (Salimans and Ho 2022), as SD2 does: what a prompt decides, it decides at the highest noise,
and there the error of a predicted noise hardly tells right from wrong. Timesteps are as likely as (min(SNR, 5) + 1) /
(SNR + 1), which cuts the losses' weights at low noise where Hang et al. (2023) do. What the frozen reader of
latents says of the expected picture counts too. After this lesson it draws what it should, in smudged lines: the last
steps of a sampler have to take noise off that it has hardly seen. A second one is about these.
"""

import torch
from torch import Tensor, nn

from .lesson import Foundation, Lesson, Noised, Taught
from .networks import new_unet, read_finished, sizes, write_finished
from .pack import FIRST
from .prompts import known_tokens
from .training import initialise, quicken
from .words import compact_text_encoder, trained_text_encoder


def noise_levels() -> Tensor:
    """Cumulative products of 1 - beta [1000] on SD's schedule."""
    return torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0).float()


class Generator(Foundation):
    """U-Net and text encoder; the text encoder's table has rows for known tokens only while it is trained."""

    def __init__(self):
        super().__init__()
        self.unet = new_unet()
        self.text = compact_text_encoder()
        initialise(self)
        for name, part in self.unet.named_modules():
            if name.endswith(("out_layers.3", "proj_out")) or name == "out.2":  # blocks begin as identities
                nn.init.zeros_(part.weight)
                nn.init.zeros_(part.bias)
        quicken(self.unet)
        self.register_buffer("levels", noise_levels(), persistent=False)
        ratio = self.levels / (1 - self.levels)
        self.register_buffer("chances", (ratio.clamp(max=5) + 1) / (ratio + 1), persistent=False)

    def prompt(self, rows: Tensor) -> Tensor:
        """[B, 77] rows of the table -> [B, 77, 128]."""
        return self.text(rows)[0]

    def noised(self, latents: Tensor) -> Noised:
        return self.noised_to(latents, torch.multinomial(self.chances, len(latents), replacement=True))

    def noised_to(self, latents: Tensor, times: Tensor) -> Noised:
        """Latents at these times [B]."""
        level = self.levels[times].view(-1, 1, 1, 1)  # the picture's share of the variance
        clear, spread, noise = level.sqrt(), (1 - level).sqrt(), torch.randn_like(latents)
        noisy = (clear * latents + spread * noise).contiguous(memory_format=torch.channels_last)
        return Noised(noisy, times.float(), clear, clear, spread, clear * noise - spread * latents)

    def velocity(self, noised: Noised, prompt: Tensor, residuals=None, transformer_options=None) -> Tensor:
        """residuals: a ControlNet's {"output": 6 tensors, "middle": 1}."""
        options = dict(transformer_options or {})
        if residuals:
            options["patches"] = {"output_block_patch": [_added(residuals)]}
        return self.unet(noised.latents, noised.times, context=prompt, transformer_options=options).float()


def _added(residuals):
    """ComfyUI's U-Net adds a ControlNet's residuals in place, which autograd does not forgive; this does not."""
    joined = list(residuals["output"])
    (middle,) = residuals["middle"]

    def patch(h, skipped, options):
        return h + middle if options["block"] == ("output", 0) else h, skipped + joined.pop()

    return patch


class Base(Lesson):
    name = "generator"
    files = FIRST  # how the names of those it leaves begin
    seed = 2
    steps = 4600
    batch = 64
    rate = 8e-4
    matrix_rate = 2e-3
    warm_up = 100
    average = 0.997

    def build(self):
        generator = Generator()
        generator.text.load_state_dict(trained_text_encoder())
        return Taught(generator)

    def is_matrix(self, name):
        return not name.endswith(("unet.input_blocks.0.0.weight", "unet.out.2.weight", "embedding.weight"))

    def export(self, model, summary):
        write_finished(f"{self.files}unet", model.base.unet.state_dict(), summary)
        known = {sizes().KNOWN_TOKENS: torch.tensor(known_tokens(), dtype=torch.int32)}
        write_finished(f"{self.files}text_encoder", model.base.text.state_dict() | known, summary)


class Details(Base):
    """The same lesson once more, more than half of it at low noise."""

    name = "details"
    files = ""
    seed = 8
    steps = 2500
    rate = 6e-4
    matrix_rate = 1.5e-3
    warm_up = 50
    low, more = 300, 2.5  # timesteps under the first are so much likelier than others

    def build(self):
        generator = trained_generator(Base.files).requires_grad_(True)
        generator.chances = 1 + (self.more - 1) * (torch.arange(1000) < self.low)
        return Taught(generator)


def trained_generator(files: str = Details.files) -> Generator:
    """The base model as a stage left it, the last by default, frozen, in fp32; its text encoder knows the world's words
    only."""
    generator = Generator()
    generator.unet.load_state_dict(read_finished(f"{files}unet"))
    generator.text = trained_text(files)
    return generator.eval().requires_grad_(False)


def trained_text(files: str = Details.files) -> nn.Module:
    """Its text encoder alone, frozen."""
    encoder, weights = compact_text_encoder(), read_finished(f"{files}text_encoder")
    del weights[sizes().KNOWN_TOKENS]
    encoder.load_state_dict(weights)
    return encoder.eval().requires_grad_(False)
