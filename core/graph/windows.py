"""Operations that go over a picture in windows: their padding, and pooling. Meanings: onnx.ai/onnx/operators."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from .bounds import check_size

_WIDEST = 2**10  # pixels of a kernel, stride, dilation or padding: as much as any picture that a face model sees


class Unsupported(ValueError):
    """An operation, or a form of it, that has no exact counterpart here."""


def _padding(attributes, size, kernel, stride, dilation):
    """Zeros before and after each of the last two axes, as (left, right, top, bottom)."""
    way = attributes.get("auto_pad", "NOTSET") or "NOTSET"
    if way == "VALID":
        return 0, 0, 0, 0
    if way == "NOTSET":
        top, left, bottom, right = attributes.get("pads") or (0, 0, 0, 0)
        return left, right, top, bottom
    pads = []
    for length, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        whole = max(0, (-(-length // s) - 1) * s + (k - 1) * d + 1 - length)
        less, more = whole // 2, whole - whole // 2
        pads.append((less, more) if way == "SAME_UPPER" else (more, less))
    (top, bottom), (left, right) = pads
    return left, right, top, bottom


def window(attributes: dict, kernel: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Stride and dilation of a 2-D window operation; ValueError for what is none."""
    if len(kernel) != 2:
        raise Unsupported("convolution or pooling of other than pictures")
    sizes = [tuple(kernel), *(tuple(attributes.get(key) or (1, 1)) for key in ("strides", "dilations"))]
    if any(len(size) != 2 or not all(isinstance(side, int) and 1 <= side < _WIDEST for side in size) for size in sizes):
        raise ValueError("a window of an impossible size")
    return sizes[1], sizes[2]


def _padding_of(attributes, x, kernel):
    if x.ndim != 4:
        raise Unsupported("convolution or pooling of other than pictures")
    padding = _padding(attributes, x.shape[2:], kernel, *window(attributes, kernel))
    if not all(isinstance(side, int) and 0 <= side < _WIDEST for side in padding):
        raise ValueError("a padding of an impossible size")
    return padding


def padded_evenly(
    x: Tensor, attributes: dict, kernel: Sequence[int], value: float = 0.0, at_most: int = _WIDEST
) -> tuple[Tensor, tuple[int, int]]:  # fmt: skip
    """x and the padding left to the operation itself: uneven padding, or more than `at_most`, is added here."""
    left, right, top, bottom = padding = _padding_of(attributes, x, kernel)
    if left == right and top == bottom and max(padding) <= at_most:
        return x, (top, left)
    channels, height, width = x.shape[1:]
    check_size(channels * (height + top + bottom) * (width + left + right))
    return F.pad(x, padding, value=value), (0, 0)


def max_pool(attributes: dict, x: Tensor) -> Tensor:
    kernel = tuple(attributes["kernel_shape"])
    stride, dilation = window(attributes, kernel)
    even, inside = padded_evenly(x, attributes, kernel, float("-inf"), min(kernel) // 2)
    return F.max_pool2d(even, kernel, stride, inside, dilation, bool(attributes.get("ceil_mode", 0)))


def average_pool(attributes: dict, x: Tensor) -> Tensor:
    kernel = tuple(attributes["kernel_shape"])
    stride, dilation = window(attributes, kernel)
    count_padding = bool(attributes.get("count_include_pad", 0))
    even, inside = padded_evenly(x, attributes, kernel)
    if dilation != (1, 1) or (even is not x and not count_padding):
        raise Unsupported("AveragePool with dilation or uneven padding")
    return F.avg_pool2d(even, kernel, stride, inside, bool(attributes.get("ceil_mode", 0)), count_padding)
