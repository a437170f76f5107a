"""Following other nodes that cut the batch up before the model runs it: TiledDiffusion and its kin.

They set ComfyUI's one model function wrapper and call the model with rows of their own making. What goes with the rows
is cut as they are, so a map of row numbers does; where in the picture a tile lies is read from the tile itself.
"""

from collections.abc import Sequence

import torch

from .. import keys


class RowMap:
    """Another node's model function wrapper, called with a map of row numbers among what goes with the rows.

    While it runs, `cut` is the batch [R,C,H,W] that it cuts, `chunks` the (number, uuid) of each chunk of that.
    """

    def __init__(self, wrapper):
        self.wrapper, self.cut, self.chunks = wrapper, None, []

    def __call__(self, apply_model, arguments):
        before = self.cut, self.chunks
        numbers, uuids = arguments["cond_or_uncond"], arguments["c"]["transformer_options"]["uuids"]
        self.cut, self.chunks = arguments["input"], list(zip(numbers, uuids, strict=True))
        rows = torch.arange(len(self.cut), dtype=torch.float32, device=self.cut.device).view(-1, 1, 1)
        try:  # of the form of a prompt, which every such node has to repeat and cut as it does the pictures
            return self.wrapper(apply_model, {**arguments, "c": {**arguments["c"], keys.ROW_MAP: rows}})
        finally:
            self.cut, self.chunks = before


def row_numbers(row_map: torch.Tensor | None, x: torch.Tensor) -> list[int] | None:
    """Which rows of the uncut batch the rows of x are; None where the other node has not taken the map along."""
    if row_map is None or row_map.shape[0] != x.shape[0]:
        return None
    return [int(number) for number in row_map.flatten().tolist()]  # host read: only beside a node that cuts


def tiles_of(x: torch.Tensor, cut: torch.Tensor, rows: Sequence[int]) -> list[tuple | None] | None:
    """(height, width, top, left) of each row of x [r,C,h,w] in the rows of `cut` [R,C,H,W] that it came from.

    A row that shows all of its picture has None. The list is None where some row is no part of its picture, such as
    where the other node scales it. Latents are noise, so the first cell of a tile is found nowhere else.
    """
    source = cut[list(rows)]
    if x.shape == source.shape and torch.equal(x, source):  # host read: only beside a node that cuts
        return [None] * len(x)
    height, width = cut.shape[-2:]
    first = (source == x[..., :1, :1]).all(dim=1).flatten(1).to(torch.uint8).argmax(dim=1)
    top, left = first // width, first % width
    down = (top[:, None] + torch.arange(x.shape[2], device=x.device)) % height
    across = (left[:, None] + torch.arange(x.shape[3], device=x.device)) % width
    picture = torch.arange(len(x), device=x.device)[:, None, None]
    shown = source[picture, :, down[:, :, None], across[:, None, :]].movedim(-1, 1)
    if not torch.equal(shown, x):  # host read: only beside a node that cuts
        return None
    places = torch.stack([top, left], dim=1).tolist()  # host read: only beside a node that cuts
    return [(x.shape[2], x.shape[3], *place) for place in places]
