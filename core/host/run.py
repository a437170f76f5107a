"""What lives for one sampling run: memos that save work between steps, and the count of sites that fired."""

import logging

from comfy.patcher_extension import WrappersMP

KEY = "likeness"


class Run:
    """Memo of one sampling run. Everything in it is dropped when the run ends."""

    def __init__(self, conds: dict[str, list[dict]] | None = None):
        """`conds`: a guider's conditionings by name."""
        self.fired = set()
        self.masks = {}
        self._kinds = {}
        for name, entries in (conds or {}).items():
            self._kinds.update({entry["uuid"]: 0 if name == "positive" else 1 for entry in entries})
        self._sigmas = None
        self._sigma = 0.0

    def kinds(self, options: dict) -> list[int]:
        """0 for each conditional chunk of the batch that is running, 1 for each other.

        ComfyUI numbers the lists of a guider, which is the same for conditional and unconditional, but not for guiders
        that have three (DualCFGGuider, PerpNegGuider).
        """
        numbers, uuids = options["cond_or_uncond"], options.get("uuids", ())
        if len(uuids) != len(numbers):  # a model wrapper has taken the batch apart
            uuids = [None] * len(numbers)
        return [self._kinds.get(uuid, min(number, 1)) for uuid, number in zip(uuids, numbers, strict=True)]

    def sigma(self, sigmas) -> float:
        """The noise level of this forward as a number; read once per forward, however many sites ask."""
        if sigmas is not self._sigmas:
            self._sigma = float(sigmas[0])  # host read: only for a partial step range
            self._sigmas = sigmas
        return self._sigma


class RunScope:
    """OUTER_SAMPLE wrapper: opens a Run, and warns when another node has taken attention sites from us."""

    def __init__(self, sites: frozenset):
        self.sites = sites

    def __call__(self, executor, *args, **kwargs):
        guider = executor.class_obj
        options = guider.model_options.setdefault("transformer_options", {})
        run = options[KEY] = Run(guider.conds)
        try:
            result = executor(*args, **kwargs)
        finally:
            options.pop(KEY, None)
        missed, sigmas = len(self.sites - run.fired), args[3]
        if missed and len(sigmas) > 1:  # with one noise level there is no step to take
            logging.warning(
                "Likeness: %d of %d attention layers never got the identity; a node after ApplyIDAdapter replaced "
                "them. Put ApplyIDAdapter after that node.",
                missed,
                len(self.sites),
            )
        return result


def open_scope(model, sites):
    """Make `model` (a clone of the caller's own) open a Run at every sampling; chained adapters share one."""
    before = model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY)
    for scope in before:
        sites = sites | scope.sites
    model.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, KEY)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, RunScope(frozenset(sites)))
