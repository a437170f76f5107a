"""One sampling run of the cure: what it is asked to do, and what it has found out so far."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from comfy.samplers import CFGGuider

from ...cure import Attribute, CureSettings
from ...cure.blend import add_response
from ...cure.inversion import euler_step
from ...cure.maps import MapSum, of_frames, prediction_difference, to_grid
from ...cure.masks import cluster, covered_clusters, cross_attention_masks, feather, picture_masks, unite, with_regions
from .. import keys
from ..conditioning.prompt import Encoded
from ..sampling.rows import Place
from ..sampling.run import UNKNOWN, Run
from ..sampling.spans import FOREVER, Span
from ..sampling.twins import TwinRun
from ..unet.layers import CureLayers
from .regions import RegionReader


@dataclass(frozen=True)
class CurePlan:
    """What to cure in any run of a model.

    `context` [1,T,D] is the encoded prompt, `select` [T,A] picks its attribute tokens; `mask` [M,H,W] is the artist's.
    """

    attributes: tuple[Attribute, ...]  # those with a place
    context: torch.Tensor
    select: torch.Tensor
    without: tuple[Encoded, ...]  # the prompts that it is compared with, which lack some attributes
    template: Encoded | None  # the prompt without its abstract words; None: no abstract pass
    reader: RegionReader | None  # a face parser
    mode: str
    separate: bool
    strength: float
    depth: float
    mask: torch.Tensor | None
    foundation: Any | None  # a MODEL of its own
    span: Span  # when it blends
    settings: CureSettings
    layers: CureLayers
    observe: Any | None  # called at the end of a run with the attributes and their masks [B,A,H,W]

    @property
    def blends_noise(self) -> bool:
        return self.mode != "shared_attention"

    @property
    def responds(self) -> bool:
        """Whether the blending adds the foundation's response rather than putting its prediction in place."""
        return self.settings.responds(self.mode)

    @property
    def replaces(self) -> bool:
        return self.blends_noise and not self.responds

    @property
    def shares_keys(self) -> bool:
        return self.mode != "noise_blend"

    @property
    def needs_maps(self) -> bool:
        return bool(self.attributes) and self.settings.source != "mask"

    @property
    def has_place(self) -> bool:
        """Whether anything but the abstract pass is to be done."""
        return bool(self.attributes) or self.mask is not None

    @property
    def apart(self) -> bool:
        """Whether the foundation is evaluated in a forward of its own rather than in the same batch."""
        return self.separate or self.foundation is not None


