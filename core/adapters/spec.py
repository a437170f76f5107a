"""What is known of an adapter: of a family before any file is read, and of the file at hand."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import torch

from .bases import Base, base_name

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Look:
    """The picture of a face that an adapter wants to see, and through which eyes.

    vision: a key of `VISION`; None: the adapter has eyes of its own and gets the pixels. crop: "face" (ArcFace's
    alignment), "ffhq" (FFHQ's), "head" (facexlib's), "square" (the detector's box, made square), "whole" (the picture
    as it is). size: of the crop in pixels. backdrop: "kept"; "grey" and "face only" need a face parser. empty: what
    nobody's picture is to CLIP, "grey" with an embedding of zeros (IP-Adapter), or "black" with the embedding that CLIP
    gives.
    """

    vision: str | None
    crop: str
    size: int
    backdrop: str = "kept"
    empty: str = "grey"


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
    "siglip-b256": Vision("SigLIP-base-patch16-256", 768, "clip_vision", "google/siglip-base-patch16-256-i18n, "
                          "model.safetensors, on Hugging Face"),
    "siglip-so400m": Vision("SigLIP-so400m-patch14-384", 1152, "clip_vision", "google/siglip-so400m-patch14-384, "
                            "model.safetensors, on Hugging Face"),
}  # fmt: skip


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


class PublishedFile(NamedTuple):
    """An adapter's file as its authors publish it."""

    name: str
    base: Base  # that it is for
    layout: str = ""  # of its keys and shapes among those that tests build files of; "": it is not among them


@dataclass(frozen=True)
class Known:
    """What is known of an adapter before any file is read: a row of docs/adapters.md, which tests hold to it."""

    family: str  # several versions of an adapter, and what the house asks for
    title: str  # what artists call it
    kind: str  # what `weights.kind_of` calls its files, with an article
    files: tuple[PublishedFile, ...]
    folder: str  # of ComfyUI's models, where artists have them
    source: str  # who publishes them: pages of Hugging Face unless it says otherwise
    licence: str
    face_space: str | None = None  # the encoder whose vectors it was trained on; None: it takes no face vector
    face_dim: int = 0  # numbers of these vectors: a file with another number takes others; 0: whatever the file has

    def spec(self, clues: Clues, **read: Any) -> "AdapterSpec":
        """The spec of a file: what is known, unless its metadata name another encoder or licence, and what was read."""
        metadata, space = clues.metadata, None
        if read.get("face_dim"):
            published = self.face_dim in (0, read["face_dim"])
            space = metadata.get("likeness.face_space") or (self.face_space if published else None)
        licence = metadata.get("license") or self.licence
        return AdapterSpec(family=self.family, title=self.title, licence=licence, face_space=space, **read)


@dataclass(frozen=True)
class AdapterSpec:
    """What a checkpoint is and what it needs, read from its keys and shapes; the first three are as in Known."""

    family: str
    title: str
    licence: str
    tokens: int  # of a person, or of each photograph
    token_dim: int  # numbers of a token, which is as wide as the text's unless `own_width`
    site_widths: tuple[int, ...]  # channels of each site in the checkpoint's order (see Base); (): it has none
    face_dim: int = 0  # numbers of a face vector; 0: it takes none
    face_space: str | None = None  # the encoder whose vectors it was trained on; None: the file cannot say
    normalised: bool = False  # face vectors go in with length 1
    each: int = 1  # up to so many photographs give tokens of their own; 1: one vector stands for the person
    further: int = 0  # tokens of each photograph but the first; 0: as many as of the first
    together: bool = False  # up to `each` photographs give one set of tokens instead, and nobody is a single empty one
    look: Look | None = None  # the picture that it wants to see; None: none
    adds_seen: bool = False  # what the tokens saw of the picture is added to them; otherwise it takes their place
    in_prompt: bool = False  # the face goes into the prompt, by IDTextEncode
    needs_control_net: bool = False  # it comes with a ControlNet that sees landmarks and the identity's tokens
    default_weight: float = 1.0  # the published one
    of: Base | None = None  # the foundation model that it is for, where its sites don't tell
    places: tuple[int, ...] = ()  # the numbers of its sites among the model's; (): it has them all
    own_width: bool = False  # its tokens have a width of their own, and are not as wide as the prompt's
    counts_steps: bool = False  # a late start counts the steps of a run, as its authors do, and no noise levels
    guesses: tuple[str, ...] = ()  # lines for the artist: advice, and what the file could not say

    @property
    def base(self) -> str:
        """The name of the foundation model that the adapter is for."""
        return self.of.name if self.of is not None else base_name(len(self.site_widths), self.token_dim)

    @property
    def fits(self) -> str:
        """The foundation model that the adapter is for, in words."""
        if self.of is not None:
            count, whole = len(self.site_widths), len(self.of.site_widths)
            return f"{self.base} ({count} of its {whole} blocks)" if 0 < count < whole else self.base
        sites = f"{len(self.site_widths)} attention sites, " if self.site_widths else ""
        return f"{self.base} ({sites}text width {self.token_dim})"

    @property
    def named(self) -> str:
        """What it is, with an article."""
        return f"{'an' if self.title[0] in 'AEIOUX' else 'a'} {self.title} adapter"

    @property
    def by_control_net(self) -> bool:
        """Whether its ControlNet alone draws the person, and it adds nothing to the model itself."""
        return self.needs_control_net and not self.site_widths

    @property
    def vision(self) -> str:
        """The key in VISION of the model that it looks through; "": none."""
        return (self.look and self.look.vision) or ""

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
        if self.vision:
            vision = VISION[self.vision]
            lines.append(f"Looks at the picture through: {vision.title} (models/{vision.folder}; {vision.source})")
        if self.in_prompt:
            lines.append("The face goes into the prompt: encode it with IDTextEncode")
        if lora:
            lines.append(f"LoRA inside: {lora.layers} layers, see lora_strength")
        return "\n".join([*lines, *self.guesses, f"Licence: {self.licence}"])
