"""Which rows of a running batch are whose, and what of the picture they show.

ComfyUI runs several conditionings in one batch, each for all pictures. Other nodes cut that batch further: area prompts
and tiles show a part of the picture, context windows some of the pictures, tile batches repeat the whole batch for
every tile, and attention couples repeat rows in the middle of an attention.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
import torch.nn.functional as F

from ...attention import token_mask
from .. import keys

_UNCONDITIONAL = 1  # ComfyUI's number for it, by which attention couples tell which rows not to repeat


@dataclass(frozen=True)
class IdentityOff:
    """Which chunks of a batch go without identity: adapters add nothing at all there."""

    chunks: tuple[bool, ...]

    def present(self, rows: torch.Tensor) -> torch.Tensor | None:
        """The rows that keep the identity, or None when there are none."""
        kept = [chunk for chunk, off in zip(rows.chunk(len(self.chunks)), self.chunks, strict=True) if not off]
        return torch.cat(kept) if kept else None

    def spread(self, rows: torch.Tensor) -> torch.Tensor:
        """What `present` kept, back at its place, with zeros elsewhere."""
        kept = rows.chunk(self.chunks.count(False))
        nothing, parts = torch.zeros_like(kept[0]), iter(kept)
        return torch.cat([nothing if off else next(parts) for off in self.chunks])


@dataclass(frozen=True)
class Place:
    """What a block of rows shows, in cells of the latent.

    `grid`: (height, width) of the whole picture. `frames`: the number of the picture in each row. `area`: (height,
    width, top, left) of an area prompt, or None. `tile`: the same within the area; it may go over the edge and on at
    the other side.
    """

    grid: tuple[int, int]
    frames: tuple[int, ...]
    area: tuple[int, int, int, int] | None = None
    tile: tuple[int, int, int, int] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the rows show whole pictures."""
        return self.area is None and self.tile is None

    def cut(self, pictures: torch.Tensor) -> torch.Tensor:
        """The part [M,C,h,w] that the rows show of pictures [M,C,H,W] on the whole grid."""
        if self.area is not None:
            height, width, top, left = self.area
            pictures = pictures.narrow(2, top, height).narrow(3, left, width)
        if self.tile is not None:
            for dim, length, start in ((2, self.tile[0], self.tile[2]), (3, self.tile[1], self.tile[3])):
                cells = torch.arange(start, start + length, device=pictures.device) % pictures.shape[dim]
                pictures = pictures.index_select(dim, cells)
        return pictures

    def tokens(self, masks: torch.Tensor, size: tuple[int, int], patch: int = 0) -> torch.Tensor:
        """Masks [M,H,W] of whole pictures, of any size, on size[0] x size[1] tokens of these rows -> [rows,N,1].

        `patch`: cells of the latent along a side of a token, whose mask is their mean; 0: interpolated.
        """
        if patch:
            grid = self.grid if self.grid != (0, 0) else (size[0] * patch, size[1] * patch)
            cells = self.cut(F.interpolate(masks.unsqueeze(1), size=grid, mode="area"))
            missing = [length * patch - have for length, have in zip(size, cells.shape[-2:], strict=True)]
            cells = F.pad(cells, (0, missing[1], 0, missing[0]), mode="replicate")
            return token_mask(F.avg_pool2d(cells, patch).squeeze(1), *size, self.frames)
        if not self.is_whole:
            whole = F.interpolate(masks.unsqueeze(1), size=self.grid, mode="bilinear", align_corners=False)
            masks = self.cut(whole).squeeze(1)
        return token_mask(masks, *size, self.frames)