class CureRun(TwinRun):
    """State of one sampling run; dropped when it ends.

    A step is one prediction that a sampler asks for. It may take several evaluations: context windows show some of the
    pictures each, and guidance nodes evaluate once more. Each set of pictures is worked on once in a step; what else is
    evaluated gets the same answer and changes nothing.
    """

    def __init__(self, plan: CurePlan, guider, positive: list[dict], twins: list[dict], run: Run):
        super().__init__(guider, positive, twins, run, absent=plan.settings.identity_off == "absent")
        self.plan = plan
        self.needed = self.acts = self.collects = self.compares = False  # what the running step does
        self._parses = False
        self._done = set()  # the sets of pictures that this step has worked on
        self.pictures, self.grid = 0, None  # how many are sampled, height and width of their latent
        self.shared_steps, self.kept_any = 0, False  # how many steps share keys, and whether any were there to share
        self._blend_range = self._map_range = self._parse_range = FOREVER
        # Whether the unconditional half is evaluated too; it is CFGGuider's own rule that CFG 1 does without.
        without = getattr(guider, "cfg", None) == 1 and type(guider).predict_noise is CFGGuider.predict_noise
        self.guided = bool(guider.conds.get("negative")) and not without
        self.responses = {}  # the latest [B,A,C,H,W] by the pictures' numbers
        self._foundation = {}  # its predictions in this step, until there is an unconditional one to compare with
        self._age = self._map_age = -1
        self.text_keys = {}
        self._select = None
        self.denoise_mask = None
        self.attribute_masks = None
        self._maps = [MapSum(plan.settings.map_decay) for _ in range(2)]  # of the foundation, of the personalised rows
        self._features = self._features_size = None
        self._regions = None
        self._mask = None
        self._key_mask, self._tokens = None, {}  # where the running step shares keys
        self._artist = None
        self._latent = self._denoised = self._sigmas = self._level = None

    # -- when --------------------------------------------------------------------------------------------------------

    def open(self, sigmas: torch.Tensor):
        """Lay out what goes by shares of this run's own steps; img2img may begin late in the whole denoising."""
        settings = self.plan.settings
        start, end = _span(sigmas, settings.map_start, settings.map_end)
        self._blend_range = self.run.levels(self.plan.span)
        self._map_range = start, max(end, self._blend_range[1])
        self._parse_range = _span(sigmas, settings.parse_at, 1.0)

    def begin_step(self, x: torch.Tensor, sigmas: torch.Tensor, always: bool = False):
        """Work out what this step does. `always`: it evaluates the foundation, whether it is needed or not."""
        plan = self.plan
        self._done = set()
        if not plan.has_place:
            return
        self.acts = self.run.within(self._blend_range, sigmas)
        self.collects = plan.needs_maps and self.run.within(self._map_range, sigmas)
        by_difference = plan.settings.source == "difference"
        if self.collects and by_difference:
            self._map_age += 1
            self.collects = self._map_age % plan.settings.map_stride == 0
        self.gives_keys = self.acts and plan.shares_keys
        self.shared_steps += self.gives_keys
        self.pictures, self.grid = x.shape[0], tuple(x.shape[-2:])
        self.artist_mask(x)
        if self.gives_keys and self._key_mask is not self.mask():  # one for all evaluations of the step
            self._key_mask, self._tokens = self.mask(), {}
        responds = self.acts and plan.responds
        self._age += responds
        responds = responds and self._age % plan.settings.refresh == 0
        self._parses = plan.reader is not None and self._regions is None and self.run.within(self._parse_range, sigmas)
        self.compares = (self.collects and by_difference) or (responds and not self.answers_by_guidance)
        needed = responds or self.collects or self.gives_keys or (self.acts and plan.replaces) or always
        self.needed = needed or (plan.separate and not self._is_over(sigmas))

    def end_step(self):
        """The prediction that the sampler asked for is made."""
        self.close_maps()
        self.keys.clear()
        self._foundation.clear()
        self.needed = self.acts = self.collects = self.compares = self._parses = self.gives_keys = False

    @property
    def frames(self) -> tuple[int, ...]:
        """The numbers of the pictures in the evaluation that is running."""
        return self.run.call.frames

    def begin_pictures(self, frames: tuple[int, ...]) -> bool:
        """Whether this step has not worked on these pictures yet; now it has."""
        first = frames not in self._done
        self._done.add(frames)
        return first

    def _is_over(self, sigmas):
        """Whether both ranges lie behind, so that a trajectory of its own leads nowhere any more."""
        last = min(self._blend_range[1], self._map_range[1] if self.plan.needs_maps else FOREVER[0])
        return last > FOREVER[1] and self.run.sigma(sigmas) < last

    def close_maps(self):
        """Let the maps that have come in count."""
        if any([maps.end_step() for maps in self._maps]):
            self._mask = None

    # -- where -------------------------------------------------------------------------------------------------------

    def select(self, device) -> torch.Tensor:
        """The plan's `select`, on the device that is computed on."""
        if self._select is None or self._select.device != device:
            self._select = self.plan.select.to(device)
        return self._select

    def add_maps(self, maps, size, place: Place, personal):
        """Attention maps [B,A,N] of one layer with size[0] x size[1] tokens, from a block that shows `place`.

        `personal`: of the rows with identity rather than the foundation's.
        """
        grid = self.grid if place.area is None else place.area[:2]
        self._add(self._maps[personal], to_grid(maps, size, grid), place.frames, place.area)

    def _add(self, maps: MapSum, found, frames, area=None):
        some = None if len(frames) == self.pictures else frames
        maps.add(found, area, self.grid, some, self.pictures)

    def without(self) -> list[list[dict]]:
        """The foundation's conditionings that lack some attributes, where this step compares with them."""
        names = [keys.WITHOUT.format(number) for number in range(len(self.plan.without) * self.compares)]
        return [self.of_window(self.guider.conds[name]) for name in names]

    @property
    def answers_by_guidance(self) -> bool:
        """Whether the response is what parts the foundation's prediction from the unconditional one."""
        return self.plan.settings.response == "prompt" and self.guided

    def add_foundation(self, prediction: torch.Tensor, unconditional: torch.Tensor | None, without: list[torch.Tensor]):
        """The foundation's predictions [B,C,H,W] of the running pictures: its own, the unconditional one if it was
        evaluated at the same latent already, and those that lack some attributes."""
        frames = self.frames
        if self.collects and self.plan.settings.source == "difference":
            difference = torch.cat([prediction_difference(prediction, other) for other in without], dim=1)
            self._add(self._maps[0], difference, frames)
        if self._parses:
            self._add_regions(self.plan.reader.regions(self.guider.inner_model, prediction), frames)
        if not (self.acts and self.plan.responds):
            return
        if not self.answers_by_guidance:
            self.responses[frames] = torch.stack([prediction - other for other in without], dim=1)
        elif unconditional is not None:
            self.responses[frames] = (prediction - unconditional).unsqueeze(1)
        else:
            self._foundation[frames] = prediction

    def _add_regions(self, regions, frames):
        """A parser's regions [b,1,H,W] of some pictures; where windows overlap, the later one's count."""
        if len(frames) < self.pictures:
            regions = [None if one is None else of_frames(one, frames, self.pictures) for one in regions]
            if self._regions is not None:
                seen = torch.zeros(self.pictures, 1, 1, 1, dtype=torch.bool)
                seen[list(frames)] = True
                pairs = zip(regions, self._regions, strict=True)
                regions = [new if new is None else torch.where(seen.to(new.device), new, old) for new, old in pairs]
        self._regions, self._mask = regions, None

    def answered(self, predictions: list[torch.Tensor], kinds: list[int]) -> list[torch.Tensor]:
        """The predictions [B,C,H,W] of the running pictures by list, the conditional ones with the response."""
        if not (self.acts and self.plan.responds) or 0 not in kinds:
            return predictions
        frames = self.frames
        self.close_maps()
        if frames in self._foundation and 1 in kinds:
            unconditional = predictions[kinds.index(1)]
            self.responses[frames] = (self._foundation.pop(frames) - unconditional).unsqueeze(1)
        response, mask = self.responses.get(frames), self.mask()
        if response is None or mask is None:
            return predictions
        masks = self.attribute_masks if self.attribute_masks.shape[1] == response.shape[1] else mask
        masks = self.of_pictures(masks) * (self.plan.strength * self.plan.settings.gain)
        crop = self.run.call.crop
        if crop == UNKNOWN:
            self.run.say(
                "another node evaluates other pictures than the sampler's within a step, where AttributeCure can't "
                "follow; leave that node out."
            )
            return predictions
        if crop is not None:
            place = Place(self.grid, frames, tile=crop)
            masks, response = place.cut(masks), place.cut(response.flatten(1, 2)).unflatten(1, response.shape[1:3])
        return [
            add_response(prediction, response, masks) if kind == 0 else prediction
            for prediction, kind in zip(predictions, kinds, strict=True)
        ]

    def of_pictures(self, masks: torch.Tensor) -> torch.Tensor:
        """The rows of masks [B,...] for the running pictures."""
        frames = self.frames
        return masks if len(frames) == len(masks) else masks[list(frames)]

    def add_features(self, features, size, place: Place):
        """Self-attention features [B,N,C] of the whole picture; a later layer takes the place of an earlier one."""
        if place.area is None and len(place.frames) == self.pictures:
            self._features, self._features_size = features, size

    def artist_mask(self, x: torch.Tensor) -> torch.Tensor | None:
        """The artist's masks on the grid of a latent batch x [B,C,H,W] -> [B,1,H,W], or None."""
        if self._artist is None and self.plan.mask is not None:
            self._artist = picture_masks(self.plan.mask.to(x), x.shape[0], tuple(x.shape[-2:]))
        return self._artist

    def mask(self) -> torch.Tensor | None:
        """Where the foundation has its say [B,1,H,W] in 0..1, or None while no map has come in."""
        if self._mask is None:
            self._mask = self._make_mask()
        return self._mask

    def _make_mask(self):
        if not self.plan.needs_maps:
            self.attribute_masks = self._artist
            return self._artist
        settings = self.plan.settings
        found = [self._located(maps.mean()) for maps in self._maps if maps.mean() is not None]
        if not found:
            return None
        masks = found[0] if len(found) == 1 else torch.maximum(*found)
        if settings.source != "cross" and self._features is not None:
            semantic = self._semantic(masks)
            masks = semantic if settings.source == "semantic" else masks * semantic
        if self._regions is not None:
            masks = with_regions(masks, self._regions)
        masks = feather(masks, settings.feather)
        self.attribute_masks = masks if self._artist is None else masks * self._artist
        return unite(self.attribute_masks)

    def _located(self, maps):
        settings = self.plan.settings
        if settings.source == "difference":
            maps = feather(maps, settings.blur * min(maps.shape[-2:]))
        elif settings.relative:
            maps = maps[:, :-1] / maps[:, -1:].clamp_min(1e-6)
        return cross_attention_masks(maps, settings.sharpen, settings.threshold, settings.softness)

    def _semantic(self, masks):
        settings, size = self.plan.settings, self._features_size
        labels = cluster(self._features, settings.clusters)
        small = F.adaptive_avg_pool2d(masks, size).flatten(2)
        chosen = covered_clusters(labels, small, settings.clusters, settings.coverage)
        return to_grid(chosen, size, self.grid)

    def extra_tokens(self, size: tuple[int, int], place: Place) -> tuple[torch.Tensor, torch.Tensor]:
        """Which of the foundation's size[0] x size[1] tokens are given away: (index [B,E], bias [B,E]).

        Only tokens inside the mask; the bias is the published one plus the logarithm of mask and strength, so that a
        half-covered token, or half the strength, means half the odds. There must be a mask.
        """
        if (size, place) not in self._tokens:
            mask = place.cut(self._key_mask)[list(place.frames)]
            share = F.adaptive_avg_pool2d(mask, size).flatten(1)
            count = int((share > 0).sum(dim=1).max())  # host read: how many keys to keep, once per mask and size
            share, index = share.topk(max(count, 1), dim=1)
            self._tokens[size, place] = index, (share * self.plan.strength).log() + self.plan.layers.bias
        return self._tokens[size, place]

    def kept(self, k, v, size, place):
        """The foundation's keys and values [B,E,C] inside the mask, or None while there is no mask."""
        if self._key_mask is None:
            return None
        self.kept_any = True
        index, _ = self.extra_tokens(size, place)
        return tuple(t.gather(1, index.unsqueeze(-1).expand(-1, -1, t.shape[-1])) for t in (k, v))

    def own(self, k, v, k_extra, v_extra, size, place):
        return k, v, self.extra_tokens(size, place)[1]

    # -- a trajectory of the foundation's own ------------------------------------------------------------------------

    def follow(self, x: torch.Tensor, sigmas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The foundation's own latent at this noise level, and its prediction if that is known already.

        It starts at the first latent that the sampler shows and takes Euler steps along the sampler's noise levels.
        Where an inpainting mask keeps the picture, it keeps it too.
        """
        if self._latent is None:
            self._latent = x.clone()
        else:
            level = self.run.sigma(sigmas)  # host read: second-order samplers come back to a level, at no price
            if level == self._level:
                return self._latent, self._denoised
            self._latent = euler_step(self._latent, self._denoised, self._sigmas, _column(sigmas))
            if self.denoise_mask is not None:
                self._latent = torch.lerp(x, self._latent, self.denoise_mask)
        return self._latent, None

    def followed(self, denoised: torch.Tensor, sigmas: torch.Tensor):
        """Keep the foundation's prediction at this level for the step to the next."""
        self._denoised, self._sigmas, self._level = denoised, _column(sigmas), self.run.sigma(sigmas)


def _span(sigmas, start, end):
    """The noise levels from which and to which a share of the steps of a schedule [steps + 1] goes."""
    steps = len(sigmas) - 1
    first, last = math.ceil(start * steps - 1e-6), math.ceil(end * steps - 1e-6) - 1
    if first > last:
        return 0.0, 0.0
    # host read: twice per run
    upper = FOREVER[0] if first <= 0 else float(sigmas[first])
    return upper, FOREVER[1] if last >= steps - 1 else float(sigmas[last])


def _column(sigmas):
    return sigmas.view(-1, 1, 1, 1)
