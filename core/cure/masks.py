"""From attribute maps to masks: sharpen, threshold, soften; clusters of features; all per picture and attribute."""

import torch
import torch.nn.functional as F


def unit(maps: torch.Tensor) -> torch.Tensor:
    """Stretch each map [...,H,W] to 0..1; a flat map becomes 0."""
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / (high - low).clamp_min(1e-12)


def sharpen(maps: torch.Tensor, gain: float) -> torch.Tensor:
    """`unit(exp(gain * unit(map)))`: pushes the middle down, so that the peak stands out. FreeCure takes 10."""
    return unit(maps) if gain == 0 else unit((gain * (unit(maps) - 1)).exp())


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


def ramp(maps: torch.Tensor, threshold, softness: float) -> torch.Tensor:
    """1 above the threshold, 0 below, and a straight line of width `softness` between."""
    if softness == 0:
        return (maps > threshold).to(maps.dtype)
    return ((maps - threshold) / softness + 0.5).clamp(0, 1)


def feather(masks: torch.Tensor, deviation: float) -> torch.Tensor:
    """Gaussian blur of masks [B,A,H,W], `deviation` in cells; the edge of the picture is repeated."""
    if deviation == 0:
        return masks
    reach = min(int(3 * deviation + 0.5) or 1, *(side - 1 for side in masks.shape[-2:]))
    steps = torch.arange(-reach, reach + 1, device=masks.device, dtype=masks.dtype)
    kernel = (-0.5 * (steps / deviation).square()).exp()
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    flat = masks.flatten(0, 1).unsqueeze(1)
    flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="replicate"), kernel)
    flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="replicate"), kernel.transpose(-1, -2))
    return flat.view_as(masks)


def cross_attention_masks(maps: torch.Tensor, gain: float, threshold: float | None, softness: float) -> torch.Tensor:
    """Masks [B,A,H,W] in 0..1 from mean maps [B,A,H,W]; `threshold` None is Otsu's."""
    maps = sharpen(maps, gain)
    return ramp(maps, otsu(maps) if threshold is None else threshold, softness)


def cluster(features: torch.Tensor, count: int, iterations: int = 10) -> torch.Tensor:
    """k-means of features [B,N,C] by cosine -> labels [B,N]. Deterministic: it starts from far points, not random ones.

    The first centre is the feature farthest from the mean; each next one is farthest from those before.
    """
    features = F.normalize(features.float(), dim=-1)
    far = (features * F.normalize(features.mean(dim=1, keepdim=True), dim=-1)).sum(-1)  # cosine to the nearest centre
    centres = []
    for _ in range(count):
        chosen = far.argmin(dim=1)[:, None, None].expand(-1, 1, features.shape[-1])
        centre = features.gather(1, chosen)
        near = (features * centre).sum(-1)
        far = torch.maximum(far, near) if centres else near
        centres.append(centre)
    centres = torch.cat(centres, dim=1)
    for _ in range(iterations):
        members = _members((features @ centres.transpose(1, 2)).argmax(-1), count, features)
        sums = members.transpose(1, 2) @ features
        empty = members.sum(dim=1).unsqueeze(-1) == 0
        centres = torch.where(empty, centres, F.normalize(sums, dim=-1))
    return (features @ centres.transpose(1, 2)).argmax(-1)


def _members(labels, count, like):
    """One-hot labels [B,N] -> [B,N,count]; torch's own one_hot reads the labels from the device."""
    return (labels.unsqueeze(-1) == torch.arange(count, device=labels.device)).to(like)


def covered_clusters(labels: torch.Tensor, masks: torch.Tensor, count: int, coverage: float) -> torch.Tensor:
    """The union of clusters that a mask covers by at least `coverage`: labels [B,N], masks [B,A,N] -> [B,A,N] of 0, 1.

    A mask that covers no cluster so far takes the one it covers most.
    """
    members = _members(labels, count, masks)
    share = (masks @ members) / members.sum(dim=1, keepdim=True).clamp_min(1)
    taken = share >= torch.minimum(share.amax(dim=-1, keepdim=True), share.new_tensor(coverage))
    return (taken & (share > 0)).to(masks) @ members.transpose(1, 2)


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
