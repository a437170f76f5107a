"""What goes through every composition: a small SD1.5, and the pack's features to put on it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import cure_cases
import host_cases
import torch
from likeness.core import adapters
from likeness.core.host.adapters import adapter as adapter_module
from likeness.core.host.comfyui import managed
from likeness.core.host.cure import apply
from likeness.core.host.sampling import strength
from likeness.core.host.who import person as person_module
from likeness.core.weights import WeightFile

KIND = "sd15"
SIZE = 16  # latent cells; pictures are eight times as large
NO_ATTRIBUTE = "a portrait of a woman"  # a prompt in which the cure finds nothing by itself


def left_half(width=SIZE, height=SIZE) -> torch.Tensor:
    """A mask of the picture [1,H,W], white in the left half; width and height in latent cells."""
    mask = torch.zeros(1, 8 * height, 8 * width)
    mask[..., : 4 * width] = 1
    return mask


@dataclass(frozen=True)
class Feature:
    """`add(bench, model, positive, negative, mask)` returns all three with the feature. `base`: what it adds to, by
    name. `mask`: the mask that it works in where a composition gives none."""

    add: Callable
    base: str | None = None
    mask: torch.Tensor | None = None


class Put:
    """A feature on a bench, ready to be applied."""

    def __init__(self, bench, name):
        self.bench, self.name, self.feature = bench, name, FEATURES[name]

    def __call__(self, before=None, mask=None, prompts=None):
        """(model, positive, negative). `before(model)`: what stands before this pack's nodes; `mask` [M,H,W] in place
        of the feature's own, if it has one; `prompts`: (positive, negative)."""
        bench = self.bench
        model = bench.plain if before is None else before(bench.plain)
        return self.feature.add(bench, model, *(prompts or bench.prompts), self._mask(mask))

    @property
    def base(self) -> "Put":
        """The model without the feature, with what it adds to."""
        return Put(self.bench, self.feature.base)

    def _mask(self, given):
        return None if self.feature.mask is None else self.feature.mask if given is None else given


class Bench:
    """The pack, its material, and how to sample. Everything is made once, and nothing that is handed out changes."""

    def __init__(self, pack, packs=None):
        """`pack`: Likeness; `packs`: those of others (packs.Packs)."""
        self.pack, self.packs = pack, packs
        self._alone = {}

    def feature(self, name: str) -> Put:
        return Put(self, name)

    @cached_property
    def noise(self):
        return host_cases.randn(1, 4, SIZE, SIZE, seed=1)

    @cached_property
    def plain(self):
        from tiny.unet import unet

        return unet(KIND)

    @cached_property
    def adapter(self):
        return host_cases.adapter(KIND)

    @cached_property
    def prompts(self):
        return cure_cases.prompt(KIND), cure_cases.prompt(KIND, "blurry")

    @cached_property
    def router(self):
        """UniPortrait with its router."""
        from tiny.ip_adapter import flat
        from tiny.uniportrait import faceid, router

        alone = host_cases.loaded_adapter(faceid())
        file = WeightFile("router.bin", flat(router()), {})
        made = adapters.load_router(file, alone.spec, operations=managed.OPERATIONS)
        return replace(alone, router=managed.managed(made))

    def routed_person(self, number: int):
        """Somebody as UniPortrait sees people."""
        from tiny.uniportrait import hidden, vectors

        face = adapters.FaceInput(vectors(seed=number), adapters.Seen((hidden(seed=number),)))
        nobody = adapters.FaceInput(torch.zeros_like(face.vectors), adapters.Seen((hidden(seed=99),)))
        return person_module.Person(person_module.no_identity(), face, nobody)

    def sample(self, model, positive, negative, steps=2, cfg=4.0, noise=None, latent=None, scheduler="simple", **more):
        """The latent that KSampler gives, with Euler; `more`: for comfy.sample.sample."""
        import comfy.sample

        noise = self.noise if noise is None else noise
        latent = torch.zeros_like(noise) if latent is None else latent
        with torch.inference_mode():
            return comfy.sample.sample(
                model,
                noise,
                steps,
                cfg,
                "euler",
                scheduler,
                positive,
                negative,
                latent,
                seed=1,
                disable_pbar=True,
                **more,
            )

    def alone(self, put: Put, steps=2):
        """The picture of a feature in no composition at all, kept."""
        if (put.name, steps) not in self._alone:
            self._alone[put.name, steps] = self.sample(*put(), steps=steps)
        return self._alone[put.name, steps]

    def node(self, name: str, *values, **inputs):
        """The first output of a node by its id, with its inputs by name."""
        node = self.pack.nodes[name]
        if hasattr(node, "define_schema"):
            given = node.execute(*values, **inputs)
        else:
            given = getattr(node(), node.FUNCTION)(*values, **inputs)
        return getattr(given, "args", given)[0]


def _nothing(bench, model, positive, negative, mask):
    return model, positive, negative


def _identity(bench, model, positive, negative, mask, mixed=False, span=(0.0, 1.0)):
    chosen = adapter_module.Settings(mixed_attention=mixed)
    return host_cases.apply(
        model, positive, negative, bench.adapter, kind=KIND, weight=1.0, mask=mask, options=chosen,
        start_at=span[0], end_at=span[1],
    )  # fmt: skip


def _routed(bench, model, positive, negative, mask):
    """Two people who share the picture out; with a mask one in it and the other in the rest."""
    applied = (model, positive, negative)
    for number, own in ((1, mask), (2, None if mask is None else 1 - mask)):
        person = bench.routed_person(number)
        applied = adapter_module.apply_person(*applied, bench.router, person, adapter_module.Strength(1.0), own)
    return applied


def _cure(mode="noise_blend", trajectory="shared", span=(0.0, 1.0)):
    def add(bench, model, positive, negative, mask):
        """With a mask the identity is everywhere, and the cure in the mask alone."""
        model, positive, negative = _identity(bench, model, positive, negative, None)
        cured = apply.apply_cure(
            model, cure_cases.clip(KIND), cure_cases.PROMPT if mask is None else NO_ATTRIBUTE,
            mode=mode, trajectory=trajectory, strength=strength.Strength(1.0, *span), mask=mask,
        )  # fmt: skip
        return cured, positive, negative

    return add


FEATURES = {
    "nothing": Feature(_nothing),
    "identity": Feature(_identity, "nothing"),
    "identity, masked": Feature(_identity, "nothing", left_half()),
    "routed people": Feature(_routed, "nothing"),
    "routed people, masked": Feature(_routed, "nothing", left_half()),
    "cure": Feature(_cure(), "identity"),
    "cure, masked": Feature(_cure(), "identity", left_half()),
    "shared_attention": Feature(_cure("shared_attention"), "identity"),
    "shared_attention, masked": Feature(_cure("shared_attention"), "identity", left_half()),
    "both": Feature(_cure("both"), "identity"),
    "cure, separate": Feature(_cure(trajectory="separate"), "identity"),
    "mixed_attention": Feature(partial(_identity, mixed=True), "identity"),
    "identity, first half": Feature(partial(_identity, span=(0.0, 0.5)), "nothing"),
    "identity, second half": Feature(partial(_identity, span=(0.5, 1.0)), "nothing"),
    "cure, first half": Feature(_cure(span=(0.0, 0.5)), "identity"),
    "mixed_attention, first half": Feature(partial(_identity, mixed=True, span=(0.0, 0.5)), "nothing"),
}
PEOPLE = ["identity", "identity, masked", "routed people"]
CURES = ["cure", "shared_attention", "both", "cure, separate"]
EVERY = [*PEOPLE, *CURES, "mixed_attention"]
