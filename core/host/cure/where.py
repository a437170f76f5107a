"""Where in the pictures of a run the cure works: masks, from what has been found out so far."""

from collections.abc import Callable

import torch

from ...cure.maps import MapSum, of_frames, prediction_difference, to_grid
from ...cure.masks import attention_masks, difference_masks, picture_masks, unite, with_regions
from ...sizes import height_width
from ..sampling.rows import Place
from .plan import CurePlan


class Where:
    """Maps come in while a step runs and count when it is closed; a mask stands until something new has counted.

    `pictures` are sampled on latents of height and width `grid`. `attributes` are the masks [B,A,H,W] in 0..1 of each
    attribute, or of all together, within the artist's; None before the first.
    """

    def __init__(self, plan: CurePlan):
        self._plan = plan
        self.pictures, self.grid = 0, (0, 0)
        self.attributes: torch.Tensor | None = None
        self._maps = MapSum()
        # A parser's [B,1,H,W] per attribute, or None for one that it doesn't know.
        self._regions: list[torch.Tensor | None] | None = None
        self._artist: torch.Tensor | None = None
        self._mask: torch.Tensor | None = None

    def open(self, x: torch.Tensor):
        """Before a step on latents x [B,C,H,W]."""
        self.pictures, self.grid = x.shape[0], height_width(x.shape)
        self.artist(x)

    def artist(self, x: torch.Tensor) -> torch.Tensor | None:
        """The artist's masks on the grid of a latent batch x [B,C,H,W] -> [B,1,H,W], or None."""
        if self._artist is None and self._plan.mask is not None:
            self._artist = picture_masks(self._plan.mask.to(x), x.shape[0], height_width(x.shape))
        return self._artist

    def mask(self) -> torch.Tensor | None:
        """Where the cure works [B,1,H,W] in 0..1, or None while nothing has been found."""
        if self._mask is None:
            self.attributes = self._found()
            self._mask = None if self.attributes is None else unite(self.attributes)
        return self._mask

    def _found(self):
        if not self._plan.attributes:
            return self._artist
        maps = self._maps.mean()
        if maps is None:
            return None
        if self._plan.mode.reads_maps:
            masks = attention_masks(maps)
        else:
            masks = difference_masks(maps)
        if self._regions is not None:
            share = self._plan.mode.region_share
            masks = with_regions(masks, [None if one is None else one * share for one in self._regions])
        return masks if self._artist is None else masks * self._artist

    # -- what comes in -----------------------------------------------------------------------------------------------

    def add_difference(self, one: torch.Tensor, other: torch.Tensor, frames: tuple[int, ...]):
        """Two predictions [b,C,H,W] of some pictures that differ where the attributes are."""
        self._add(prediction_difference(one, other), frames)

    def add_maps(self, maps: torch.Tensor, size: tuple[int, int], place: Place):
        """Attention maps [b,A,N] of one layer with size[0] x size[1] tokens, from rows that show `place`."""
        grid = self.grid if place.area is None else place.area[:2]
        self._add(to_grid(maps, size, grid), place.frames, place.area)

    def _add(self, maps, frames, area=None):
        self._maps.add(maps, area, self.grid, None if len(frames) == self.pictures else frames, self.pictures)

    def add_regions(self, regions: list[torch.Tensor | None], frames: tuple[int, ...]):
        """A parser's regions [b,1,H,W] of some pictures; where windows overlap, the later one's count."""
        if len(frames) < self.pictures:
            regions = [None if one is None else of_frames(one, frames, self.pictures) for one in regions]
            if self._regions is not None:
                seen = torch.zeros(self.pictures, 1, 1, 1, dtype=torch.bool)
                seen[list(frames)] = True
                pairs = zip(regions, self._regions, strict=True)
                regions = [
                    new if new is None or old is None else torch.where(seen.to(new.device), new, old)
                    for new, old in pairs
                ]
        self._regions, self._mask = regions, None

    def close(self):
        """Let the maps that have come in count."""
        if self._maps.end_step():
            self._mask = None

    @property
    def parsed(self) -> bool:
        """Whether a parser's regions have come in."""
        return self._regions is not None


class Words:
    """A prompt's words as cross-attentions see them, kept while a run lasts."""

    def __init__(self, context: torch.Tensor, select: torch.Tensor):
        self._context, self._select = context, select
        self._keys: dict[tuple, torch.Tensor] = {}

    def at(self, site: tuple, to_k: Callable, like: torch.Tensor) -> torch.Tensor:
        """The keys [1,T,C] of the words at a site, by its own projection."""
        if site not in self._keys:
            self._keys[site] = to_k(self._context.to(like))
        return self._keys[site]

    def select(self, like: torch.Tensor) -> torch.Tensor:
        """[T,A], which picks the tokens that count, on the device of a tensor."""
        if self._select.device != like.device:
            self._select = self._select.to(like.device)
        return self._select
