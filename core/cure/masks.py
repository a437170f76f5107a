"""From maps of where attributes are to masks, per picture; and masks laid over each other."""

import torch
import torch.nn.functional as F

# Of maps of differences: a blur (standard deviation as a share of the picture's side) and a ramp, soft and wide, so
# that long hair can become short. Chosen on drawn portraits (benchmarks/README.md).
BLUR, THRESHOLD, SOFTNESS = 0.05, 0.2, 0.4
SHARPENING = 10.0  # of attention maps; FreeCure's (Cai et al. 2024, arXiv 2411.15277)


def difference_masks(maps: torch.Tensor) -> torch.Tensor:
    """Masks [B,A,H,W] in 0..1 from maps [B,A,H,W] of how much predictions differ."""
    maps = unit(feather(maps, BLUR * min(maps.shape[-2:])))
    return ((maps - THRESHOLD) / SOFTNESS + 0.5).clamp(0, 1)


def attention_masks(maps: torch.Tensor) -> torch.Tensor:
    """Masks [B,A,H,W] of 0 and 1 from attention maps [B,A,H,W], as FreeCure makes them.

    It sharpens its maps before it enlarges them to the latent's grid. These come enlarged, as each area prompt has a
    grid of its own.
    """
    maps = sharpen(maps, SHARPENING)
    return (maps > otsu(maps)).to(maps.dtype)


def unit(maps: torch.Tensor) -> torch.Tensor:
    """Stretch each map [...,H,W] to 0..1; a flat map becomes 0."""
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / (high - low).clamp_min(1e-12)


def sharpen(maps: torch.Tensor, gain: float) -> torch.Tensor:
    """`unit(exp(gain * unit(map)))`: pushes the middle down, so that the peak stands out."""
    return unit((gain * (unit(maps) - 1)).exp())


def otsu(maps: torch.Tensor, bins: int = 256) -> torch.Tensor:
    """Otsu's threshold of maps [...,H,W] in 0..1 -> [...,1,1]: the split with the largest variance between classes.

    Otsu (1979). Values above the threshold are the foreground.
    """
    values = maps.flatten(-2)
    index = (values * bins).long().clamp(0, bins - 1)
    counts = torch.zeros(*values.shape[:-1], bins, device=maps.device).scatter_add_(-1, index, torch.ones_like(values))
    share = counts / values.shape[-1]
    levels = torch.arange(bins, device=maps.device, dtype=share.dtype)
    below, mean_below = share.cumsum(-1), (share * levels).cumsum(-1)
    mean = mean_below[..., -1:]
    between = (mean * below - mean_below).square() / (below * (1 - below)).clamp_min(1e-12)
    return ((between.argmax(-1, keepdim=True) + 1) / bins).unsqueeze(-1).to(maps.dtype)


def feather(masks: torch.Tensor, deviation: float) -> torch.Tensor:
    """Gaussian blur of masks [B,A,H,W], `deviation` in cells; the edge of the picture is repeated."""
    reach = min(int(3 * deviation + 0.5) or 1, *(side - 1 for side in masks.shape[-2:]))
    steps = torch.arange(-reach, reach + 1, device=masks.device, dtype=masks.dtype)
    kernel = (-0.5 * (steps / deviation).square()).exp()
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    flat = masks.flatten(0, 1).unsqueeze(1)
    flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="replicate"), kernel)
    flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="replicate"), kernel.transpose(-1, -2))
    return flat.view_as(masks)


def with_regions(masks: torch.Tensor, regions: list[torch.Tensor | None]) -> torch.Tensor:
    """Masks [B,A,H,W], one per attribute or one for all, with the regions [B,1,H,W] that a parser found.

    An attribute that the parser knows is where it says. In a mask for all, what it does not know is where the mask was.
    """
    if masks.shape[1] == len(regions):
        parts = [masks[:, i : i + 1] if region is None else region for i, region in enumerate(regions)]
        return torch.cat(parts, dim=1)
    known = [region for region in regions if region is not None]
    return torch.cat(known if len(known) == len(regions) else [masks, *known], dim=1).amax(dim=1, keepdim=True)


def unite(masks: torch.Tensor) -> torch.Tensor:
    """The union of the attributes' masks [B,A,H,W] -> [B,1,H,W]."""
    return masks.amax(dim=1, keepdim=True)


def picture_masks(masks: torch.Tensor, rows: int, grid: tuple[int, int]) -> torch.Tensor:
    """An artist's masks [M,H,W] for a batch of pictures -> [rows,1,h,w]; a short batch is cycled, a long one is cut."""
    masks = F.interpolate(masks.unsqueeze(1), size=grid, mode="bilinear", align_corners=False)
    return masks[[row % masks.shape[0] for row in range(rows)]]
