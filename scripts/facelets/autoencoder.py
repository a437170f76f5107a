"""The autoencoder: 128 px portraits to 16 x 16 x 16 latents and back."""

import json
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .networks import CHANNELS, new_autoencoder, read_finished, write_finished
from .training import Stage, initialise
from .world import REGIONS, draw, sample_identity, sample_look, sample_pose

NOISE = 0.03  # added to the latents while training: what a sampler's last errors look like
CROP = 64
SMALLER = 0.25  # of the steps: how often latents of half the size have to be read too
# Small parts that say most: an error in a mouth counts four times, in an eye as often as the stage says.
FEATURES = dict.fromkeys(("brows", "eyes", "mouth", "glasses", "earrings"), 4.0)
# Their rows and columns are colours: Muon is for what lies between.
_FIRST_AND_LAST = ("taesd_encoder.1.weight", "taesd_decoder.10.weight")


def pictures(rng: np.random.Generator, count: int, size: int = 128) -> Tensor:
    """Fresh random portraits, uint8 [count, 3, size, size] RGB."""
    return pictures_of([draw(sample_identity(rng), sample_look(rng), sample_pose(rng), size) for _ in range(count)])


def pictures_of(portraits) -> Tensor:
    """uint8 [count, 3, H, W] RGB of Portraits."""
    return torch.from_numpy(np.stack([portrait.image for portrait in portraits])).permute(0, 3, 1, 2)


def encode(model: nn.Module, images: Tensor) -> Tensor:
    """Latents [B, 16, H / 8, W / 8], of deviation 1 once trained, of uint8 images [B, 3, H, W]."""
    return model.taesd_encoder(images.float() / 255)


def decode(model: nn.Module, latents: Tensor) -> Tensor:
    """Pictures [B, 3, H, W], about 0..1, of such latents."""
    return model.taesd_decoder(latents)


@torch.inference_mode()
def round_trip(model: nn.Module, images: np.ndarray, noise: Tensor | float = 0.0) -> np.ndarray:
    """Portraits uint8 [B, 128, 128, 3] through the autoencoder and back; `noise` is the deviation of what is added to
    the latents, whose own is 1."""
    latents = encode(model, torch.from_numpy(images).permute(0, 3, 1, 2))
    seen = decode(model, latents + noise * torch.randn_like(latents)).clamp(0, 1)
    return (seen * 255).round().byte().permute(0, 2, 3, 1).numpy()


