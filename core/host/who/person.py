"""Who it is: gathering what an adapter needs of a person from what the artist has connected."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from ...adapters import SDXL, AdapterSpec, FaceInput, Seen, base_of
from ...faces.crops import CROPS
from ...faces.identity.identity import Identity, combine_embeds
from ...faces.spaces import LISTED, is_space
from ..comfyui.images import as_image, check_colours
from ..comfyui.managed import loaded
from ..faces.detection import choose_faces
from ..faces.encoder import LoadedEncoder
from .backdrop import on_backdrop
from .identity import encode_faces
from .vision import check_vision, see
from .vision_files import in_a_file

POPULAR = "popular packs"
COMPATIBILITY = ("reference", POPULAR)
COMBINE_EMBEDS = ("auto", "concat", "add", "subtract", "average", "norm average")
_POPULAR_SDXL_CROP = 256
_POPULAR_NOISE, _POPULAR_SEEDS = 0.35, 1000000007


@dataclass(frozen=True)
class Sources:
    """What the artist connected to say who it is; image is a batch of photographs of one person."""

    identity: Identity | None = None
    encoder: LoadedEncoder | None = None
    image: torch.Tensor | None = None
    clip_vision: object | None = None
    combine_embeds: str = COMBINE_EMBEDS[0]
    compatibility: str = COMPATIBILITY[0]
    on_no_face: str = "error"

    @property
    def popular(self) -> bool:
        """Whether old workflows of the popular packs shall come out as they did."""
        return self.compatibility == POPULAR


@dataclass(frozen=True)
class Person:
    """A person and nobody as an adapter gets them, on the compute device. `identity` may be empty: with a face nobody
    looked for, or none that was found; `is_empty` tells them apart."""

    identity: Identity
    face: FaceInput
    nobody: FaceInput
    is_empty: bool = False


def gather(
    spec: AdapterSpec, file_name: str, sources: Sources, device: torch.device, eyes: Callable | None = None
) -> Person:  # fmt: skip
    """The person as the adapter wants it; ValueError with one sentence that says what is missing or does not fit.

    `eyes()` gives the ModelPatcher of the vision model, for adapters that look through one of `vision_files`.
    """
    look = spec.look
    _check_connected(spec, file_name, sources)
    vision = sources.clip_vision
    if eyes is not None and in_a_file(spec.vision):
        vision = eyes()
    faces = None
    if sources.image is not None and sources.encoder is not None:
        if spec.face_dim and sources.identity is None:
            _check_space(spec, file_name, sources.encoder.space, None)
        faces = choose_faces(
            sources.encoder, sources.image, "largest", "0", sources.on_no_face, at_least_one=True
        )  # fmt: skip
    identity = _identity(sources, faces)
    if spec.face_dim and identity.is_empty or faces is not None and not faces.total:
        return Person(identity, FaceInput(), FaceInput(), is_empty=True)
    vectors, seen, empty, unseen = torch.zeros(0, device=device), Seen(), Seen(), Seen()
    if spec.face_dim:
        _check_space(spec, file_name, identity.space, identity.dim)
        vectors = _vectors(spec, identity, sources.combine_embeds).to(device=device, dtype=torch.float32)
    if look is not None:
        if sources.popular and look.crop == "face" and base_of(len(spec.site_widths)) is SDXL:
            look = replace(look, size=_POPULAR_SDXL_CROP)
        crops = _crops(look, sources, faces, file_name)
        if look.vision is None:
            seen, empty = Seen((crops,)), Seen((torch.zeros_like(crops[:1]),))
        else:
            seen, empty = see(look, crops, vision, file_name, sources.popular)
        seen = seen.map(lambda rows: _combined(rows, sources.combine_embeds, spec).to(device))
        empty = empty.map(lambda rows: rows.to(device))
        if spec.face_dim and len(vectors) != len(seen.hidden[0]):
            raise ValueError(
                f"There are {len(vectors)} face vectors but {len(seen.hidden[0])} pictures; connect the photographs "
                "that the identity was made of, or set ApplyIDAdapter's combine_embeds to average."
            )
        count = 1 if spec.together else len(seen.hidden[0])
        unseen = empty.map(lambda rows: rows.expand(count, *rows.shape[1:]))
    nobody = torch.zeros_like(vectors[:1] if spec.together else vectors)
    if sources.popular and spec.family == "instantid":
        nobody = _noise(identity).to(vectors).expand_as(vectors)
    equal = sources.combine_embeds == "concat"
    return Person(identity, FaceInput(vectors, seen, empty, equal), FaceInput(nobody, unseen, empty, equal))


def _noise(identity):
    """Nobody's face vector [D] as the popular InstantID pack makes it by default: noise seeded by the person's own."""
    seed = int(identity.vector.sum()) % _POPULAR_SEEDS  # host read: a seed is a number
    return _POPULAR_NOISE * torch.rand(identity.dim, generator=torch.Generator().manual_seed(seed))


def _check_connected(spec, file_name, sources):
    if spec.look is not None:
        check_vision(spec.look, sources.clip_vision, file_name)
        crop_needs = "" if spec.look.crop == "whole" else " and face_encoder, which finds the face in it"
        if sources.image is None or (crop_needs and sources.encoder is None):
            raise ValueError(
                f"{file_name} looks at the picture of the face, not only at its numbers; connect image{crop_needs}."
            )
    elif sources.identity is not None and sources.image is not None:
        raise ValueError("This node takes one person: connect either identity, or face_encoder and image together.")
    if spec.face_dim and sources.identity is None and (sources.encoder is None or sources.image is None):
        raise ValueError("This node takes one person: connect either identity, or face_encoder and image together.")


def _identity(sources, faces):
    if sources.identity is not None:
        return sources.identity
    if faces is not None:
        return encode_faces(sources.encoder, sources.image, faces, "mean")[0]
    return no_identity()


def no_identity() -> Identity:
    """The identity of nobody, for adapters that need none."""
    nobody = torch.zeros(0)
    return Identity("none", nobody, nobody[None][:0], nobody, "mean")


def _check_space(spec, file_name, space, dim):
    fits = spec.face_space is None or is_space(space, spec.face_space)
    if not fits or (dim is not None and spec.face_dim != dim):
        numbers = "" if dim is None else f" ({dim} numbers)"
        listed = LISTED.get(spec.face_space, "that encoder")
        raise ValueError(
            f"{file_name} takes faces from {spec.faces_from}, but this identity was made by {space}{numbers}; choose "
            f"{listed} in LoadFaceEncoder and encode the photograph again."
        )


def _vectors(spec, identity, how):
    if how == "auto":
        vectors = identity.vectors[: spec.each] if spec.each > 1 else identity.vector[None]
    else:
        vectors = combine_embeds(identity.vectors, how)
    return F.normalize(vectors.float(), dim=-1) if spec.normalised else vectors.float()


def _combined(rows, how, spec):
    if how == "auto":
        return rows[: spec.each] if spec.each > 1 else rows.mean(0, keepdim=True)
    return combine_embeds(rows, how)


def _crops(look, sources, faces, file_name):
    """[N,3,S,S] RGB in 0..1 as the look wants them."""
    if look.crop == "whole":
        pictures = check_colours(as_image(sources.image)).movedim(-1, 1).float()
        if faces is None:
            return pictures
        return pictures[[index for index, count in enumerate(faces.counts) for _ in range(count)]]
    encoder = sources.encoder
    image = encoder.prepared(sources.image)
    crops = CROPS[look.crop](look.size).chips(image, faces, loaded(encoder.patcher).landmarks68)
    return on_backdrop(look.backdrop, crops, file_name)
