"""Random weights with which every layer of a deep network, published or narrow, keeps the size of what passes it."""

import math

import torch
from torch import nn

_RATIO = (0.8, 1.25)  # of a running variance to the variance that the layer sees


@torch.no_grad()
def fill(module: nn.Module, example: torch.Tensor, seed: int = 0) -> nn.Module:
    """Fill every parameter and statistic by `seed`, no two alike; eval mode, no gradients. Returns the module.

    module: of Conv2d, Linear, BatchNorm, GroupNorm and PReLU. Its attribute `kept` names submodules to leave alone.
    example: an input [B, ...] as the module takes it. One pass of it settles the statistics of every BatchNorm, layer
    by layer, so that they fit the network and still differ from channel to channel.
    """
    generator = torch.Generator().manual_seed(seed)
    kept = {id(part) for name in getattr(module, "kept", ()) for part in module.get_submodule(name).modules()}
    parts = [part for part in module.modules() if id(part) not in kept]

    def uniform(tensor, low, high):
        tensor.copy_(torch.empty(tensor.shape).uniform_(low, high, generator=generator))

    def settle(norm, inputs):
        axes = [axis for axis in range(inputs[0].ndim) if axis != 1]
        variance, mean = torch.var_mean(inputs[0], dim=axes, correction=0)
        if inputs[0].ndim == 2:  # a handful of numbers per channel is too few
            variance, mean = (part.expand_as(mean) for part in torch.var_mean(inputs[0], correction=0))
        shift, ratio = torch.empty_like(mean), torch.empty_like(mean)
        uniform(shift, -0.2, 0.2)
        uniform(ratio, *_RATIO)
        norm.running_mean.copy_(mean + shift * variance.sqrt())
        norm.running_var.copy_(variance.clamp_min(0.1 * variance.mean() + 1e-8) * ratio)

    hooks = []
    for part in parts:
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            weight = torch.randn(part.weight.shape, generator=generator)
            if part.weight.shape[1] > 1:
                # what all channels have in common, after a ReLU, would drown what they show
                weight -= weight.flatten(1).mean(1).view(-1, *[1] * (weight.ndim - 1))
            else:
                weight = 1 + 2.0 * weight  # depthwise: mostly a mean, or a dozen of them would leave only noise
            gain = 0.3 if getattr(part, "closes_branch", False) else 1
            part.weight.copy_(weight * gain / math.sqrt(weight[0].numel()))
            if part.bias is not None:
                uniform(part.bias, -0.1, 0.1)
        elif isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm)):
            if getattr(part, "closes_branch", False):  # adds little, or a hundred blocks would add up
                uniform(part.weight, 0.15, 0.3)
                uniform(part.bias, -0.1, 0.1)
            else:  # mostly the linear side of a ReLU, where rounding errors grow least
                uniform(part.weight, 0.6, 1.3)
                uniform(part.bias, 0.2, 1.0)
            if not isinstance(part, nn.GroupNorm):
                hooks.append(part.register_forward_pre_hook(settle))
        elif isinstance(part, nn.PReLU):
            uniform(part.weight, 0.05, 0.45)
    module.eval().requires_grad_(False)
    module(example)
    for hook in hooks:
        hook.remove()
    return module


@torch.no_grad()
def aim(module: nn.Module, layer: nn.Linear, example: torch.Tensor, mean, deviation, seed: int = 0):
    """Random weights for a last linear layer, so that over the example its outputs have this mean and deviation.

    mean, deviation: numbers, or one per output.
    """
    seen = []
    hook = layer.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    module(example)
    hook.remove()
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(layer.weight.shape, generator=generator)
    raw_deviation, raw_mean = torch.std_mean(seen[0] @ weight.T, dim=0)
    factor = torch.as_tensor(deviation) / raw_deviation.clamp_min(1e-6)
    layer.weight.copy_(weight * factor[:, None])
    layer.bias.copy_(torch.as_tensor(mean) - raw_mean * factor)


def pictures(batch: int, size: int, seed: int = 0) -> torch.Tensor:
    """Random pictures [B, 3, size, size] in whole numbers of 0 to 255, with coarse and fine structure."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 7, 7, generator=generator)
    fine = torch.rand(batch, 3, size, size, generator=generator)
    mixed = 0.8 * nn.functional.interpolate(coarse, (size, size), mode="bicubic") + 0.2 * fine
    return (mixed.clamp(0, 1) * 255).round()
