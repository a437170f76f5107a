"""Area resampling (adaptive average pooling) of whole images and of many crops at once, from one integral image."""

import torch
from torch import Tensor


def integral_image(pixels: Tensor) -> Tensor:
    """Running sums of integer pixels.

    pixels: [B, H, W, C] integers. Returns [B, H + 1, W + 1, C] int64; integers, because float32 would lose the
    difference of two large sums.
    """
    batch, height, width, channels = pixels.shape
    sums = pixels.new_zeros((batch, height + 1, width + 1, channels), dtype=torch.int64)
    sums[:, 1:, 1:] = pixels
    return sums.cumsum_(1).cumsum_(2)


def bins(start: Tensor, length: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """First and last-plus-one pixel of each of `count` bins over `length` pixels, the bins of adaptive average pooling.

    start, length: [...] int64. Returns two [..., count] int64 tensors.
    """
    step = torch.arange(count, device=start.device)
    start, length = start[..., None], length[..., None]
    return start + step * length // count, start + ((step + 1) * length + count - 1) // count


def resize(sums: Tensor, height: int, width: int) -> Tensor:
    """The whole image at another size.

    sums: [B, H + 1, W + 1, C] from `integral_image`. Returns [B, C, height, width] float32, as
    torch.nn.functional.interpolate(mode="area") gives it.
    """
    full = torch.tensor([sums.shape[1] - 1, sums.shape[2] - 1], device=sums.device)
    zero = torch.zeros_like(full)
    top, bottom = bins(zero[0], full[0], height)
    left, right = bins(zero[1], full[1], width)
    rows = sums.index_select(1, bottom) - sums.index_select(1, top)
    total = rows.index_select(2, right) - rows.index_select(2, left)
    count = (bottom - top)[:, None] * (right - left)[None, :]
    return (total.float() / count[..., None]).permute(0, 3, 1, 2)


def crop(sums: Tensor, corner: Tensor, extent: Tensor, size: int) -> Tensor:
    """Many crops of every image, each resampled to size x size.

    sums: [B, H + 1, W + 1, C]; corner: [B, N, 2] int64 (x, y) of the first pixel; extent: [B, N, 2] int64 (width,
    height) >= 1, inside the image. Returns [B, N, C, size, size] float32.
    """
    left, right = bins(corner[..., 0], extent[..., 0], size)
    top, bottom = bins(corner[..., 1], extent[..., 1], size)
    image = torch.arange(len(sums), device=sums.device)[:, None, None, None]

    def at(y, x):
        return sums[image, y[..., :, None], x[..., None, :]]

    total = at(bottom, right) - at(top, right) - at(bottom, left) + at(top, left)
    count = (bottom - top)[..., :, None] * (right - left)[..., None, :]
    return (total.float() / count[..., None]).permute(0, 1, 4, 2, 3)