@dataclass(frozen=True)
class Rows:
    """The rows of one forward: blocks of `size` rows each, in the order of the batch.

    For each block, `kinds` has 0 for a conditional one and 1 for any other, `uuids` its conditioning entry (None:
    unknown), and `numbers` what other packs see of it. `off`: which blocks go without identity. `find_places` tells
    what each shows; it is asked once, and only where somebody wants to know. `sources`: in a batch that an attention
    couple has repeated rows of, which block of the forward each one is.
    """

    kinds: tuple[int, ...]
    uuids: tuple
    numbers: tuple[int, ...]
    size: int
    off: IdentityOff | None = None
    find_places: Callable[[], tuple[Place, ...] | None] = field(default=lambda: None, compare=False)
    sources: tuple[int, ...] | None = None

    @cached_property
    def places(self) -> tuple[Place, ...] | None:
        """What each block shows; None where another node cuts the picture in a way that can't be followed."""
        return self.find_places()

    @property
    def count(self) -> int:
        return len(self.kinds) * self.size

    @cached_property
    def of_people(self) -> "Rows":
        """The same, with all but conditional blocks without identity."""
        off = tuple(kind != 0 or self.is_off(index) for index, kind in enumerate(self.kinds))
        return replace(self, off=IdentityOff(off)) if any(off) else self

    def is_off(self, index: int) -> bool:
        """Whether a block goes without identity."""
        return self.off is not None and self.off.chunks[index]

    def conditional(self, without_identity: bool) -> list[int]:
        """The conditional blocks that go without identity, or those that have it."""
        return [i for i, kind in enumerate(self.kinds) if kind == 0 and self.is_off(i) == without_identity]

    def grown(self, count: int) -> "Rows":
        """The rows in an attention where an attention couple repeats every block that is not unconditional."""
        repeated = sum(number != _UNCONDITIONAL for number in self.numbers)
        more, odd = divmod(count - self.count, self.size * max(repeated, 1))
        if odd or more < 0:
            raise ValueError(
                f"Another node changes the number of rows from {self.count} to {count} in the middle of an attention, "
                "and which of them are the person's can't be known; leave that node or ApplyIDAdapter out."
            )
        times = [1 if number == _UNCONDITIONAL else 1 + more for number in self.numbers]
        sources = tuple(index for index, copies in enumerate(times) for _ in range(copies))

        def spread(values):
            return tuple(values[index] for index in sources)

        return Rows(
            spread(self.kinds),
            spread(self.uuids),
            spread(self.numbers),
            self.size,
            None if self.off is None else IdentityOff(spread(self.off.chunks)),
            lambda: None if self.places is None else spread(self.places),
            sources,
        )

    def spread(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows of the forward, repeated as an attention couple has repeated these."""
        if self.sources is None or rows.shape[0] == self.count:
            return rows
        blocks = rows.split(self.size)
        return torch.cat([blocks[index] for index in self.sources])

    def masks(self, masks: torch.Tensor, size: tuple[int, int], patch: int = 0) -> torch.Tensor:
        """A person's masks [M,H,W] on size[0] x size[1] tokens of every row -> [rows,N,1]. `places` must be known."""
        places = self.places or ()
        made = {place: place.tokens(masks, size, patch) for place in places}
        if len(made) == 1:
            (tokens,) = made.values()
            return tokens if len(self.kinds) == 1 else tokens.repeat(len(self.kinds), 1, 1)
        return torch.cat([made[place] for place in places])


def rows_of(options: dict, count: int) -> Rows:
    """The `count` rows that an attention is working on."""
    rows = options.get(keys.ROWS)
    if rows is None:  # a sampler that goes around ComfyUI's own
        rows = in_chunks(options["cond_or_uncond"], count)
    return rows if rows.count == count else rows.grown(count)


def in_chunks(
    numbers: Sequence[int], count: int, uuids: Sequence | None = None, off: IdentityOff | None = None
) -> Rows:
    """Rows in equal chunks, each with whole pictures, of which ComfyUI's numbers tell whose they are."""
    size = count // len(numbers)
    place = Place((0, 0), tuple(range(size)))
    kinds = tuple(min(number, 1) for number in numbers)
    uuids = (None,) * len(kinds) if uuids is None else tuple(uuids)
    return Rows(kinds, uuids, tuple(numbers), size, off, lambda: (place,) * len(kinds))
