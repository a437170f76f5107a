"""Whether the cure's masks lie where an attribute is: masks found on Facelets against the regions of a drawing."""

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import torch
from facelets import pack
from ruler.conditions import Task, cure
from ruler.figures import shown
from ruler.measure import as_image
from ruler.task import Case, case, person

from .figures import average_precision, intersection_over_union, region_grid, table
from .runs import along_the_latent, euler, noise_of, personalised, run, stack, task_of

_UNCUT = {"threshold": 0.5, "softness": 1.0}  # the mask is the map itself, stretched to 0..1
# How masks are found: options of CureSettings.
SOURCES = {
    "difference": {"source": "difference", "compare": "each"},
    "difference, all at once": {"source": "difference", "compare": "all"},
    "difference, uncut": {"source": "difference", "compare": "each", **_UNCUT},
    "cross": {"source": "cross"},
    "cross, uncut": {"source": "cross", **_UNCUT},
    "semantic": {"source": "semantic"},
    "both": {"source": "both"},
}
# Where an attribute of this category shows in a drawing.
REGIONS = {
    "hair": "hair", "eyes": "eyes", "glasses": "glasses", "hat": "hat", "facial hair": "facial_hair",
    "jewellery": "earrings", "expression": "mouth",
}  # fmt: skip
TOGETHER = "all of a prompt"  # their union, which is what a mask for the whole prompt is to be
TRUTHS = {
    "drawing": "The foundation is shown the true drawing under noise, so the regions are the truth.",
    "generated": "Pictures as they are generated; the drawing at the same landmarks is only near the truth.",
}
THRESHOLDS = np.arange(0.05, 1.0, 0.05)


@dataclass(frozen=True)
class Options:
    people: int
    prompts: int
    steps: int
    cfg: float
    phrases: tuple[int, ...] = (1, 2, 3)
    sources: tuple[str, ...] = tuple(SOURCES)


@dataclass(frozen=True)
class Found:
    """One mask [H,W] in 0..1 and the true cells bool [H,W]."""

    seen: str  # a key of TRUTHS
    source: str
    category: str
    mask: np.ndarray
    truth: np.ndarray


def measure_person(options: Options, number: int) -> list[Found]:
    """All masks of one person's prompts, but for attributes that the drawing hides."""
    found = []
    with torch.inference_mode():
        stack()  # ComfyUI first
        for prompt, phrases in product(range(options.prompts), options.phrases):
            task = task_of(case(person(number), number, prompt, phrases))
            for seen, source in product(TRUTHS, options.sources):
                found += _masks(options, task, seen, source)
    return found


def _masks(options: Options, task: Task, seen: str, source: str) -> list[Found]:
    settings, observed = pack.module("core.cure").CureSettings(**SOURCES[source]), {}

    def observe(attributes, masks):
        observed.update(attributes=attributes, masks=masks[0].float().cpu().numpy())

    graph = cure(settings=SOURCES[source], observe=observe)(personalised(task), task)
    noise = noise_of(graph, task.case.seed)
    go = partial(run, graph, steps=options.steps, cfg=options.cfg, noise=noise, share=settings.map_end)
    if seen == "drawing":
        go(along_the_latent, latent=stack().vae.encode(as_image(task.case.drawing.image)))
    else:
        go(euler)
    return _against_truth(task.case, seen, source, observed["attributes"], observed["masks"])


def _against_truth(asked: Case, seen, source, attributes, masks) -> list[Found]:
    truths = [region_grid(asked.drawing.region(REGIONS[attribute.category])) for attribute in attributes]
    rows = [(TOGETHER, masks.max(axis=0), np.any(truths, axis=0))]
    if len(masks) == len(attributes) and SOURCES[source].get("compare") != "all":
        rows += [(one.category, *pair) for one, *pair in zip(attributes, masks, truths, strict=True)]
    return [Found(seen, source, *row) for row in rows if row[2].any()]


def summary(found: list[Found]) -> dict[str, float]:
    """The figures of masks of one kind: means over cases. "best" is at the one threshold that serves them best."""
    pairs = [(one.mask, one.truth) for one in found]
    at = [np.mean([intersection_over_union(mask > level, truth) for mask, truth in pairs]) for level in THRESHOLDS]
    each = [max(intersection_over_union(mask > level, truth) for level in THRESHOLDS) for mask, truth in pairs]
    return {
        "IoU": float(np.mean([intersection_over_union(mask > 0.5, truth) for mask, truth in pairs])),
        "best": float(max(at)),
        "threshold": float(THRESHOLDS[int(np.argmax(at))]),
        "best of each": float(np.mean(each)),
        "precision": float(np.mean([average_precision(mask, truth) for mask, truth in pairs])),
        "share": float(np.mean([truth.mean() for _, truth in pairs])),
        "cases": len(found),
    }


def markdown(options: Options, found: list[Found]) -> str:
    """For each kind of truth a table per figure: attributes down, sources across."""
    groups = defaultdict(list)
    for one in found:
        groups[one.seen, one.source, one.category].append(one)
    figures = {key: summary(group) for key, group in groups.items()}
    size = f"{options.people} people, {options.prompts} x {len(options.phrases)} prompts each"
    parts = [
        f"### Masks\n\nFacelets with adapter and ControlNet, {size}, {options.steps} steps, CFG {options.cfg:g}. On "
        "the 16 x 16 cells of the latent; a cell is of a region if 30 % of its pixels are. Means over cases; "
        "attributes that the drawing hides are left out. share: of the cells, which is the average precision of a "
        "guess. Uncut is the map itself, without threshold.\n"
    ]
    for seen, what in TRUTHS.items():
        parts.append(f"**{seen}.** {what}\n")
        parts += [_table(figures, seen, options.sources, *column) for column in _COLUMNS]
    return "\n".join(parts)


_COLUMNS = (
    ("IoU of mask > 0.5", lambda one: shown(one["IoU"], 2)),
    ("IoU at the best threshold for all cases (this threshold; best of each case)",
     lambda one: f"{shown(one['best'], 2)} ({one['threshold']:.2f}; {shown(one['best of each'], 2)})"),
    ("average precision", lambda one: shown(one["precision"], 2)),
)  # fmt: skip


def _table(figures, seen, sources, title, cell):
    rows = []
    for category in (*REGIONS, TOGETHER):
        known = {source: figures.get((seen, source, category)) for source in sources}
        first = next((one for one in known.values() if one), None)
        if first:
            cells = [cell(one) if one else shown(float("nan"), 2) for one in known.values()]
            rows.append([category, str(first["cases"]), shown(first["share"], 3), *cells])
    return table([title, "cases", "share", *sources], rows)
