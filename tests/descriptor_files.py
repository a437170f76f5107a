"""State dicts of face descriptors as they are published, with random numbers, and the networks that they belong to."""

import functools

import torch
from facenet_pytorch import InceptionResnetV1
from references.adaface import AdaFace
from references.e4e import Encoder
from references.filling import fill, pictures
from references.ir_se50 import IRSE50
from references.iresnet import IResNet
from references.transface import TransFace
from torch import nn

PEOPLE = {"VGGFace2": 8631, "CASIA-WebFace": 10575}


@functools.lru_cache(maxsize=2)
def facenet(data_set: str = "VGGFace2") -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """facenet-pytorch's network, (x - 127.5) / 128 -> [B, 512] of length 1, and a file's tensors."""
    network = InceptionResnetV1(classify=False)
    fill(network, (pictures(4, 160) - 127.5) / 128)
    generator = torch.Generator().manual_seed(1)
    classifier = nn.Linear(512, PEOPLE[data_set])
    tensors = dict(network.state_dict())
    for key, tensor in classifier.state_dict().items():
        tensors[f"logits.{key}"] = torch.randn(tensor.shape, generator=generator)
    return network, tensors


@functools.lru_cache(maxsize=2)
def adaface(layers: int) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """AdaFace's network and the tensors of a Lightning checkpoint, without its `state_dict` wrapper."""
    network = fill(AdaFace(layers), (pictures(4, 112) - 127.5) / 127.5)
    network.settle(torch.Generator().manual_seed(1))
    tensors = {f"model.{key}": tensor for key, tensor in network.state_dict().items()}
    head = {"kernel": torch.ones(512, 40), "t": torch.zeros(1), "batch_mean": torch.ones(1), "batch_std": torch.ones(1)}
    return network, tensors | {f"head.{key}": tensor for key, tensor in head.items()}


def curricularface() -> dict[str, torch.Tensor]:
    """CurricularFace's state dict: AdaFace's IR-101 under the same names, with nothing before them and no head."""
    return {
        key.removeprefix("model."): tensor
        for key, tensor in adaface(101)[1].items()
        if not key.startswith("head.")
    }  # fmt: skip


@functools.lru_cache(maxsize=2)
def arcface(layers: int | tuple[int, ...]) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """ArcFace's network, (x - 127.5) / 127.5 -> [B, 512], and its state dict."""
    network = fill(IResNet(layers), (pictures(4, 112) - 127.5) / 127.5)
    return network, dict(network.state_dict())


@functools.lru_cache(maxsize=1)
def ir_se50() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """ArcFace's IR-SE50, BGR, (x - 127.5) / 127.5 -> [B, 512] of length 1, and its state dict."""
    network = fill(IRSE50(), (pictures(4, 112) - 127.5) / 127.5)
    return network, dict(network.state_dict())


@functools.lru_cache(maxsize=1)
def e4e(widths=(8, 16, 24, 32), code: int = 24) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """encoder4editing's network, (x - 127.5) / 127.5 -> [B, 18, code], and a file's tensors, narrow."""
    network = fill(Encoder(widths, code), (pictures(4, 256) - 127.5) / 127.5)
    generator = torch.Generator().manual_seed(2)
    for style in network.styles:  # kept at unit variance
        style.linear.weight.mul_(code**0.5)
    tensors = {f"encoder.{key}": tensor for key, tensor in network.state_dict().items()}
    tensors["decoder.style.1.weight"] = torch.ones(2, 2)
    return network, tensors | {"latent_avg": 0.3 * torch.randn(18, code, generator=generator)}


@functools.lru_cache(maxsize=1)
def transface(dim: int = 64, depth: int = 3) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """TransFace's network, (x - 127.5) / 127.5 -> [B, 144, dim], and its state dict, narrow."""
    network = TransFace(dim, depth)
    network.kept = ("feature",)
    fill(network, (pictures(2, 112) - 127.5) / 127.5)
    generator = torch.Generator().manual_seed(3)
    for key, tensor in network.state_dict().items():
        if "norm" in key or key in ("pos_embed", "mask_token"):
            tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
    return network, dict(network.state_dict())
