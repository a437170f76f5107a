"""Face parsers to test with: facexlib's BiSeNet, which has the published parameters, with tame random numbers."""

import importlib
import math
import re
import sys
import types
from importlib.metadata import distribution

import torch
from torch import nn

_PACKAGE = "facexlib_parsing"


def _facexlib(name):
    """A module of facexlib.parsing by its file, since the packages around it import much that is not needed."""
    if _PACKAGE not in sys.modules:
        package = types.ModuleType(_PACKAGE)
        package.__path__ = [str(distribution("facexlib").locate_file("facexlib/parsing"))]
        sys.modules[_PACKAGE] = package
    return importlib.import_module(f"{_PACKAGE}.{name}")


def reference(classes: int = 19, depths: tuple[int, ...] = (2, 2, 2, 2), seed: int = 0) -> nn.Module:
    """forward(pixels [B,3,H,W], normalised) -> logits [B,classes,H,W] and those of the two auxiliary heads."""
    module = _facexlib("bisenet").BiSeNet(classes)
    widths = (64, 64, 128, 256, 512)
    for stage, depth in enumerate(depths):
        if depth != 2:
            make, stride = _facexlib("resnet").create_layer_basic, 1 if stage == 0 else 2
            setattr(module.cp.resnet, f"layer{stage + 1}", make(*widths[stage : stage + 2], bnum=depth, stride=stride))
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            # each channel keeps about its size, whatever the depth
            nn.init.normal_(part.weight, 0, math.sqrt(1.2 / part.weight[0].numel()), generator)
        elif isinstance(part, nn.BatchNorm2d):
            for tensor, low, high in (
                (part.weight, 0.6, 1.2), (part.bias, -0.3, 0.3), (part.running_mean, -0.3, 0.3),
                (part.running_var, 0.5, 1.5),
            ):  # fmt: skip
                nn.init.uniform_(tensor, low, high, generator)
            part.num_batches_tracked.fill_(80_000)
    return module.eval().requires_grad_(False)


def yakhyos(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors as yakhyo's face-parsing names them, and the backbone's classifier that its files still have."""
    names = (
        (r"^cp\.resnet\.", "fpn.backbone."),
        (r"^cp\.", "fpn."),
        (r"^(conv_out\d*)\.conv_out\.", r"\1.last."),
        (r"^(conv_out\d*|.*arm\d\d)\.conv\.", r"\1.conv_block."),
        (r"\.last\.", ".conv."),
        (r"\.convblk\.", ".conv_block."),
        (r"^(fpn\.conv_\w+|.*conv_block)\.bn\.", r"\1.norm."),
        (r"\.conv_atten\.", ".attention.0."),
        (r"\.bn_atten\.", ".attention.1."),
    )
    renamed = {}
    for key, tensor in tensors.items():
        for pattern, name in names:
            key = re.sub(pattern, name, key)
        renamed[key] = tensor
    classifier = {"weight": torch.zeros(1000, 512), "bias": torch.zeros(1000)}
    return renamed | {f"fpn.backbone.fc.{key}": tensor for key, tensor in classifier.items()}


def pictures(batch: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Random IMAGEs [B,H,W,3] with coarse and fine structure, every value a whole number of 255ths."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 9, 7, generator=generator)
    fine = torch.rand(batch, 3, height, width, generator=generator)
    mixed = 0.8 * nn.functional.interpolate(coarse, (height, width), mode="bicubic") + 0.2 * fine
    return (mixed.clamp(0, 1) * 255).round().movedim(1, -1) / 255
