"""People whom a ControlNet of their own draws: InfiniteYou's InfuseNet, which runs once for each of them.

ApplyIDAdapter puts them on the positive conditioning. For each, LandmarkControl puts three links into the chain of
ControlNets: `ForPerson`, InfuseNet, and `Behind` where there is more of a chain. They are ComfyUI's own chain, so that
it loads, copies and frees them. A mark that travels with the conditioning tells which rows have people: those without
(the negative prompt, twins) go past InfuseNet, and the other ControlNets of the chain stay.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import torch
from comfy.conds import CONDRegular
from comfy.controlnet import ControlBase
from comfy.sd import VAE

from .. import keys
from ..conditioning.control_reads import SHARED, Link
from .rows import in_chunks
from .strength import Strength

_GUIDANCE = 1.0  # what InfuseNet is told, whatever the model is: as in its authors' pipeline
_PATCH = 2  # cells of the latent along a side of a token


@dataclass(frozen=True, eq=False)
class ControlledPerson:
    """Tokens [1,T,D] that InfuseNet has in place of the prompt, on the CPU; where (mask [M,H,W] in 0..1, None:
    everywhere), how much and when."""

    tokens: torch.Tensor = field(repr=False)
    mask: torch.Tensor | None = field(repr=False)
    strength: Strength


@dataclass
class _Aside:
    """What a person's ControlNet shall not see: the rows and conditionings for the links behind it, and what these
    say."""

    x: torch.Tensor
    cond: dict
    control: dict | None = None


class ForPerson(Link):
    """The ControlNet behind it, and nothing else of the chain, is for the ControlledPerson `what`.

    As in the authors' node, the mask multiplies what the ControlNet sees of the picture and all that it says.
    """

    def get_control(
        self, x_noisy: torch.Tensor, t: torch.Tensor, cond: dict, batched_number: int, transformer_options: dict
    ) -> dict | None:
        net = self.previous_controlnet
        if keys.PEOPLE not in cond:
            behind = net.previous_controlnet
            return behind and behind.get_control(x_noisy, t, cond, batched_number, transformer_options)
        aside = _Aside(x_noisy, cond)
        given = {
            **cond,
            SHARED: self.what.tokens.expand(len(x_noisy), -1, -1),
            "guidance": torch.full((len(x_noisy),), _GUIDANCE, device=x_noisy.device),
            keys.ASIDE: aside,
        }
        size = tuple(-(-side // _PATCH) for side in x_noisy.shape[-2:])
        shares = self._shares(x_noisy, size, cond, transformer_options)
        seen = x_noisy if shares is None else x_noisy * _cells(shares, size, x_noisy)
        own = net.get_control(seen, t, given, batched_number, transformer_options)
        return aside.control if own is None else _added(own, shares, aside.control or {})

    def _shares(self, x, size, cond, options):
        """How much of the person is in each token [B,N,1]; None without a mask, or where it can't be placed."""
        mask, run = self.what.mask, options.get(keys.RUN)
        if mask is None:
            return None
        # a model that ApplyIDAdapter has not been at opens no run
        rows = (
            in_chunks(options["cond_or_uncond"], len(x))
            if run is None
            else run.rows(x, options, cond.get(keys.ROW_MAP))
        )
        if rows.places is None:
            return None
        known, key = {} if run is None else run.masks, (self.what, rows.places, size, x.device, x.dtype)
        if key not in known:
            known[key] = rows.masks(mask.to(x), size, _PATCH)
        return known[key]


class Behind(Link):
    """What is behind a person's ControlNet: it sees what it would without that, and ForPerson adds what it says."""

    def get_control(
        self, x_noisy: torch.Tensor, t: torch.Tensor, cond: dict, batched_number: int, transformer_options: dict
    ) -> dict | None:
        aside = cond.get(keys.ASIDE)
        if aside is None:  # rows without people
            return self.previous_controlnet.get_control(x_noisy, t, cond, batched_number, transformer_options)
        aside.control = self.previous_controlnet.get_control(
            aside.x, t, aside.cond, batched_number, transformer_options
        )
        return None


def _cells(shares, size, x):
    """Shares of tokens [B,N,1] on the cells of latents x [B,C,H,W]: [B,1,H,W]."""
    cells = shares.view(len(x), 1, *size).repeat_interleave(_PATCH, 2).repeat_interleave(_PATCH, 3)
    return cells[..., : x.shape[-2], : x.shape[-1]]


def _added(own, shares, others):
    """What a person's ControlNet says [B,N,C] of each block, times their shares, and what others say.

    InfuseNet says the same to several blocks in a row: it is computed and kept once.
    """
    known = {}

    def of(one, other):
        key = id(one), id(other)
        if key not in known:
            if one is not None and shares is not None:
                one = one * shares.to(one)
            known[key] = other if one is None else one if other is None else other + one
        return known[key]

    return {part: [of(*pair) for pair in zip_longest(own.get(part, ()), others.get(part, ()))] for part in own | others}


def with_person(entries: list, person: ControlledPerson) -> list:
    """Conditioning entries with one person more."""
    mark = CONDRegular(torch.ones(1, 1, 1))  # of the form of a prompt, which nodes that cut the batch repeat and cut
    return [
        [
            text,
            {
                **extras,
                keys.PEOPLE: (*extras.get(keys.PEOPLE, ()), person),
                "model_conds": {**extras.get("model_conds", {}), keys.PEOPLE: mark},
            },
        ]
        for text, extras in entries
    ]


def with_nobody_to_draw(entries: list | None) -> list | None:
    """Conditioning entries that LandmarkControl knows to have nobody on them, or the very ones where that is known."""
    if entries is None or all(keys.PEOPLE in extras for _, extras in entries):
        return entries
    return [[text, {keys.PEOPLE: (), **extras}] for text, extras in entries]


def without_people(model_conds: dict) -> dict:
    """What a guider's conditioning entry says to the model, with nobody for ControlNets to draw."""
    return {key: value for key, value in model_conds.items() if key != keys.PEOPLE}


def controlled(
    net: ControlBase, people: Sequence[ControlledPerson], before: ControlBase | None, hint: torch.Tensor,
    strength: Strength, vae: VAE,
) -> ControlBase | None:  # fmt: skip
    """A chain of the ControlNet for each person who has none yet, and of the chain `before` it.

    `hint` [B,3,H,W]: the drawn landmarks; `strength` multiplies each person's own, and narrows its range.
    """
    drawn = set(_people_of(before))
    if people and drawn.issuperset(people):
        logging.warning(
            "Likeness: a LandmarkControl does nothing, because an InfuseNet draws everybody already whom "
            "ApplyIDAdapter has put on positive."
        )
    for person in (one for one in people if one not in drawn):
        own = person.strength
        start, end = max(own.start_at, strength.start_at), min(own.end_at, strength.end_at)
        if start >= end:
            continue
        link = net.copy().set_cond_hint(hint, own.weight * strength.weight, (start, end), vae=vae)
        link.set_previous_controlnet(before and Behind(None, hint, before))
        before = ForPerson(person, hint, link)
    return before


def people_drawn(entries: Iterable[dict]) -> set[ControlledPerson]:
    """Whom the ControlNets of a guider's conditioning entries draw."""
    having = (entry for entry in entries if keys.PEOPLE in entry["model_conds"])
    return {person for entry in having for person in _people_of(entry.get("control"))}


def _people_of(chain: ControlBase | None) -> Iterator[ControlledPerson]:
    while chain is not None:
        if isinstance(chain, ForPerson):
            yield chain.what
        chain = chain.previous_controlnet
