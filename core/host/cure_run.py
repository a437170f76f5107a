"""One sampling run of the cure: what it is asked to do, and what it has found out so far."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from ..cure import Attribute, CureSettings
from ..cure.blend import add_response
from ..cure.inversion import euler_step
from ..cure.maps import MapSum, prediction_difference, to_grid
from ..cure.masks import cluster, covered_clusters, cross_attention_masks, feather, picture_masks, unite, with_regions
from .cure_layers import CureLayers
from .cure_regions import RegionReader
from .prompt import Encoded
from .run import Run
from .twins import FOREVER, TwinRun

KEY = "likeness_cure"
TEMPLATE, WITHOUT = "likeness_template", "likeness_without_{}"  # conditionings that the cure adds to a guider's own


@dataclass(frozen=True)
class CurePlan:
    """What to cure in any run of a model. Noise levels are (from, to), the former the higher one.

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
    blend_range: tuple[float, float]
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
    """State of one sampling run; dropped when it ends."""

    def __init__(self, plan: CurePlan, guider, positive: list[dict], twins: list[dict], levels: Run):
        super().__init__(guider, positive, twins, levels, absent=plan.settings.identity_off == "absent")
        self.plan = plan
        self.acts = self.collects = self.compares = False  # what the running step does
        self._parses = False
        self._map_range = self._parse_range = FOREVER
        # Whether ComfyUI evaluates the unconditional half too.
        self.guided = bool(guider.conds.get("negative")) and getattr(guider, "cfg", None) != 1
        self.response = None  # [B,A,C,H,W]
        self._foundation = None  # its latest prediction, until there is an unconditional one to compare with
        self._age = self._map_age = -1
        self.text_keys = {}
        self._select = None
        self.denoise_mask = None
        self.attribute_masks = None
        self._maps = [MapSum(plan.settings.map_decay) for _ in range(2)]  # of the foundation, of the personalised rows
        self._features = self._features_size = None
        self._regions = None
        self._mask, self._tokens = None, {}
        self._artist = None
        self._latent = self._denoised = self._sigmas = self._level = None

    # -- when --------------------------------------------------------------------------------------------------------

    def open(self, sigmas: torch.Tensor):
        """Lay out what goes by shares of this run's own steps; img2img may begin late in the whole denoising."""
        settings = self.plan.settings
        start, end = _span(sigmas, settings.map_start, settings.map_end)
        self._map_range = start, max(end, self.plan.blend_range[1])
        self._parse_range = _span(sigmas, settings.parse_at, 1.0)

    def begin_step(self, x: torch.Tensor, sigmas: torch.Tensor) -> tuple[bool, bool]:
        """Whether this step needs the foundation's prediction, and whether it blends."""
        plan = self.plan
        if not plan.has_place:
            return False, False
        self.acts = self.within(plan.blend_range, sigmas)
        self.collects = plan.needs_maps and self.within(self._map_range, sigmas)
        by_difference = plan.settings.source == "difference"
        if self.collects and by_difference:
            self._map_age += 1
            self.collects = self._map_age % plan.settings.map_stride == 0
        self.gives_keys = self.acts and plan.shares_keys
        self.grid = tuple(x.shape[-2:])
        self.artist_mask(x)
        responds = self.acts and plan.responds
        self._age += responds
        responds = responds and self._age % plan.settings.refresh == 0
        self._parses = plan.reader is not None and self._regions is None and self.within(self._parse_range, sigmas)
        self.compares = (self.collects and by_difference) or (responds and not self.answers_by_guidance)
        needed = responds or self.collects or self.gives_keys or (self.acts and plan.replaces)
        return needed or (plan.separate and not self._is_over(sigmas)), self.acts

    def _is_over(self, sigmas):
        """Whether both ranges lie behind, so that a trajectory of its own leads nowhere any more."""
        last = min(self.plan.blend_range[1], self._map_range[1] if self.plan.needs_maps else FOREVER[0])
        return last > FOREVER[1] and self.levels.sigma(sigmas) < last

    def end_step(self):
        self.keys.clear()
        self.collects = self.compares = self.gives_keys = False
        self.close_maps()

    def close_maps(self):
        """Let the maps of this step count."""
        if any([maps.end_step() for maps in self._maps]):
            self._mask, self._tokens = None, {}

    # -- where -------------------------------------------------------------------------------------------------------

    def select(self, device) -> torch.Tensor:
        """The plan's `select`, on the device that is computed on."""
        if self._select is None or self._select.device != device:
            self._select = self.plan.select.to(device)
        return self._select

    def add_maps(self, maps, size, grid, uuid, personal):
        """Attention maps [B,A,N] of one layer with size[0] x size[1] tokens, from a chunk of `grid` latent cells.

        `personal`: of the rows with identity rather than the foundation's.
        """
        self._maps[personal].add(to_grid(maps, size, grid), self.areas.get(uuid), self.grid)

    def without(self) -> list[list[dict]]:
        """The foundation's conditionings that lack some attributes, where this step compares with them."""
        return [self.guider.conds[WITHOUT.format(number)] for number in range(len(self.plan.without) * self.compares)]

    @property
    def answers_by_guidance(self) -> bool:
        """Whether the response is what parts the foundation's prediction from the unconditional one."""
        return self.plan.settings.response == "prompt" and self.guided

    def add_foundation(self, prediction: torch.Tensor, unconditional: torch.Tensor | None, without: list[torch.Tensor]):
        """The foundation's predictions [B,C,H,W] in a step: its own, the unconditional one if it was evaluated at the
        same latent already, and those that lack some attributes."""
        if self.collects and self.plan.settings.source == "difference":
            self._maps[0].add(torch.cat([prediction_difference(prediction, other) for other in without], dim=1))
        if self._parses:
            self._regions = self.plan.reader.regions(self.guider.inner_model, prediction)
            self._mask, self._tokens = None, {}
        if not (self.acts and self.plan.responds):
            return
        if not self.answers_by_guidance:
            self.response = torch.stack([prediction - other for other in without], dim=1)
        elif unconditional is not None:
            self.response = (prediction - unconditional).unsqueeze(1)
        else:
            self._foundation = prediction

    def answered(self, predictions: list[torch.Tensor]) -> list[torch.Tensor]:
        """The predictions [B,C,H,W] of the running forward, the conditional ones with the response."""
        if not (self.acts and self.plan.responds) or 0 not in self.kinds:
            return predictions
        self.close_maps()
        if self._foundation is not None and 1 in self.kinds[: len(predictions)]:
            self.response = (self._foundation - predictions[self.kinds.index(1)]).unsqueeze(1)
            self._foundation = None
        if self.response is None:
            return predictions
        mask = self.mask()
        if mask is None:
            return predictions
        masks = self.attribute_masks if self.attribute_masks.shape[1] == self.response.shape[1] else mask
        masks = masks * (self.plan.strength * self.plan.settings.gain)
        return [
            add_response(prediction, self.response, masks) if kind == 0 else prediction
            for prediction, kind in zip(predictions, self.kinds, strict=False)
        ]

    def add_features(self, features, size, grid, uuid):
        """Self-attention features [B,N,C] of the whole picture; a later layer takes the place of an earlier one."""
        if self.areas.get(uuid) is None:
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

    def extra_tokens(self, size: tuple[int, int], uuid) -> tuple[torch.Tensor, torch.Tensor]:
        """Which of the foundation's size[0] x size[1] tokens are given away: (index [B,E], bias [B,E]).

        Only tokens inside the mask; the bias is the published one plus the logarithm of mask and strength, so that a
        half-covered token, or half the strength, means half the odds. There must be a mask.
        """
        area = self.areas.get(uuid)
        if (size, area) not in self._tokens:
            mask = self.mask()
            if area is not None:
                mask = mask.narrow(2, area[2], area[0]).narrow(3, area[3], area[1])
            share = F.adaptive_avg_pool2d(mask, size).flatten(1)
            count = int((share > 0).sum(dim=1).max())  # host read: how many keys to keep, once per mask and size
            share, index = share.topk(max(count, 1), dim=1)
            self._tokens[size, area] = index, (share * self.plan.strength).log() + self.plan.layers.bias
        return self._tokens[size, area]

    def kept(self, k, v, size, uuid):
        """The foundation's keys and values [B,E,C] inside the mask, or None while there is no mask."""
        if self.mask() is None:
            return None
        index, _ = self.extra_tokens(size, uuid)
        return tuple(t.gather(1, index.unsqueeze(-1).expand(-1, -1, t.shape[-1])) for t in (k, v))

    def own(self, k, v, k_extra, v_extra, size, uuid):
        return k, v, self.extra_tokens(size, uuid)[1]

    # -- a trajectory of the foundation's own ------------------------------------------------------------------------

    def follow(self, x: torch.Tensor, sigmas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The foundation's own latent at this noise level, and its prediction if that is known already.

        It starts at the first latent that the sampler shows and takes Euler steps along the sampler's noise levels.
        Where an inpainting mask keeps the picture, it keeps it too.
        """
        if self._latent is None:
            self._latent = x.clone()
        else:
            level = self.levels.sigma(sigmas)  # host read: second-order samplers come back to a level, at no price
            if level == self._level:
                return self._latent, self._denoised
            self._latent = euler_step(self._latent, self._denoised, self._sigmas, _column(sigmas))
            if self.denoise_mask is not None:
                self._latent = torch.lerp(x, self._latent, self.denoise_mask)
        return self._latent, None

    def followed(self, denoised: torch.Tensor, sigmas: torch.Tensor):
        """Keep the foundation's prediction at this level for the step to the next."""
        self._denoised, self._sigmas, self._level = denoised, _column(sigmas), self.levels.sigma(sigmas)


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
