"""Rows without identity beside those with it, in one sampling run: what the attribute cure and mixed attention ask.

Each conditional entry of a guider has a twin: the same prompt without identity, which ComfyUI runs as one more list of
conditionings of the batch.
"""

import uuid

from .control_reads import without_identity
from .face_context import without_face
from .run import Run
from .switch import KEY as IDENTITY_OFF
from .switch import IdentityOff

KEY = "likeness_twins"  # the TwinRun in transformer options, while a model samples
FOUNDATION = "likeness_foundation"  # the twins among a guider's conditionings
PLAIN_KEY = "likeness_plain_text"  # what a prompt with a face in it was, as encoded, before the face went in
FOREVER = (999999999.0, 0.0)  # what percent_to_sigma gives for 0 % and 100 %


class TwinRun:
    """State of one sampling run; dropped when it ends.

    `absent`: adapters add nothing at all to twins, else the identity of no face. What is left to do to a class that
    shares keys in self-attention: `kept` and `own`, see `extra_keys.ExtraKeys`.
    """

    def __init__(self, guider, positive: list[dict], twins: list[dict], levels: Run, absent: bool):
        self.guider, self.absent = guider, absent
        self.levels = levels  # reads each noise level once, however many ask
        self.twin_of = {one["uuid"]: other["uuid"] for one, other in zip(positive, twins, strict=True)}
        self.conditional = set(self.twin_of) | set(self.twin_of.values())
        self.all_off = False  # whether the forward that is running goes without identity altogether
        self.kinds, self.first_twin = [], 0  # of the lists of conditionings of the running forward
        self.gives_keys = False  # whether the running step shares keys
        self.grid = None
        self.areas = {}
        self.keys = {}

    def begin_forward(self, conds: list, x):
        """Note the lists of conditionings that a guider wants predicted; twins may follow behind."""
        self.kinds = [0 if entries and entries[0]["uuid"] in self.conditional else 1 for entries in conds]
        self.first_twin = len(conds)
        self.note_areas(conds, x)

    def twins(self, entries: list[dict]) -> list[dict]:
        """The foundation's entries for a list of conditionings; an unconditional entry serves as it is."""
        by_uuid = {entry["uuid"]: entry for entry in self.guider.conds[FOUNDATION]}
        return [by_uuid.get(self.twin_of.get(entry["uuid"]), entry) for entry in entries]

    def within(self, span: tuple[float, float], sigmas) -> bool:
        """Whether the noise level lies in a span (from, to), the former the higher one."""
        if span[0] <= span[1]:
            return False
        return (span[0] >= FOREVER[0] and span[1] <= FOREVER[1]) or span[1] <= self.levels.sigma(sigmas) <= span[0]

    def note_areas(self, lists: list, x):
        """Remember which part of the picture an entry is about, as ComfyUI cuts it."""
        for entry in (entry for entries in lists for entry in entries or ()):
            if "area" in entry:
                height, width, top, left = entry["area"]
                self.areas[entry["uuid"]] = min(x.shape[2] - top, height), min(x.shape[3] - left, width), top, left

    def is_whole(self, uuid, grid: tuple[int, int]) -> bool:
        """Whether a forward of `grid` latent cells shows all that a conditioning entry is about, not a tile of it."""
        area = self.areas.get(uuid)
        return grid == (self.grid if area is None else area[:2])


def add_twins(guider) -> tuple[list[dict], list[dict]]:
    """Give a guider's positive entries twins, as conditionings of its own; returns both."""
    positive, negative = guider.conds["positive"], guider.conds.get("negative") or []
    guider.conds[FOUNDATION] = [_without_identity(entry, negative) for entry in positive]
    return positive, guider.conds[FOUNDATION]


def apply_model(executor, x, timestep, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **rest):
    """One forward: say which chunks go without identity, and call all chunks conditional or not, as they are.

    A list of twins has a number that no other pack knows, so that must not get further than here.
    """
    run = transformer_options.get(KEY)
    if run is not None and run.kinds:
        lists = transformer_options["cond_or_uncond"]
        off = tuple(run.all_off or which >= run.first_twin for which in lists)
        transformer_options = {**transformer_options, "cond_or_uncond": [run.kinds[which] for which in lists]}
        if any(off):
            transformer_options[IDENTITY_OFF] = IdentityOff(off, run.absent)
    return executor(x, timestep, c_concat, c_crossattn, control, transformer_options, **rest)


def _without_identity(entry, negative):
    """A conditioning entry for the foundation's rows: the prompt without a face in it, nobody for the ControlNet."""
    twin = {**entry, **without_identity(entry, negative), "uuid": uuid.uuid4()}
    if "cross_attn" in entry:
        twin["cross_attn"] = without_face(entry["cross_attn"], entry.get(PLAIN_KEY))
    return twin
