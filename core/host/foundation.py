"""The one door to the model under the adapters: which kind it is, its attention sites, how one gets into them.

A folder such as `unet` knows how one kind of model is built inside. Nobody but this file opens it.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from comfy.model_patcher import ModelPatcher

from .dit.flux import Flux
from .sampling.injection import Injection, SharedKeys, Site
from .unet.unet import UNet


class ModelKind(Protocol):
    """What is under one MODEL. `patched` is a clone of it, the caller's own, and is changed.

    What is put into a model has names; those that were called in a run are in Run.fired.
    """

    sites: list[Site]  # in the order of adapter checkpoints
    noun: str  # what the sites are to artists

    @classmethod
    def is_under(cls, model: ModelPatcher) -> bool:
        """Whether a MODEL is of this kind."""

    @property
    def text_width(self) -> int:
        """Numbers in one token of the prompt, as the sites see it."""

    @property
    def name(self) -> str:
        """What artists call the model, such as SDXL."""

    def factors(self, weight_type: str) -> list[float]:
        """The factor on the weight at each site; ValueError where the word is unknown for this model."""

    def inject(
        self, patched: ModelPatcher, injection: Injection, layers: ModelPatcher | None, sites: Sequence[tuple[int, int]]
    ) -> frozenset:
        """Add an adapter; returns the names. `sites` are (number in its bank, number of the site).

        `layers`: of an adapter whose layers work while sampling, the ModelPatcher that owns them.
        """

    def share_keys(self, patched: ModelPatcher, sites: Iterable[tuple]) -> frozenset:
        """Let the self-attentions beside `sites` (their keys) see their twins' keys (TwinRun); returns the names."""

    def cured_keys(self) -> SharedKeys:
        """Where the cure shares keys."""

    def read_maps(self, patched: ModelPatcher):
        """Have the maps of the prompt's words read from rows without identity, whenever the run asks (CureRun)."""

    def routed_people(self, model: ModelPatcher) -> int:
        """How many people with a router have been applied to a MODEL of this kind."""

    def is_patched(self, model: ModelPatcher) -> bool:
        """Whether an adapter has been applied to it, of ours or of another pack."""

    def weight_name(self, site: int, attention: str, part: str) -> str:
        """ComfyUI's name for a weight, from that of a LoRA inside an adapter.

        `attention`: "attn1" | "attn2", `part`: "to_q" | "to_k" | "to_v" | "to_out".
        """


_KINDS: tuple[type[UNet] | type[Flux], ...] = (UNet, Flux)


def model_kind(model: ModelPatcher) -> ModelKind:
    """What is under a MODEL; ValueError with one sentence for a kind that the pack does not know."""
    for kind in _KINDS:
        if kind.is_under(model):
            return kind(model)
    raise ValueError(
        f"Identity adapters work with SD1.5, SDXL, FLUX.1 and Chroma models here, but the connected model is "
        f"{type(model.model).__name__}; load one of those."
    )
