"""Landmark control: from a picture or JSON to a drawn control image on the conditioning."""

import logging
import operator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from comfy.controlnet import ControlBase
from comfy.sd import VAE

from ...faces.found import Faces
from ...faces.points.draw import draw_keypoints
from ...faces.points.landmark_json import landmarks_to_json, parse_landmarks
from ...faces.points.pose import place
from .. import keys
from ..comfyui.images import as_image, pixels
from ..comfyui.progress import watched
from ..conditioning.control_reads import IDENTITY, PROMPT, has_identity, joined, keep_apart
from ..faces.detection import choose_faces, find_faces
from ..faces.encoder import LoadedEncoder
from ..sampling.people import controlled
from ..sampling.strength import Strength

# auto: identity tokens where an adapter gives some, before or behind, else the prompt
READS = ("auto", IDENTITY, PROMPT)

_LATENT_PIXELS = 8  # pixels per latent cell of SD1.5, SDXL and FLUX.1
_SHOWN = 4  # control images that the node shows
_DIMMED = 0.6  # of the pose picture's brightness below the landmarks


@dataclass(frozen=True)
class PoseSource:
    """Where landmarks come from: JSON text if there is any, else the faces of `image`.

    `found` are all faces of `image`, None with JSON text.
    """

    encoder: LoadedEncoder
    image: torch.Tensor
    text: str
    face_index: str
    on_no_face: str
    found: Faces | None = None


def pose_source(encoder: LoadedEncoder, image: torch.Tensor, text: str, face_index: str, on_no_face: str) -> PoseSource:
    """Looks for faces where there is no text."""
    found = None if text.strip() else find_faces(encoder, image, face_index)
    return PoseSource(encoder, image, text, face_index, on_no_face, found)


@dataclass(frozen=True)
class Placement:
    """What the artist does to the pose; offsets in canvas widths and heights, rotation in degrees clockwise."""

    offset_x: float
    offset_y: float
    scale: float
    rotate: float


def canvas_size(image: torch.Tensor, latent: dict | None) -> tuple[int, int]:
    """(width, height) in pixels that the control image is drawn at: the latent's size, else the picture's own."""
    if latent is None:
        height, width = as_image(image).shape[1:3]
        return width, height
    samples = latent["samples"]
    if samples.ndim < 4 or 0 in samples.shape:
        raise ValueError(
            f"A LATENT has the shape [batch, channels, height, width], but this one is {list(samples.shape)}; connect "
            "the one that goes into the sampler."
        )
    height, width = samples.shape[-2:]
    return width * _LATENT_PIXELS, height * _LATENT_PIXELS


def draw(source: PoseSource, pose: Placement, canvas: tuple[int, int]) -> tuple[torch.Tensor, str]:
    """Control images [M,H,W,3] in 0..1 and the placed landmarks as JSON.

    One control image per picture of the source (JSON text: one). M is 0 when no picture has a face and the policy is
    passthrough; otherwise NoFaceError.
    """
    placed = [
        place(found, size, canvas, pose.offset_x, pose.offset_y, pose.scale, pose.rotate)
        for found, size in _landmarks(source, canvas)
    ]
    width, height = canvas
    parts = watched(([landmarks] for landmarks in placed), len(placed), "Drawing landmarks")
    pictures = [draw_keypoints(landmarks, height, width) for [landmarks] in parts]
    described = landmarks_to_json(np.concatenate(placed) if placed else np.zeros((0, 5, 2)), height, width)
    if not pictures:
        return torch.zeros(0, height, width, 3), described
    return torch.from_numpy(np.stack(pictures)).float() / 255, described


def _landmarks(source, canvas):
    """(landmarks [N,5,2], size of their frame) for each control image."""
    if source.found is None:
        landmarks, size = parse_landmarks(source.text)
        # Single precision like a detector's, so that landmarks read back from our own output draw the same picture.
        return [(landmarks.astype(np.float32), size or canvas)]
    faces = choose_faces(
        source.encoder,
        source.image,
        "largest",
        source.face_index,
        source.on_no_face,
        at_least_one=True,
        found=source.found,
    )
    if faces.total == 0:
        return []
    height, width = faces.image_size
    points = np.array([face.landmarks for face in faces.on_host], dtype=np.float32)
    per_image = np.split(points, np.cumsum(faces.counts)[:-1])
    # With passthrough a picture without a face keeps its place in the batch, as a black control image.
    return [(found, (width, height)) for found in per_image if len(found) or source.on_no_face == "passthrough"]


def control_image(drawn: torch.Tensor, canvas: tuple[int, int]) -> torch.Tensor:
    """What the control_image output shows: the drawn pictures, or one black one when there are none."""
    width, height = canvas
    return drawn if len(drawn) else torch.zeros(1, height, width, 3)


