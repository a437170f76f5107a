"""One sampling run of the cure: what the running step does, and what has to outlast it.

`personal` is what the model predicts with the identity, `bare` what it predicts for the same prompt without, from the
`twins` of the guider's conditionings.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from comfy.samplers import CFGGuider

from ...cure.blend import add_response
from ...cure.modes import COMPARED_EVERY, COMPARED_UNTIL, GAIN, PARSED_AT
from .. import keys
from ..sampling.rows import Place
from ..sampling.run import Run
from ..sampling.spans import FOREVER
from ..sampling.twins import TwinRun
from .plan import CurePlan
from .trajectory import OwnTrajectory
from .where import Where, Words


@dataclass(frozen=True)
class Step:
    """What one step does."""

    acts: bool = False  # the picture is changed
    collects: bool = False  # maps of where the attributes are come in
    compares: bool = False  # the prompt without its attributes is evaluated too
    parses: bool = False  # a face parser looks at the bare prediction
    shares_keys: bool = False  # rows with identity see keys of their twins
    needs_bare: bool = False  # there has to be a bare prediction


BETWEEN = Step()  # two steps: nothing is done


class CureRun(TwinRun):
    """State of one sampling run; dropped when it ends.

    A step is one prediction that a sampler asks for. It may take several evaluations: context windows show some of the
    pictures each, and guidance nodes evaluate once more. Each set of pictures is worked on once in a step; what else is
    evaluated gets the same answer and changes nothing.
    """

    def __init__(self, plan: CurePlan, guider, positive: list[dict], twins: list[dict], run: Run):
        super().__init__(guider, positive, twins, run)
        self.plan, self.where = plan, Where(plan)
        self.words = None if plan.select is None else Words(plan.context, plan.select)
        self._prompts: set | None = None  # the names of those twins that say the prompt
        self.trajectory = OwnTrajectory(run)
        self.step = BETWEEN
        self.shared_steps, self.kept_any = 0, False  # how many steps share keys, and whether any were there to share
        self._acting = self._mapping = self._parsing = FOREVER  # from which noise level to which
        self.mapped = 0  # steps in which maps could come in
        self._done: set[tuple] = set()  # the sets of pictures that this step has worked on
        # Whether there is an unconditional prediction too; it is CFGGuider's own rule that CFG 1 does without.
        alone = getattr(guider, "cfg", None) == 1 and type(guider).predict_noise is CFGGuider.predict_noise
        self._has_unconditional = bool(guider.conds.get("negative")) and not alone
        self._responses: dict[tuple[int, ...], torch.Tensor] = {}  # the latest [B,C,H,W] by the pictures' numbers
        self._fresh = False  # whether the last step has made one of all pictures by a comparison
        # Predictions of this step that wait for an unconditional one to be compared with.
        self._bare: dict[tuple[int, ...], torch.Tensor] = {}
        # Where the running step shares keys.
        self._key_mask: torch.Tensor | None = None
        self._tokens: dict[tuple, tuple[torch.Tensor, torch.Tensor]] = {}

    # -- steps -------------------------------------------------------------------------------------------------------

    def open(self, sigmas: torch.Tensor):
        """Lay out what goes by shares of this run's own steps; img2img may begin late in the whole denoising."""
        self._acting = self.run.levels(self.plan.span)
        start, end = _levels(sigmas, 0.0, 1.0 if self.plan.mode.reads_maps else COMPARED_UNTIL)
        self._mapping = start, max(end, self._acting[1])
        self._parsing = _levels(sigmas, PARSED_AT, 1.0)

    def begin_step(self, x: torch.Tensor, sigmas: torch.Tensor, always: bool = False):
        """Work out what this step does. `always`: it evaluates the twins, whether it needs them or not."""
        self._done = set()
        plan, mode = self.plan, self.plan.mode
        if not plan.has_place:
            return
        acts = self.run.within(self._acting, sigmas)
        maps = bool(plan.attributes) and self.run.within(self._mapping, sigmas)
        self.mapped += maps
        collects = maps and (mode.reads_maps or (self.mapped - 1) % COMPARED_EVERY == 0)
        parses = plan.regions is not None and not self.where.parsed and self.run.within(self._parsing, sigmas)
        # Without an unconditional prediction a response takes two evaluations, so it serves for the next step as well.
        alone = acts and mode.responds and not self._has_unconditional
        rests = alone and self._fresh and not collects and not parses
        needs_bare = collects or always or (acts and (mode.shares_keys or not rests))
        self.step = Step(
            acts=acts,
            collects=collects,
            compares=(collects and not mode.reads_maps) or (alone and not rests),
            parses=parses,
            shares_keys=acts and mode.shares_keys,
            needs_bare=needs_bare or (plan.separate and not self._is_over(sigmas)),
        )
        self.gives_keys = self.step.shares_keys
        self.shared_steps += self.gives_keys
        self.where.open(x)
        if self.gives_keys and self._key_mask is not self.where.mask():  # one for all evaluations of the step
            self._key_mask, self._tokens = self.where.mask(), {}

    def end_step(self):
        """The prediction that the sampler asked for is made."""
        self.where.close()
        self.keys.clear()
        self._bare.clear()
        self._fresh = self.step.acts and self.step.compares and tuple(range(self.where.pictures)) in self._responses
        self.step, self.gives_keys = BETWEEN, False

    def begin_pictures(self, mark: tuple) -> bool:
        """Whether this step has not worked on these pictures yet; now it has."""
        first = mark not in self._done
        self._done.add(mark)
        return first

    @property
    def frames(self) -> tuple[int, ...]:
        """The numbers of the pictures in the evaluation that is running."""
        return self.run.calls[-1].frames

    @property
    def reads_maps(self) -> bool:
        """Whether the running step wants attention maps."""
        return self.step.collects

    def says_words(self, name: Any) -> bool:
        """Whether the twin of that name (its uuid) is the prompt, of which it is known where its words are."""
        if self._prompts is None:
            self._prompts = _saying(self.guider.conds[keys.TWIN_ENTRIES], self.plan.context)
        return name in self._prompts

    def add_maps(self, maps: torch.Tensor, size: tuple[int, int], place: Place):
        self.where.add_maps(maps, size, place)

    def _is_over(self, sigmas):
        """Whether both ranges lie behind, so that a trajectory of its own leads nowhere any more."""
        last = min(self._acting[1], self._mapping[1] if self.plan.attributes else FOREVER[0])
        return last > FOREVER[1] and self.run.sigma(sigmas) < last

    # -- predictions -------------------------------------------------------------------------------------------------

    def lacking(self) -> list[list[dict]]:
        """The conditionings without identity that lack the attributes, where this step compares with them."""
        return [self.of_window(self.guider.conds[keys.LACKING])] if self.step.compares else []

    def missing_negative(self, kinds: list[int]) -> list[list[dict]]:
        """The negative list, where a response is to be parted from its prediction and a guider asks for it later."""
        wanted = self.plan.mode.responds and self._has_unconditional and 1 not in kinds
        return [self.of_window(self.guider.conds["negative"])] if wanted else []

    def add_bare(self, bare: torch.Tensor, unconditional: torch.Tensor | None, lacking: torch.Tensor | None = None):
        """Predictions [B,C,H,W] of the running pictures without identity, at one latent: of the prompt, the
        unconditional one if there is one by now, and of the prompt that lacks the attributes if that was asked for."""
        frames, step = self.frames, self.step
        if step.collects and lacking is not None:
            self.where.add_difference(bare, lacking, frames)
        if step.parses and self.plan.regions is not None:
            self.where.add_regions(self.plan.regions.regions(self.guider.inner_model, bare), frames)
        if not (step.acts and self.plan.mode.responds):
            return
        other = unconditional if self._has_unconditional else lacking
        if other is not None:
            self._responses[frames] = bare - other
        elif self._has_unconditional:
            self._bare[frames] = bare

    def answered(self, predictions: list[torch.Tensor], kinds: list[int]) -> list[torch.Tensor]:
        """The predictions [B,C,H,W] of the running pictures by list, the conditional ones with the response."""
        if not (self.step.acts and self.plan.mode.responds) or 0 not in kinds:
            return predictions
        frames = self.frames
        self.where.close()
        if frames in self._bare and 1 in kinds:
            self._responses[frames] = self._bare.pop(frames) - predictions[kinds.index(1)]
        response, mask = self._responses.get(frames), self.where.mask()
        if response is None or mask is None:
            return predictions
        mask = self.of_pictures(mask) * (self.plan.strength * GAIN)
        crop = self.run.calls[-1].crop
        if isinstance(crop, str):  # UNKNOWN
            self.run.say(
                "another node evaluates other pictures than the sampler's within a step, where AttributeCure can't "
                "follow; leave that node out."
            )
            return predictions
        if crop is not None:
            place = Place(self.where.grid, frames, tile=crop)
            mask, response = place.cut(mask), place.cut(response)
        return [
            add_response(prediction, response, mask) if kind == 0 else prediction
            for prediction, kind in zip(predictions, kinds, strict=True)
        ]

    def replacing_mask(self) -> torch.Tensor | None:
        """Where [B,1,H,W] and how much the bare prediction takes the personal one's place in this step, or None."""
        if not (self.step.acts and self.plan.mode.replaces):
            return None
        self.where.close()
        mask = self.where.mask()
        return None if mask is None else mask * self.plan.strength

    def of_pictures(self, masks: torch.Tensor) -> torch.Tensor:
        """The rows of masks [B,...] for the running pictures."""
        frames = self.frames
        return masks if len(frames) == len(masks) else masks[list(frames)]

    # -- keys --------------------------------------------------------------------------------------------------------

    def kept(
        self, k: torch.Tensor, v: torch.Tensor, size: tuple[int, int], place: Place
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The twins' keys and values [B,E,C] inside the mask, or None while there is no mask."""
        if self._key_mask is None:
            return None
        self.kept_any = True
        index, _ = self._extra_tokens(size, place)
        index = index.unsqueeze(-1)
        return k.gather(1, index.expand(-1, -1, k.shape[-1])), v.gather(1, index.expand(-1, -1, v.shape[-1]))

    def bias(self, size: tuple[int, int], place: Place) -> torch.Tensor | None:
        return self._extra_tokens(size, place)[1]

    def _extra_tokens(self, size, place):
        """Which of size[0] x size[1] tokens are given away: (index [B,E], bias [B,E]).

        Only tokens inside the mask; the bias is the published one plus the logarithm of mask and strength, so that a
        half-covered token, or half the strength, means half the odds.
        """
        if (size, place) not in self._tokens:
            mask = place.cut(self._key_mask)[list(place.frames)]
            share = F.adaptive_avg_pool2d(mask, size).flatten(1)
            count = int((share > 0).sum(dim=1).max())  # host read: how many keys to keep, once per mask and size
            share, index = share.topk(max(count, 1), dim=1)
            self._tokens[size, place] = index, (share * self.plan.strength).log() + self.plan.extra_keys.bias
        return self._tokens[size, place]


def _saying(entries, context):
    """The names of those conditionings that begin as the prompt [1,T,D] does, else of all: nodes that append something
    (ConditioningConcat, a style model's picture) leave its tokens where they are."""

    def says(text):
        # host read: once per run
        return text.shape[1] >= context.shape[1] and torch.equal(text[:, : context.shape[1]], context.to(text))

    return {one["uuid"] for one in entries if says(one["cross_attn"])} or {one["uuid"] for one in entries}


def _levels(sigmas, start, end):
    """The noise levels from which and to which a share of the steps of a schedule [steps + 1] goes."""
    steps = len(sigmas) - 1
    first, last = math.ceil(start * steps - 1e-6), math.ceil(end * steps - 1e-6) - 1
    if first > last:
        return 0.0, 0.0
    # host read: twice per run
    upper = FOREVER[0] if first <= 0 else float(sigmas[first])
    return upper, FOREVER[1] if last >= steps - 1 else float(sigmas[last])
