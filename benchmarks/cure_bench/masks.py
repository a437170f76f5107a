"""Whether the cure's masks lie where attributes are: masks found on Facelets against the regions of a drawing."""

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
from ruler.stack import plainly
from ruler.task import Case, case, person

from .figures import average_precision, intersection_over_union, region_grid, table
from .runs import along_the_latent, euler, noise_of, personalised, run, stack, task_of

MODES = ("noise_blend", "freecure")  # the two ways to find masks
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


@dataclass(frozen=True)
class Options:
    people: int
    prompts: int
    steps: int
    cfg: float
    phrases: tuple[int, ...] = (1, 2, 3)


@dataclass(frozen=True)
class Found:
    """One mask [H,W] in 0..1 and the true cells bool [H,W]."""

    seen: str  # a key of TRUTHS
    mode: str
    category: str
    mask: np.ndarray
    truth: np.ndarray


@plainly
def measure_person(options: Options, number: int) -> list[Found]:
    """All masks of one person's prompts, but for attributes that the drawing hides."""
    found = []
    with torch.inference_mode():
        stack()  # ComfyUI first
        for prompt, phrases in product(range(options.prompts), options.phrases):
            task = task_of(case(person(number), number, prompt, phrases))
            for seen, mode in product(TRUTHS, MODES):
                found += _masks(options, task, seen, mode)
    return found


def _masks(options: Options, task: Task, seen: str, mode: str) -> list[Found]:
    looked_for = pack.module("core.cure").find_attributes(task.case.text)
    if mode == "freecure" and all(one.kind == "abstract" for one in looked_for):
        return []  # it has masks for what has a place
    observed = {}

    def observe(attributes, masks):
        observed.update(attributes=attributes, masks=masks[0].float().cpu().numpy())

    graph = cure(mode=mode, observe=observe)(personalised(task), task)
    noise = noise_of(graph, task.case.seed)
    until = 1.0 if mode == "freecure" else pack.module("core.cure.modes").COMPARED_UNTIL
    go = partial(run, graph, steps=options.steps, cfg=options.cfg, noise=noise, share=until)
    if seen == "drawing":
        go(along_the_latent, latent=stack().parts.vae.encode(as_image(task.case.drawing.image)))
    else:
        go(euler)
    return _against_truth(task.case, seen, mode, observed["attributes"], observed["masks"])


def _against_truth(asked: Case, seen, mode, attributes, masks) -> list[Found]:
    """The union of the masks, and by its category that of a prompt which names one attribute."""
    truth = np.any([region_grid(asked.drawing.region(REGIONS[one.category])) for one in attributes], axis=0)
    rows = [TOGETHER] + [one.category for one in attributes if len(attributes) == 1]
    return [Found(seen, mode, row, masks.max(axis=0), truth) for row in rows if truth.any()]


def summary(found: list[Found]) -> dict[str, float]:
    """The figures of masks of one kind: means over cases."""
    return {
        "IoU": float(np.mean([intersection_over_union(one.mask > 0.5, one.truth) for one in found])),
        "precision": float(np.mean([average_precision(one.mask, one.truth) for one in found])),
        "share": float(np.mean([one.truth.mean() for one in found])),
        "cases": len(found),
    }


def markdown(options: Options, found: list[Found]) -> str:
    """For each kind of truth a table per figure: attributes down, modes across."""
    groups = defaultdict(list)
    for one in found:
        groups[one.seen, one.mode, one.category].append(one)
    figures = {key: summary(group) for key, group in groups.items()}
    size = f"{options.people} people, {options.prompts} x {len(options.phrases)} prompts each"
    parts = [
        f"### Masks\n\nFacelets with adapter and ControlNet, {size}, {options.steps} steps, CFG {options.cfg:g}. On "
        "the 16 x 16 cells of the latent; a cell is of a region if 30 % of its pixels are. Means over cases; "
        "attributes that the drawing hides are left out, and those of prompts that name more than one are told of "
        "together. share: of the cells, which is the average precision of a guess.\n"
    ]
    for seen, what in TRUTHS.items():
        parts.append(f"**{seen}.** {what}\n")
        parts += [_table(figures, seen, *column) for column in _COLUMNS.items()]
    return "\n".join(parts)


_COLUMNS = {"IoU of mask > 0.5": "IoU", "average precision": "precision"}


def _table(figures, seen, title, name):
    rows = []
    for category in (*REGIONS, TOGETHER):
        known = [figures.get((seen, mode, category)) for mode in MODES]
        first = next((one for one in known if one), None)
        if first:
            cells = [shown(one[name] if one else float("nan"), 2) for one in known]
            rows.append([category, str(first["cases"]), shown(first["share"], 3), *cells])
    return table([title, "cases", "share", *MODES], rows)
