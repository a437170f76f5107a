"""What every identity adapter is: a projection, what it adds at each attention site, and which face it wants."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import torch
from torch import nn

from ..attention.residuals import Attend

METHODS = ("fidelity", "style", "plain")


def base_name(sites: int, token_dim: int) -> str:
    """A foundation model's name, from the number of its cross-attention sites (0: not known) and its text width."""
    names = {(16, 768): "SD1.5", (16, 1024): "SD2.1", (70, 2048): "SDXL"}
    names |= {(0, width): name for (_, width), name in names.items()}
    return names.get((sites, token_dim), "a model of its own kind")


@dataclass(frozen=True)
class Look:
    """The picture of a face that an adapter wants to see, and through which eyes.

    vision: a key of `VISION`; None: the adapter has eyes of its own and gets the pixels. crop: "face" (ArcFace's
    alignment), "ffhq" (FFHQ's), "head" (facexlib's), "whole" (the picture as it is). size: of the crop in pixels.
    backdrop: "kept"; "grey" and "face only" need a face parser.
    """

    vision: str | None
    crop: str
    size: int
    backdrop: str = "kept"


@dataclass(frozen=True)
class Vision:
    """A vision model that adapters look through: its width tells it from others; `folder` and `source` are for the
    artist who has to fetch it."""

    title: str
    width: int
    folder: str
    source: str


