"""What lives for one sampling run: whose rows a batch has, memos that save work between steps, which sites fired."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any
from uuid import UUID

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrapperExecutor, WrappersMP
from comfy.samplers import CFGGuider

from ...sizes import height_width
from .. import keys
from .people import ControlledPerson, people_drawn, without_people
from .rows import IdentityOff, Place, Rows
from .spans import FOREVER, Span, levels_of
from .tiles import RowMap, row_numbers, tiles_of

UNKNOWN = "unknown"
SELF = "self"  # ("self", *key) is the self-attention of a site in Run.fired


@dataclass
class Call:
    """One evaluation of lists of conditionings: ComfyUI's calc_cond_batch.

    For each list, `kinds` has 0 (conditional) or 1, and `off` whether it goes without identity. `areas`: the part of
    the picture that an entry is about, by its uuid. `frames`: the numbers of the pictures; `grid`: height and width of
    the latent. `crop`: the part (height, width, top, left) of the pictures that a node cut out before the call, None
    for all of them, UNKNOWN where that can't be followed. `renamed`: whether there are lists that no other pack knows.
    """

    kinds: list[int]
    off: list[bool]
    areas: dict
    frames: tuple[int, ...]
    grid: tuple[int, int]
    renamed: bool
    crop: tuple[int, int, int, int] | str | None = None


class Run:
    """Memo of one sampling run. Everything in it is dropped when the run ends."""

    def __init__(self, guider=None, pictures: int | None = None, sigmas=None, grid: tuple[int, int] | None = None):
        """`pictures`: how many the guider samples, latents of height and width `grid`; `sigmas`: its noise levels."""
        self.fired: set[tuple] = set()
        self.masks: dict[tuple, torch.Tensor] = {}
        self.calls: list[Call] = []  # that are running, the innermost last
        self.guider, self.pictures, self.sigmas, self.grid = guider, pictures, sigmas, grid
        self._whole: torch.Tensor | None = None  # the pictures that were evaluated last
        self.row_map: RowMap | None = None  # RowMap around another node's model function wrapper
        self._kinds: dict[UUID, int] = {}
        self._levels: dict[Span, tuple[float, float]] = {}
        self._said: set[str] = set()
        self._sigmas: torch.Tensor | None = None
        self._sigma = 0.0
        if guider is not None:
            self.note(guider.conds)

    def note(self, conds: dict[str, list[dict]]):
        """Remember whose the entries of a guider's conditionings are, by the names that the guider gives them."""
        for name, entries in conds.items():
            self._kinds.update({entry["uuid"]: _kind(name) for entry in entries})

    def say(self, sentence: str, *values: Any):
        """A warning, once in a run."""
        if sentence not in self._said:
            self._said.add(sentence)
            logging.warning("Likeness: " + sentence, *values)

    # -- whose rows --------------------------------------------------------------------------------------------------

    def kinds(self, lists: list) -> list[int]:
        """0 for each list of conditionings that is conditional, 1 for each other.

        ComfyUI's numbers mean something else in guiders with three lists, and in calls that nodes make by themselves.
        Its entries alone don't tell either: for area prompts it copies positive ones into the negative list. So a list
        is what the guider calls it, else what its first known entry is; copies stand at the end.
        """
        found = [self._kind_of(entries) for entries in lists]
        if all(kind is None for kind in found) and "positive" not in (self.guider.conds if self.guider else ()):
            return [min(number, 1) for number in range(len(lists))]
        if len(found) > 1 and found[0] is None and 0 not in found[1:]:
            found[0] = 0  # prompts of another node's, in the order that every CFG has them
        return [1 if kind is None else kind for kind in found]

    def _kind_of(self, entries):
        for name, own in self.guider.conds.items() if self.guider else ():
            if own is entries:
                return _kind(name)
        return next((self._kinds[entry["uuid"]] for entry in entries or () if entry.get("uuid") in self._kinds), None)

    @contextlib.contextmanager
    def calling(self, lists: list, x: torch.Tensor, options: dict, off: list[bool] | None = None) -> Iterator[Call]:
        """Know of an evaluation of lists of conditionings while it runs. `off`: which lists go without identity."""
        outer = self.calls[-1] if self.calls else None
        frames = self._window(options, x.shape[0]) or tuple(range(x.shape[0]))
        areas = {} if outer is None else dict(outer.areas)
        areas.update(_areas(lists, x))
        if off is None and outer is not None and len(outer.kinds) == len(lists):  # the same lists, a window of them
            kinds, off, renamed = outer.kinds, outer.off, outer.renamed
        else:
            kinds, renamed = self.kinds(lists), off is not None
            off = off or [False] * len(lists)
        call = Call(kinds, off, areas, frames, height_width(x.shape), renamed, self._crop(x))
        self.calls.append(call)
        try:
            yield call
        finally:
            self.calls.pop()

    def _crop(self, x):
        """Which part of the pictures x [B,C,H,W] is: nodes such as Sliding Window Guidance evaluate windows of them."""
        if self.grid is None or height_width(x.shape) == self.grid:
            self._whole = x
            return None
        if self._whole is None or x.ndim != 4 or x.shape[0] != self._whole.shape[0]:
            return UNKNOWN
        found = tiles_of(x, self._whole, range(len(x)))
        return found[0] if found is not None and len(set(found)) == 1 else UNKNOWN

    def _window(self, options, pictures):
        """Which pictures a context window shows, ComfyUI's own or AnimateDiff-Evolved's; None: all."""
        window = options.get("context_window")
        if window is not None and getattr(window, "dim", 0) == 0:
            frames = window.index_list
        else:
            frames = (options.get("ad_params") or {}).get("sub_idxs")
        if not frames or len(frames) != pictures or self.pictures is None or pictures >= self.pictures:
            return None
        return tuple(int(frame) for frame in frames)

    def rows(self, x: torch.Tensor, options: dict, row_map: torch.Tensor | None = None) -> Rows:
        """The rows of a forward on x [B,C,H,W]; `row_map` is what tiles.RowMap sent along."""
        call, numbers = self.calls[-1] if self.calls else None, options["cond_or_uncond"]
        uuids = options.get("uuids") or ()
        if len(uuids) != len(numbers):  # another node has taken the batch apart
            uuids = (None,) * len(numbers)
        chunks = list(zip(numbers, uuids, strict=True))
        cut = None if self.row_map is None else self.row_map.cut
        if cut is not None and x.shape == cut.shape:  # nothing was cut
            cut = None
        sources = None if cut is None else row_numbers(row_map, x)
        if sources is not None and self.row_map is not None:
            chunks = self.row_map.chunks
        if call is None:  # a node that calls the model by itself
            call = Call(
                [min(number, 1) for number in range(max(numbers) + 1)], [False] * (max(numbers) + 1), {},
                tuple(range(x.shape[0] // len(numbers))), height_width(x.shape), False,
            )  # fmt: skip
        blocks, size = self._blocks(x, options, call, len(chunks), sources)
        listed, marks = zip(*(chunks[chunk] for chunk, _ in blocks), strict=True)
        off = tuple(call.off[number] for number in listed)
        kinds = tuple(call.kinds[number] for number in listed)

        def places():
            tiles, grid = [call.crop] * len(blocks), call.grid if call.crop is None else self.grid
            if cut is not None:
                found = None if sources is None else tiles_of(x, cut, sources)
                tiles = [UNKNOWN] if found is None or call.crop is not None else found[::size]
            if UNKNOWN in tiles or (call.crop is not None and call.areas):
                self.say(
                    "another node cuts the picture into parts and changes them before the model sees them, so that "
                    "masks can't follow; leave that node out, or work without masks."
                )
                return None
            return tuple(
                Place(grid, frames, call.areas.get(mark), tile)
                for (_, frames), mark, tile in zip(blocks, marks, tiles, strict=True)
            )

        switched = IdentityOff(off) if any(off) else None
        return Rows(kinds, marks, kinds if call.renamed else listed, size, switched, places)

    def _blocks(self, x, options, call, chunks, sources):
        """[(chunk, frames)] of the blocks of equal size that x consists of, and their size.

        Tile batches repeat the whole batch for every tile, which only the row numbers (`sources`) tell for sure.
        """
        frames = self._inner_window(options, x.shape[0] // chunks) or call.frames
        size = len(frames)
        if sources is not None:
            each = [divmod(number, size) for number in sources]
            whole = [(each[start][0], list(range(size))) for start in range(0, len(each), size)]
            if [(chunk, number) for chunk, numbers in whole for number in numbers] == each:
                return [(chunk, frames) for chunk, _ in whole], size
            return [(chunk, (frames[number],)) for chunk, number in each], 1
        if x.shape[0] % (chunks * size):
            size, odd = divmod(x.shape[0], chunks)
            if odd:
                raise ValueError(
                    f"Another node hands the model {x.shape[0]} rows for {chunks} prompts, and which of them are the "
                    "person's can't be known; leave that node or ApplyIDAdapter out."
                )
            frames = tuple(range(size))
        return [(chunk, frames) for chunk in range(chunks)] * (x.shape[0] // (chunks * size)), size

    def _inner_window(self, options, pictures):
        """A window that another node has cut since our call began: AnimateDiff-Evolved may stand on either side."""
        return self._window(options, pictures) if self.calls and pictures < len(self.calls[-1].frames) else None

    # -- when --------------------------------------------------------------------------------------------------------

    def sigma(self, sigmas: torch.Tensor) -> float:
        """The noise level of this forward as a number; read once per forward, however many sites ask."""
        if sigmas is not self._sigmas:
            self._sigma = float(sigmas[0])  # host read: only for a partial step range
            self._sigmas = sigmas
        return self._sigma

    def levels(self, span: Span) -> tuple[float, float]:
        """The noise levels (from, to) of a part of the denoising in this run's schedule."""
        if self.guider is None:
            return span.levels
        if span not in self._levels:
            sampling = self.guider.model_patcher.get_model_object("model_sampling")
            sigmas = self.sigmas.cpu() if span.counts_steps else None  # host read: once a run
            self._levels[span] = levels_of(sampling, span.start_at, span.end_at, sigmas)
        return self._levels[span]

    def within(self, levels: tuple[float, float], sigmas: torch.Tensor) -> bool:
        """Whether the noise level lies between two (from, to), the former the higher one."""
        upper, lower = levels
        if upper <= lower:
            return False
        return (upper >= FOREVER[0] and lower <= FOREVER[1]) or lower <= self.sigma(sigmas) <= upper


def _kind(name):
    return 0 if name == "positive" or name.startswith(keys.OURS) else 1


def _areas(lists, x):
    """Which part of the picture entries are about, as ComfyUI cuts it: {uuid: (height, width, top, left)}."""
    areas = {}
    for entry in (entry for entries in lists for entry in entries or ()):
        if "area" in entry and "uuid" in entry:
            half = len(entry["area"]) // 2  # (lengths ..., starts ...), of videos more than two of each
            (height, width), (top, left) = entry["area"][half - 2 : half], entry["area"][-2:]
            areas[entry["uuid"]] = min(x.shape[-2] - top, height), min(x.shape[-1] - left, width), top, left
    return areas


# -- in ComfyUI's sampling -------------------------------------------------------------------------------------------


class RunScope:
    """OUTER_SAMPLE wrapper: opens a Run, and warns when another node has taken attention sites from us.

    `sites`: names as in Run.fired. `people`: who is to be drawn by a ControlNet of their own.
    """

    def __init__(self, sites: frozenset, people: frozenset[ControlledPerson] = frozenset()):
        self.sites, self.people = sites, people

    def __call__(self, executor: WrapperExecutor, *args, **kwargs) -> torch.Tensor:
        guider = executor.class_obj
        noise, sigmas = args[0], args[3]
        missing = len(self.people - people_drawn(chain(*guider.conds.values()))) if self.people else 0
        if missing:
            logging.warning(
                "Likeness: %d of %d people are not drawn, because no InfuseNet reads them; connect positive of "
                "ApplyIDAdapter to LandmarkControl, and that to the sampler, with ranges that have a part in common.",
                missing, len(self.people),
            )  # fmt: skip
        with opened(guider, noise, sigmas) as run:
            result = executor(*args, **kwargs)
        missed = self.sites - run.fired
        if len(sigmas) > 1:  # with one noise level there is no step to take
            _warn_of([site for site in self.sites if site[0] != SELF], missed, "got the identity", "ApplyIDAdapter")
            ours = "AttributeCure or ApplyIDAdapter with mixed_attention"
            _warn_of([site for site in self.sites if site[0] == SELF], missed, "shared their keys", ours)
        return result


def _warn_of(sites, missed, what, ours):
    lost = [site for site in sites if site in missed]
    if lost:
        logging.warning(
            "Likeness: %d of %d %s layers never %s; a node after %s replaced them. Put %s after that node.",
            len(lost), len(sites), "self-attention" if lost[0][0] == SELF else "attention", what, ours, ours,
        )  # fmt: skip


def _with_nobody(entry):
    return {**entry, "model_conds": without_people(entry.get("model_conds", {}))}


@contextlib.contextmanager
def opened(guider: CFGGuider, noise: torch.Tensor, sigmas: torch.Tensor) -> Iterator[Run]:
    """The Run of a guider that is about to sample, and another node's model function wrapper under watch."""
    options = guider.model_options.setdefault("transformer_options", {})
    if keys.RUN in options:
        yield options[keys.RUN]
        return
    for name, entries in guider.conds.items():  # nodes such as ConditioningZeroOut make negatives of positives
        if _kind(name) == 1 and any(keys.PEOPLE in entry.get("model_conds", {}) for entry in entries or ()):
            guider.conds[name] = [_with_nobody(entry) for entry in entries]
    run = options[keys.RUN] = Run(guider, noise.shape[0], sigmas, height_width(noise.shape))
    cutter = guider.model_options.get("model_function_wrapper")
    if cutter is not None:
        run.row_map = guider.model_options["model_function_wrapper"] = RowMap(cutter)
    try:
        yield run
    finally:
        options.pop(keys.RUN, None)
        if cutter is not None:
            guider.model_options["model_function_wrapper"] = cutter


def calc_cond_batch(
    executor: WrapperExecutor,
    model: torch.nn.Module,
    conds: list,
    x: torch.Tensor,
    timestep: torch.Tensor,
    model_options: dict,
) -> list:
    """One evaluation of lists of conditionings: know what they are while it runs."""
    options = model_options["transformer_options"]
    run = options.get(keys.RUN)
    if run is None:
        return executor(model, conds, x, timestep, model_options)
    with run.calling(conds, x, options):
        return executor(model, conds, x, timestep, model_options)


def apply_model(
    executor: WrapperExecutor,
    x: torch.Tensor,
    timestep: torch.Tensor,
    c_concat: torch.Tensor | None = None,
    c_crossattn: torch.Tensor | None = None,
    control: dict | None = None,
    transformer_options: dict | None = None,
    **rest: Any,
) -> torch.Tensor:
    """One forward: say whose its rows are, and call all lists conditional or not where there are some of ours.

    A list of ours has a number that no other pack knows, so that must not get further than here.
    """
    options, row_map = transformer_options or {}, rest.pop(keys.ROW_MAP, None)
    run = options.get(keys.RUN)
    transformer_options = options = {**options, keys.LATENT: height_width(x.shape)}
    if run is not None and keys.ROWS not in options and "cond_or_uncond" in options:
        rows = run.rows(x, options, row_map)
        numbers = list(options["cond_or_uncond"])  # attention couples lengthen the very list that they get
        if run.calls and run.calls[-1].renamed:
            numbers = [run.calls[-1].kinds[number] for number in numbers]
        transformer_options = {**options, keys.ROWS: rows, "cond_or_uncond": numbers}
    return executor(x, timestep, c_concat, c_crossattn, control, transformer_options, **rest)


def open_scope(model: ModelPatcher, sites: frozenset, people: frozenset[ControlledPerson] = frozenset()):
    """Make `model` (a clone of the caller's own) open a Run at every sampling; chained adapters share one.

    `sites`: the names in Run.fired of what is to be called in every run. `people`: see RunScope.
    """
    for scope in model.get_wrappers(WrappersMP.OUTER_SAMPLE, keys.RUN):
        sites, people = sites | scope.sites, people | scope.people
    model.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, keys.RUN)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, keys.RUN, RunScope(frozenset(sites), people))
    watch_forwards(model)


def watch_forwards(model: ModelPatcher):
    """Make `model` (a clone of the caller's own) know whose rows are whose in runs that somebody opens."""
    for kind, wrapper in ((WrappersMP.CALC_COND_BATCH, calc_cond_batch), (WrappersMP.APPLY_MODEL, apply_model)):
        if not model.get_wrappers(kind, keys.RUN):
            model.add_wrapper_with_key(kind, keys.RUN, wrapper)
