"""Rows without identity beside those with it, in one sampling run: what the attribute cure and mixed attention ask.

Each conditional entry of a guider has a twin: the same prompt without identity, which ComfyUI runs as one more list of
conditionings of the batch.
"""

import uuid

import torch
from comfy.patcher_extension import WrapperExecutor
from comfy.samplers import CFGGuider

from .. import keys
from ..conditioning.control_reads import without_identity
from ..conditioning.face_context import without_face
from .people import without_people
from .run import Run


class TwinRun:
    """State of one sampling run in which conditional entries have twins without identity; dropped when it ends.

    A subclass that shares keys in self-attention has two more methods, `kept` and `own` (`self_attention.ExtraKeys`).
    """

    def __init__(self, guider, positive: list[dict], twins: list[dict], run: Run):
        self.guider, self.run = guider, run
        self.twin_of = {one["uuid"]: other["uuid"] for one, other in zip(positive, twins, strict=True)}
        self.all_off = False  # whether the forward that is running goes without identity altogether
        self.gives_keys = False  # whether the running step shares keys
        self.keys: dict[tuple, tuple[torch.Tensor, torch.Tensor]] = {}

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

        ComfyUI runs the last lists first: those that give their keys away stand behind those that take them. The
        unconditional ones go to the end, so that the batch begins with them as in any CFG: other nodes count on that.
        """
        lists, options = [*before, *conds, *after], model_options["transformer_options"]
        off = [True] * len(before) + [self.all_off] * len(conds) + [True] * len(after)
        kinds = self.run.kinds(lists)
        order = sorted(range(len(lists)), key=kinds.__getitem__)  # stable
        with self.run.calling([lists[i] for i in order], x, options, [off[i] for i in order]):
            out = executor(model, [lists[i] for i in order], x, timestep, model_options)
        return [out[order.index(i)] for i in range(len(lists))]


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