VISION = {
    "clip-h": Vision("CLIP-ViT-H-14", 1280, "clip_vision", "h94/IP-Adapter, models/image_encoder, on Hugging Face"),
    "clip-g": Vision("CLIP-ViT-bigG-14", 1664, "clip_vision", "h94/IP-Adapter, sdxl_models/image_encoder, on Hugging "
                     "Face"),
    "clip-l": Vision("CLIP-ViT-L-14", 1024, "clip_vision", "openai/clip-vit-large-patch14 on Hugging Face"),
    "eva-l336": Vision("EVA02-CLIP-L-14-336", 1024, "clip_vision", "QuanSun/EVA-CLIP, "
                       "EVA02_CLIP_L_336_psz14_s6B.pt, on Hugging Face"),
}  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What a vision model makes of N pictures: hidden states [N,S,C] (the last but one layer of CLIP; several layers
    of EVA), and the embedding of the whole picture [N,P]."""

    hidden: tuple[torch.Tensor, ...]
    pooled: torch.Tensor | None = None

    def map(self, change) -> "Seen":
        """Every tensor put through a function."""
        return Seen(tuple(change(one) for one in self.hidden), None if self.pooled is None else change(self.pooled))


@dataclass(frozen=True)
class FaceInput:
    """One person as an adapter gets it: face vectors [N,D] (normalised where the spec asks for it) and what was seen
    of N pictures, or these themselves [N,3,H,W] (RGB, 0..1) where the look has no vision. For nobody: vectors of
    zeros, and what was seen of an empty picture. `empty`: what is seen of one, for adapters that take a certain number
    of pictures. `equal`: no photograph leads the others, where an adapter makes a difference."""

    vectors: torch.Tensor | None = None
    seen: Seen | None = None
    empty: Seen | None = None
    equal: bool = False


@dataclass(frozen=True)
class Choices:
    """What the artist chose beyond the weight; each family heeds what concerns it.

    structure: how much the picture of the face adds to its vector, 1 as published (FaceID Plus v2, UniPortrait).
    method: PuLID's, one of METHODS.
    """

    structure: float = 1.0
    method: str = METHODS[0]


DEFAULTS = Choices()


@dataclass(frozen=True)
class LoRA:
    """Weight patches of a checkpoint: (down [rank, in], up [out, rank]) by (site's number in the checkpoint's order,
    "attn1" | "attn2", "to_q" | "to_k" | "to_v" | "to_out"), and tensors under names that ComfyUI itself reads."""

    by_site: Mapping[tuple[int, str, str], tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    by_name: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def __bool__(self):
        return bool(self.by_site or self.by_name)

    @property
    def layers(self) -> int:
        """How many layers of the model it changes; each has two matrices, and some a scale beside them."""
        return len(self.by_site) + sum(not name.endswith((".alpha", ".dora_scale")) for name in self.by_name) // 2


@dataclass(frozen=True)
class AdapterSpec:
    """What a checkpoint is and what it needs, read from its keys and shapes.

    `face_space` names the encoder whose vectors the adapter was trained on, None when the file cannot say; `face_dim`
    0: it takes no face vector. `normalised`: vectors go in with length 1. `each`: every photograph gives tokens of its
    own, up to so many; 1: one vector for the person. `further`: so many from each but the first, where that is not
    `tokens`. `together`: so many photographs give one set of tokens instead, and nobody is a single empty one.
    `site_widths` holds the channels of each cross-attention site in the checkpoint's
    own order: down, up, middle; none: it adds nothing there but a LoRA. `in_prompt`: the face goes into the prompt, by
    IDTextEncode. `guesses` are lines for the artist on what the file could not say; `default_weight` is the published
    one. `counts_steps`: a late start counts the steps of a run, as its authors do, rather than go by noise levels.
    """

    family: str
    title: str
    face_space: str | None
    face_dim: int
    tokens: int
    token_dim: int
    site_widths: tuple[int, ...]
    needs_control_net: bool
    licence: str
    normalised: bool = False
    each: int = 1
    further: int = 0
    together: bool = False
    look: Look | None = None
    in_prompt: bool = False
    default_weight: float = 1.0
    counts_steps: bool = False
    guesses: tuple[str, ...] = ()

    @property
    def base(self) -> str:
        """The name of the foundation model that the adapter is for."""
        return base_name(len(self.site_widths), self.token_dim)

    @property
    def fits(self) -> str:
        """The foundation model that the adapter is for, in words."""
        sites = f"{len(self.site_widths)} attention sites, " if self.site_widths else ""
        return f"{self.base} ({sites}text width {self.token_dim})"

    @property
    def named(self) -> str:
        """What it is, with an article."""
        return f"{'an' if self.title[0] in 'AEIOU' else 'a'} {self.title} adapter"

    @property
    def faces_from(self) -> str:
        """The encoder whose faces it takes, in words."""
        if not self.face_dim:
            return "no face encoder's vectors"
        if self.face_space is None:
            return f"any encoder with {self.face_dim} numbers"
        return f"{self.face_space} ({self.face_dim} numbers)"

    @property
    def _photographs(self):
        if self.each == 1:
            return ""
        if self.further:
            return f", and {self.further} for each further photograph, up to {self.each}"
        return f", from up to {self.each} photographs" if self.together else f" per photograph, up to {self.each}"

    def about(self, file_name: str, lora: LoRA | None = None) -> str:
        """Text for the artist: what the file is, what it fits and what it needs."""
        lines = [
            f"{self.title} adapter ({file_name})",
            f"For: {self.fits}",
            f"Identity tokens: {self.tokens}{self._photographs}",
            f"Faces from: {self.faces_from}",
            f"Weight to start with: {self.default_weight:g}",
            f"Landmark ControlNet: {'expected, connect LandmarkControl' if self.needs_control_net else 'not needed'}",
        ]
        if self.look is not None and self.look.vision is not None:
            vision = VISION[self.look.vision]
            lines.append(f"Looks at the picture through: {vision.title} (models/{vision.folder}; {vision.source})")
        if self.in_prompt:
            lines.append("The face goes into the prompt: encode it with IDTextEncode")
        if lora:
            lines.append(f"LoRA inside: {lora.layers} layers, see lora_strength")
        return "\n".join([*lines, *self.guesses, f"Licence: {self.licence}"])


@dataclass(frozen=True)
class Overrides:
    """What the artist says where a file can't: "auto" leaves it to the file and its name.

    faceid_plus: "v1" or "v2", whose files are alike. faces_512: "instantid" or "portrait", whose files are alike too.
    """

    faceid_plus: str = "auto"
    faces_512: str = "auto"

    @classmethod
    def words(cls) -> dict[str, tuple[str, ...]]:
        """The values of each field, the default first."""
        return {"faceid_plus": ("auto", "v1", "v2"), "faces_512": ("auto", "instantid", "portrait")}

    def __post_init__(self):
        for one in fields(self):
            value, offered = getattr(self, one.name), self.words()[one.name]
            if value not in offered:
                raise ValueError(f"{one.name} is {value!r}, but must be one of: {', '.join(offered)}.")


AUTO = Overrides()


@dataclass(frozen=True)
class Clues:
    """What besides the tensors helps to tell a file: its name, its metadata, and what the artist says."""

    name: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    overrides: Overrides = AUTO


class IDAdapter(nn.Module, ABC):
    """Base of all families: `project` turns a person into tokens, `sites` makes of them what each site adds.

    A family is built as `family(spec, tensors, device=None, dtype=None, operations=nn)`, with the tensors that `split`
    gave, and names its parameters as they are named. `gated`: what `sites` gives are gates (see attention.gates), which
    work on what goes into the cross-attentions and use the adapter's layers while sampling.
    """

    spec: AdapterSpec
    gated = False
    lora: LoRA = LoRA()

    @classmethod
    def split(cls, tensors: Mapping[str, torch.Tensor]) -> tuple[Mapping[str, torch.Tensor], LoRA]:
        """A recognised file's tensors under the names of the module's parameters, and its LoRA, which is none."""
        return tensors, LoRA()

    @abstractmethod
    def project(self, faces: FaceInput, choices: Choices = DEFAULTS) -> torch.Tensor:
        """A person -> identity tokens [1,T,token_dim]; raises ValueError with one sentence for what does not fit."""

    @abstractmethod
    def keys_values(self, tokens: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Identity tokens [B,T,token_dim] -> K and V [B,T,site width] for each site, in the checkpoint's order."""

    def sites(self, tokens: torch.Tensor, choices: Choices = DEFAULTS) -> list[nn.Module]:
        """What each site adds at weight 1 (attention.residuals), for tokens [2,T,token_dim]: nobody's, the person's."""
        return [Attend(k, v) for k, v in self.keys_values(tokens)]