class Autoencoder(Stage):
    name = "autoencoder"
    seed = 1
    steps = 16000
    batch = 32
    rate = 1.5e-3
    matrix_rate = 2.5e-3
    decay = 0.0
    warm_up = 200
    eyes = 4.0  # how much their pixels count
    file = "autoencoder"

    def build(self):
        model = new_autoencoder()
        initialise(model)
        for name, part in model.named_modules():
            if isinstance(part, nn.Conv2d):  # He's first weights: without normalisation torch's own fade out
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
                if name.endswith("conv.4"):
                    nn.init.normal_(part.weight, std=0.05 * part.weight.std().item())
        model.vae_scale.requires_grad_(False)
        model.vae_shift.requires_grad_(False)
        return model.to(memory_format=torch.channels_last)

    def is_matrix(self, name):
        return name not in _FIRST_AND_LAST

    @cached_property
    def _of_regions(self) -> np.ndarray:
        counts = {**FEATURES, "eyes": self.eyes}
        return np.array([counts.get(name, 1.0) for name in REGIONS], np.float32)

    def _batch(self, rng, count):
        """Cut-outs of portraits [B, 3, CROP, CROP] in 0..1, most of them of the face, and the weights of their pixels
        [B, 1, CROP, CROP]."""
        images, weights = [], []
        for _ in range(count):
            portrait = draw(sample_identity(rng), sample_look(rng), sample_pose(rng), labelled=True)
            corner = rng.uniform(0, 128 - CROP, 2)
            if rng.uniform() < 0.6:
                corner = portrait.landmarks.mean(0) + rng.normal(0, 18, 2) - CROP / 2
            left, top = np.clip(np.round(corner), 0, 128 - CROP).astype(int)
            part = np.s_[top : top + CROP, left : left + CROP]
            images.append(portrait.image[part])
            weights.append(self._of_regions[portrait.labels[part]])
        pixels = self.put(np.stack(images)).permute(0, 3, 1, 2).float() / 255  # so laid out channels last
        return pixels, self.put(np.stack(weights))[:, None]

    def _decoded(self, model, images, weights, latents, noise):
        """The loss of pictures decoded from latents with this much noise on them, and numbers for the log."""
        with self.multiplying():
            seen = decode(model, latents + noise * torch.randn_like(latents)).float()
        off = (seen - images) * 2
        square = off.square()
        loss = ((3 * square + 0.05 * off.abs()) * weights).mean()
        return loss, {"psnr": 10 * torch.log10(4 / square.detach().mean())}

    def loss(self, model, rng, count, progress):
        images, weights = self._batch(rng, count)
        with self.multiplying():
            latents = model.taesd_encoder(images).float()
        loss, numbers = self._decoded(model, images, weights, latents, NOISE)
        # Keeps latents near mean 0 and deviation 1, so that the noise above is 3 %.
        size = latents.mean((0, 2, 3)).square().sum() + (latents.std((0, 2, 3)) - 1).square().sum()
        loss = loss + 1e-2 * size
        if rng.uniform() < SMALLER:
            # Latents that mean the same picture at half the size vary smoothly (Kouzelis et al. 2025), and what varies
            # smoothly is learned sooner by a generator.
            with self.multiplying():
                small = decode(model, F.avg_pool2d(latents, 2)).float()
            loss = loss + 0.75 * (2 * (small - F.avg_pool2d(images, 2))).square().mean()
        return loss, numbers

    def export(self, model, summary):
        export(model, self.file, summary)


class Decoder(Autoencoder):
    """The decoder once more, alone: what it has learned of latents that no longer change, with less noise on them."""

    name = "decoder"
    seed = 6
    steps = 3200
    rate = 5e-4
    matrix_rate = 1.2e-3
    warm_up = 100
    eyes = 8.0
    file = "decoder"

    def build(self):
        return with_decoder_alone(Autoencoder.file)

    def loss(self, model, rng, count, progress):
        images, weights = self._batch(rng, count)
        with torch.no_grad(), self.multiplying():
            latents = model.taesd_encoder(images).float()
        noise = self.put(rng.uniform(0, NOISE, (count, 1, 1, 1))).float()
        return self._decoded(model, images, weights, latents, noise)


def with_decoder_alone(name: str) -> nn.Module:
    """The autoencoder that a stage left, of which only the decoder is to be trained."""
    model = new_autoencoder()
    model.load_state_dict(read_finished(name))
    model.requires_grad_(False).taesd_decoder.requires_grad_(True)
    return model.to(memory_format=torch.channels_last)


@torch.no_grad()
def export(model: nn.Module, name: str, summary: dict):
    """Write the weights, and the colours for previews: the least-squares map from latents to small pictures."""
    images = pictures(np.random.default_rng(101), 512)
    latents = torch.cat([encode(model, part) for part in images.split(32)])
    summary["latent_mean"], summary["latent_deviation"] = (
        latents.mean((0, 2, 3)).tolist(),
        latents.std((0, 2, 3)).tolist(),
    )
    small = F.interpolate(images.float() / 127.5 - 1, size=latents.shape[-2:], mode="area")
    known = F.pad(latents.permute(0, 2, 3, 1).reshape(-1, CHANNELS), (0, 1), value=1.0)
    colors = torch.linalg.lstsq(known, small.permute(0, 2, 3, 1).reshape(-1, 3)).solution
    rgb = json.dumps({"factors": colors[:CHANNELS].tolist(), "bias": colors[CHANNELS].tolist()})
    write_finished(name, model.state_dict(), summary, **{"likeness.latent_rgb": rgb})