def preview(source: PoseSource, drawn: torch.Tensor, canvas: tuple[int, int]) -> torch.Tensor:
    """What the node shows [N,H,W,3]: the first control images, each followed by itself over the dimmed pose picture.

    The pose picture stays away where the landmarks are typed in, and where some pictures have no control image.
    """
    shown = control_image(drawn, canvas)[:_SHOWN]
    if source.text.strip() or len(drawn) != len(source.image):
        return shown
    pictures = pixels(as_image(source.image[: len(shown)]), shown.device).movedim(-1, 1)
    height, width = pictures.shape[-2:]
    scale = min(canvas[0] / width, canvas[1] / height)  # as faces.pose.fit carries the landmarks over
    size = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (canvas[1] - size[0]) // 2, (canvas[0] - size[1]) // 2
    below = torch.zeros_like(shown)
    fitted = F.interpolate(pictures, size=size, mode="bilinear", antialias=True).movedim(1, -1)
    below[:, top : top + size[0], left : left + size[1]] = fitted * _DIMMED
    over = torch.where(shown.amax(-1, keepdim=True) > 0, shown, below)
    return torch.stack([shown, over], 1).flatten(0, 1)


def add_control_net(
    positive: list,
    negative: list,
    control_net: ControlBase,
    drawn: torch.Tensor,
    strength: Strength,
    vae: VAE | None = None,
    reads: str = READS[0],
) -> tuple:
    """Both conditionings with the ControlNet added; the very objects that came in when there is nothing to do.

    `reads`: one of READS, what this ControlNet is given beside the picture; others read the prompt, see control_reads.
    IdentityNet is trained on identity tokens, and nothing in its file tells it from an ordinary one. ValueError where
    tokens are asked for and there are none. Where a prompt has people whom InfuseNet draws, it is put there for each of
    them, also without a pose, and nowhere else.
    """
    people = reads != PROMPT and any(keys.PEOPLE in extras for _, extras in (*positive, *negative))
    if strength.is_nothing or (len(drawn) == 0 and not people):
        return positive, negative
    _check(control_net, vae, people)
    if people:
        return _with_people(positive, negative, control_net, drawn, strength, vae)
    if reads != PROMPT and _is_infusenet(control_net):
        logging.warning(
            "Likeness: LandmarkControl's ControlNet is built like InfiniteYou's InfuseNet, but positive carries no "
            "person for it, so it reads the prompt's text; connect positive from ApplyIDAdapter with InfiniteYou's "
            "image_proj_model.bin, or set control_net_reads to prompt."
        )
    hint = drawn.movedim(-1, 1)
    nets = {}  # entries that share a ControlNet so far share the new one too, so that it runs once for them

    carries = [all(has_identity(extras) for _, extras in entries) for entries in (positive, negative)]
    if reads == READS[0] and carries[0] != carries[1]:
        logging.warning(
            "Likeness: only the %s prompt of LandmarkControl comes from ApplyIDAdapter, so its ControlNet reads the "
            "person there and the text of the other; connect both from ApplyIDAdapter.",
            "positive" if carries[0] else "negative",
        )
    if reads == IDENTITY and not all(carries):
        raise ValueError(
            "LandmarkControl shall read identity tokens, but these prompts carry none; connect positive and negative "
            "from ApplyIDAdapter with an InstantID adapter, or set control_net_reads to auto."
        )

    def with_net(extras):
        before = extras.get("control")
        if before not in nets:
            net = control_net.copy().set_cond_hint(hint, strength.weight, (strength.start_at, strength.end_at), vae=vae)
            nets[before] = joined(net, before, PROMPT if reads == PROMPT else IDENTITY)
        extras = extras if reads == PROMPT else keep_apart(extras)
        return {**extras, "control": nets[before], "control_apply_to_uncond": False}

    positive, negative = ([[text, with_net(extras)] for text, extras in entries] for entries in (positive, negative))
    return positive, negative


def _is_infusenet(control_net):
    """Whether a ControlNet for FLUX has InfuseNet's number of blocks."""
    network = getattr(control_net, "control_model", None)
    blocks = [len(getattr(network, part, ())) for part in ("double_blocks", "single_blocks")]
    return control_net.latent_format is not None and blocks == [4, 10]


def _check(control_net, vae, people):
    """ValueError where the ControlNet can't draw: it takes pictures as latents, or it is not the people's."""
    as_latents = control_net.latent_format is not None
    if people and not as_latents:
        raise ValueError(
            "The person on positive is InfiniteYou's, but control_net is no InfuseNet; load infusenet_aes_bf16 or "
            "infusenet_sim_bf16 with Load ControlNet Model, or, for another ControlNet for FLUX, set control_net_reads "
            "to prompt."
        )
    if as_latents and vae is None:
        raise ValueError(
            "This ControlNet takes the landmarks as the VAE encodes them; connect the model's VAE to LandmarkControl."
        )


def _with_people(positive, negative, control_net, drawn, strength, vae):
    """Both conditionings with the ControlNet for each person on them; black where there is no pose."""
    hint = (drawn if len(drawn) else drawn.new_zeros(1, *drawn.shape[1:])).movedim(-1, 1)
    chains = {}  # entries that share people and a ControlNet so far share the new ones too

    def with_nets(entry):
        text, extras = entry
        before, people = extras.get("control"), extras.get(keys.PEOPLE)
        if people is None:
            return entry
        if (before, people) not in chains:
            chains[before, people] = controlled(control_net, people, before, hint, strength, vae)
        return entry if chains[before, people] is before else [text, {**extras, "control": chains[before, people]}]

    lists = []
    for entries in (positive, negative):
        made = [with_nets(entry) for entry in entries]
        lists.append(entries if all(map(operator.is_, made, entries)) else made)
    return tuple(lists)
