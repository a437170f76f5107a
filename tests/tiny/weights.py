"""Random weights of a sane scale: layers keep the size of what passes through them, so outputs vary and stay finite."""

import torch


def fill(module: torch.nn.Module, seed: int, gain: float = 1.0) -> torch.nn.Module:
    """Overwrite every parameter: matrices and kernels N(0, gain^2 / fan-in), norm scales near 1, biases near 0."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(module.named_parameters()):
        if parameter.ndim == 0:
            continue
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            noise *= gain * (parameter.shape[0] / parameter.numel()) ** 0.5
        else:
            noise = 0.05 * noise + float(name.endswith(("weight", "scale")))
        parameter.data.copy_(noise)
    return module.requires_grad_(False)


def make_denoiser(unet: torch.nn.Module, variety: float = 0.1) -> None:
    """Wire a random UNetModel so that it predicts its input as the noise, plus `variety` of its own random opinion.

    Purely random predictions would drive the latents to a hundred times their size, where pictures no longer answer to
    small changes. Eight channels carry +x and -x past everything to the last layer, where silu(a) - silu(-a) = a.
    """
    channels = unet.in_channels
    wired, last = slice(0, 2 * channels), list(unet.output_blocks[-1])
    signed = torch.cat([torch.eye(channels), -torch.eye(channels)])

    first = unet.input_blocks[0][0]
    first.weight[wired] = 0
    first.weight[wired, :, 1, 1] = signed.to(first.weight)
    first.bias[wired] = 0

    skip = last[0].skip_connection  # takes the block before it and the first layer's output, in this order
    from_first = skip.in_channels - first.out_channels
    skip.weight[wired] = 0
    skip.weight[wired, from_first : from_first + 2 * channels, 0, 0] = torch.eye(2 * channels).to(skip.weight)
    skip.bias[wired] = 0
    for branch in [last[0].out_layers[3], *(layer.proj_out for layer in last[1:])]:
        branch.weight[wired] = 0
        branch.bias[wired] = 0

    norm, _, out = unet.out
    norm.weight[wired] = 1
    norm.bias[wired] = 0
    out.weight.copy_(variety * out.weight.float())
    out.weight[:, wired] = 0
    out.weight[:, wired, 1, 1] = signed.T.to(out.weight)
    out.bias.zero_()
