"""Rows without identity beside those with it, in one sampling run: what the attribute cure and mixed attention ask.

Each conditional entry of a guider has a twin: the same prompt without identity, which ComfyUI runs as one more list of
conditionings of the batch.
"""

import uuid
from collections.abc import Callable

import torch
from comfy.patcher_extension import WrapperExecutor
from comfy.samplers import CFGGuider, cond_equal_size

from .. import keys
from ..conditioning.control_reads import without_identity
from ..conditioning.face_context import without_face
from .people import without_people
from .rows import Place, Rows
from .run import Run

MERGED = (  # for Run.say
    "another node merges or cuts the tokens of self-attentions (HyperTile and ToMe do), so that some layers share no "
    "keys; leave that node out, or use neither mixed_attention nor the modes shared_attention and both."
)
Given = tuple[torch.Tensor, torch.Tensor]  # keys and values [B,E,C] of a twin's


class TwinRun:
    """State of one sampling run in which conditional entries have twins without identity; dropped when it ends.

    Where keys are shared in self-attention, a subclass says which ones and how: `kept`, `bias` and `style`.
    """

    # How far a row's own keys and values are moved towards its twin's mean, 0 to 1.
    style = 0.0
    # Whether the twin's keys halve what the picture sees of itself, where it sees a prompt too, so that a twin that is
    # no other than its person changes nothing. Otherwise they come on top, as FreeCure has it.
    halves = False

    def __init__(self, guider, positive: list[dict], twins: list[dict], run: Run):
        self.guider, self.run = guider, run
        self.twin_of = {one["uuid"]: other["uuid"] for one, other in zip(positive, twins, strict=True)}
        self.all_off = False  # whether the forward that is running goes without identity altogether
        self.gives_keys = False  # whether the running step shares keys
        self.keys: dict[tuple, Given | None] = {}
        self.halved: dict[tuple, torch.Tensor] = {}  # the bias that does so, once a run

    def twins(self, entries: list[dict]) -> list[dict]:
        """The twins of the entries of a conditional list.

        What ComfyUI copied into the list, for an area that another one has, it copied into the twins' as well.
        """
        by_uuid = {entry["uuid"]: entry for entry in self.of_window(self.guider.conds[keys.TWIN_ENTRIES])}
        return [by_uuid.get(self.twin_of.get(entry["uuid"], entry["uuid"]), entry) for entry in entries]

    def of_window(self, entries: list[dict]) -> list[dict]:
        """Conditionings as a context window has them that is running: what they have of each picture, of its own."""
        frames, pictures = self.run.calls[-1].frames, self.run.pictures
        if len(frames) == pictures:
            return entries
        index = list(frames)

        def cut(value):
            if isinstance(value, torch.Tensor) and value.ndim and value.shape[0] == pictures:
                return value[index]
            if isinstance(value, dict):
                return {key: cut(part) for key, part in value.items()}
            inner = getattr(value, "cond", None)  # ComfyUI's wrapper around a tensor for the model (comfy.conds)
            if isinstance(inner, torch.Tensor) and inner.ndim and inner.shape[0] == pictures:
                return value._copy_with(inner[index])
            return value

        return [{key: cut(value) for key, value in entry.items()} for entry in entries]

    # -- shared keys -------------------------------------------------------------------------------------------------

    def kept(self, k: torch.Tensor, v: torch.Tensor, size: tuple[int, int], place: Place) -> Given | None:
        """Those keys and values of a twin's k, v [B,N,C] that are given away, or None.

        They are of size[0] x size[1] tokens, which show `place`.
        """
        return k, v

    def bias(self, size: tuple[int, int], place: Place) -> torch.Tensor | None:
        """The bias [B,E] on the logits of the keys that `kept` gives there, or None."""
        return None

    def shared_keys(
        self, site: tuple, rows: Rows, block: Callable[[int], Given], size: tuple[int, int]
    ) -> list[Given | None]:
        """What the self-attention `site` lets each block of rows see of its twin's; None for all others.

        `block(index)`: keys and values [B,N,C] of the size[0] x size[1] tokens of the picture in a block of rows, whose
        places must be known.
        """
        places = rows.places or ()
        marks = list(zip(rows.uuids, places, strict=True))
        for index in rows.conditional(without_identity=True):
            self.keys[site, marks[index]] = self.kept(*block(index), size, places[index])
        # A twin's block that ComfyUI ran in a batch before has left its keys; one in this batch left them just now.
        given: list[Given | None] = [None] * len(marks)
        for index in rows.conditional(without_identity=False):
            name, place = marks[index]
            given[index] = self.keys.pop((site, (self.twin_of.get(name, name), place)), None)
        return given

    # -- evaluations -------------------------------------------------------------------------------------------------

    def evaluate(
        self,
        executor: WrapperExecutor,
        model: torch.nn.Module,
        conds: list,
        before: list,
        after: list,
        x: torch.Tensor,
        timestep: torch.Tensor,
        model_options: dict,
    ) -> list:
        """Predictions [B,C,H,W] of lists of conditionings, and of those without identity before and behind them.

        ComfyUI runs the last lists of a batch first: those that give their keys away stand behind those that take them.
        Where the two fit in no batch, it would run them too late, so they have a call of their own. The unconditional
        ones go to the end, so that the batch begins with them as in any CFG: other nodes count on that.
        """

        def predictions(lists, off):
            kinds = self.run.kinds(lists)
            order = sorted(range(len(lists)), key=kinds.__getitem__)  # stable
            sorted_lists, options = [lists[i] for i in order], model_options["transformer_options"]
            with self.run.calling(sorted_lists, x, options, [off[i] for i in order]):
                out = executor(model, sorted_lists, x, timestep, model_options)
            return [out[order.index(i)] for i in range(len(lists))]

        off = [True] * len(before) + [self.all_off] * len(conds)
        if self.gives_keys and self._misfit(conds, after):
            ahead = predictions(after, [True] * len(after))
            return predictions([*before, *conds], off) + ahead
        return predictions([*before, *conds, *after], [*off, *[True] * len(after)])

    def _misfit(self, conds, twins):
        """Whether some entry and its twin can't be in one batch: a text of another length, a ControlNet for one."""
        by_uuid = {entry["uuid"]: entry for entries in twins for entry in entries}
        pairs = [(one, by_uuid.get(self.twin_of.get(one["uuid"]))) for entries in conds for one in entries or ()]
        return any(
            other is not None
            and (
                one.get("control") is not other.get("control")
                or not cond_equal_size(one["model_conds"], other["model_conds"])
            )
            for one, other in pairs
        )


def add_twins(guider: CFGGuider, run: Run) -> tuple[list[dict], list[dict]]:
    """Give a guider's positive entries twins, as conditionings of its own; returns both."""
    positive, negative = guider.conds["positive"], guider.conds.get("negative") or []
    guider.conds[keys.TWIN_ENTRIES] = [_without_identity(entry, negative) for entry in positive]
    run.note({keys.TWIN_ENTRIES: guider.conds[keys.TWIN_ENTRIES]})
    return positive, guider.conds[keys.TWIN_ENTRIES]


def _without_identity(entry, negative):
    """The twin of a conditioning entry: the prompt without a face in it, nobody for the ControlNet."""
    twin = {**entry, **without_identity(entry, negative), "uuid": uuid.uuid4()}
    twin["model_conds"] = without_people(twin["model_conds"])
    if "cross_attn" in entry:
        twin["cross_attn"] = without_face(entry["cross_attn"], entry.get(keys.PLAIN))
    return twin
