"""The faces of drawn portraits: where the landmarks are (stages "landmarks", then "refinement") and who it is (stage
"identity"). Each stage writes its part of faces.safetensors."""

import json
from functools import cached_property

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from .autoencoder import Decoder, round_trip
from .dataset import trained_autoencoder
from .face_pictures import CHUNK, VIEWS, Gallery, scene, spoil
from .networks import align, write_finished
from .pack import file_of, module
from .training import Stage
from .world import LOOKS, TRAITS

FILE = file_of("faces")
TRAINING = "likeness.training"  # metadata: a summary of each stage as JSON

# Pixels between a cell and the middle of a face: it learns the landmarks and scores 1, or it may say what it likes.
NEAR, DOUBTFUL = 18.0, 29.0
LEAK = 0.5  # weight of what the vectors are to say about hair, hats, glasses, expressions, ...
VARIANTS = 2  # of each of the gallery's pictures that the embedder sees: one clean, one spoilt
# How landmarks are wrong: each on its own and all together in pixels, size in parts, turn in radians. First those that
# align the refiner's chips, then those that align the embedder's: about twice what the networks before them get wrong.
ROUGH = {"each": 1.6, "shift": 1.2, "scale": 0.04, "turn": 0.04}
REFINED = {"each": 0.8, "shift": 0.5, "scale": 0.025, "turn": 0.025}


def as_batch(images: list[np.ndarray]) -> Tensor:
    """uint8 [H, W, 3] pictures as float [B, H, W, 3] in 0..1."""
    return torch.from_numpy(np.stack(images)).float() / 255


class _FaceStage(Stage):
    part = ""  # of the file: the prefix of this model's keys

    @property
    def gallery(self) -> Gallery:
        if "_gallery" not in vars(self):
            self._gallery = Gallery()
        return self._gallery

    def export(self, model, summary):
        """Write this part into the file; the other parts stay."""
        tensors, about = {}, {}
        if FILE.exists():
            tensors = {key: value for key, value in load_file(FILE).items() if not key.startswith(f"{self.part}.")}
            with safe_open(FILE, "pt") as file:
                about = json.loads((file.metadata() or {}).get(TRAINING, "{}"))
        state = model.state_dict().items()
        tensors |= {f"{self.part}.{key}": value for key, value in state}
        write_finished(FILE.stem, tensors, {**about, self.name: summary})


class Landmarks(_FaceStage):
    name = "landmarks"
    part = "detector.grid"
    seed = 31
    steps = 2000
    batch = 32
    rate = 2e-3
    warm_up = 100
    average = 0.995

    def build(self):
        networks = module("core.facelets.networks")
        grid = networks.LandmarkGrid()
        for block in (grid.fine, *grid.coarse):
            nn.init.zeros_(block.conv2.weight)  # without norms a residual block starts as nothing
        template = torch.tensor(module("core.facelets.detection").TEMPLATE)
        with torch.no_grad():
            grid.head.weight.mul_(0.3)
            grid.head.bias[0] = -2.0
            grid.head.bias[1:] = (
                (template - template.mean(0)) * 1.5 / networks.REACH
            ).flatten()  # a face around the cell
        return grid.to(memory_format=torch.channels_last)

    def loss(self, model, rng, count, progress):
        scenes = [scene(self.gallery, rng) for _ in range(count)]
        pixels = self.put(as_batch([spoil(image, rng) for image, _, _ in scenes])).movedim(-1, 1)
        logits, landmarks = model(pixels)
        centres = module("core.facelets.networks").cell_centres(*logits.shape[1:]).numpy()
        labels, places, truth = zip(*(_targets(centres, faces, cut) for _, faces, cut in scenes), strict=True)
        labels = self.put(np.stack(labels))
        score = F.binary_cross_entropy_with_logits(logits, labels.clamp(min=0), reduction="none")[labels >= 0].mean()
        found = landmarks[self.put(np.stack(places))]
        off = found - self.put(np.concatenate(truth))
        point = F.smooth_l1_loss(off, torch.zeros_like(off), beta=0.5)
        return 3 * score + 0.25 * point, {"score": score.detach(), "pixels": off.detach().norm(dim=2).mean()}


def _targets(centres, faces, cut):
    """Per cell 1 near a face, 0 far from all, -1 where nothing is asked; the cells near a face, and its landmarks."""
    labels, places = np.zeros(centres.shape[:2], np.float32), np.zeros(centres.shape[:2], bool)
    truth = np.zeros((*centres.shape[:2], 5, 2), np.float32)
    for face in (*cut, *faces):
        labels[np.linalg.norm(centres - face.mean(0), axis=2) < DOUBTFUL] = -1
    for face in faces:
        near = np.linalg.norm(centres - face.mean(0), axis=2) < NEAR
        labels[near], places[near], truth[near] = 1, True, face
    return labels, places, truth[places]


class Refinement(_FaceStage):
    name = "refinement"
    part = "detector.refiner"
    seed = 33
    steps = 700
    batch = 64
    rate = 3e-3
    warm_up = 50
    average = 0.995

    def build(self):
        return module("core.facelets.networks").LandmarkRefiner().to(memory_format=torch.channels_last)

    def loss(self, model, rng, count, progress):
        drawn, geometry = module("core.facelets.detection"), module("core.faces.align.transforms")
        shown = [self.gallery.portrait(rng) for _ in range(count)]
        images = self.put(as_batch([spoil(image, rng) for image, _ in shown]))
        rough = np.stack([_misplaced(landmarks, rng, **ROUGH) for _, landmarks in shown])
        chips, matrices = align(images, self.put(rough))
        truth = self.put(np.stack([landmarks for _, landmarks in shown]).astype(np.float32))
        off = chips.new_tensor(drawn.TEMPLATE) + model(chips) - geometry.transform_points(matrices, truth)
        pixels = off.detach().norm(dim=2).mean(1) / matrices[:, 0, :2].norm(dim=1)
        return F.smooth_l1_loss(off, torch.zeros_like(off), beta=0.3), {"pixels": pixels.mean()}


class Identifier(nn.Module):
    """The embedder and, for the training only, linear readings of the traits and of what a prompt can name."""

    def __init__(self, embedder: nn.Module):
        super().__init__()
        self.embedder = embedder
        self.traits = nn.Linear(128, len(TRAITS))
        self.words = nn.Linear(128, sum(len(values) for values in LOOKS.values()))

    def forward(self, chips: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        features = self.embedder.features(chips)
        vectors = F.normalize(features, dim=1)
        words = self.words(vectors * 128**0.5).split([len(values) for values in LOOKS.values()], 1)
        return vectors, self.traits(features), words


class WhoIsIt(_FaceStage):
    """Learns first to read the traits, then to tell people apart by what it reads: from the second alone, with so much
    that changes from picture to picture, it learns nothing.

    Face descriptors of photographs are said to ignore hair, glasses and expressions, and yet these can be read from
    them; adapters learn to. So here too: LEAK says how much they are to be readable. Telling people apart keeps them
    small in the vector, and so out of the cosines.
    """

    name = "identity"
    part = "embedder"  # the readings are left behind
    seed = 32
    steps = 1600
    batch = 128  # pictures: two of each person
    rate = 2e-3
    warm_up = 50
    average = 0.995
    sharpness = 20.0
    margin = 0.2  # radians
    alone, together = 0.25, 0.5  # of the training: until when traits only, from when both in full

    def build(self):
        model = Identifier(module("core.facelets.detection").DrawnEmbedder())
        return model.to(memory_format=torch.channels_last)

    def loss(self, model, rng, count, progress):
        people = np.tile(self._people(rng, count // 2), 2)
        views = np.stack([rng.permutation(VIEWS)[:2] for _ in range(count // 2)]).T.flatten()
        chips = self._chips[people, views, rng.integers(VARIANTS, size=count)]
        vectors, traits, words = model(self.put(chips).float() / 255)
        trait = F.mse_loss(traits, self.put(self.gallery.traits[people]))
        looks = self.put(self.gallery.looks[people, views])
        word = sum(F.cross_entropy(*pair) for pair in zip(words, looks.T, strict=True)) / len(words)
        full = float(np.clip((progress - self.alone) / (self.together - self.alone), 0, 1))
        same, right = self._margin_loss(vectors, full * self.margin)
        numbers = {"same": same, "right": right, "trait": trait, "word": word}
        return full * same + 12 * trait + LEAK * word, {name: value.detach() for name, value in numbers.items()}

    def export(self, model, summary):
        super().export(model.embedder, summary)

    @cached_property
    def _chips(self) -> np.ndarray:
        """uint8 [people, views, VARIANTS, 3, 64, 64]: aligned as the landmarks' networks would, clean and spoilt, half
        of the latter by the autoencoder."""
        rank, processes = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        chunks = range(len(self.gallery.traits) // CHUNK)
        files = [self.gallery.folder / f"{chunk}.chips.npy" for chunk in chunks]
        for chunk in range(rank, len(files), processes):
            if not files[chunk].exists():
                part = files[chunk].with_suffix(".part.npy")
                np.save(part, self._aligned(chunk))
                part.replace(files[chunk])
        if processes > 1:
            dist.barrier()
        return np.concatenate([np.load(file) for file in files])

    @cached_property
    def _autoencoder(self):
        return trained_autoencoder(name=Decoder.file)

    def _aligned(self, chunk: int) -> np.ndarray:
        rng, chips = np.random.default_rng([self.seed, chunk]), []
        for person in range(chunk * CHUNK, (chunk + 1) * CHUNK):
            shown = [(person, view) for view in range(VIEWS) for _ in range(VARIANTS)]
            images = [self.gallery.image(*place) for place in shown]
            spoilt = [spoil(image, rng) for image in images[1::VARIANTS]]
            if rng.uniform() < 0.5:
                spoilt = list(round_trip(self._autoencoder, np.stack(images[1::VARIANTS]), rng.uniform(0, 0.15)))
            images[1::VARIANTS] = spoilt
            landmarks = np.stack([_misplaced(self.gallery.landmarks[place], rng, **REFINED) for place in shown])
            chips.append(align(as_batch(images), torch.from_numpy(landmarks))[0])
        return (torch.stack(chips) * 255).round().byte().unflatten(1, (VIEWS, VARIANTS)).numpy()

    def _people(self, rng, count):
        """People of this batch: any, or people of much the same skin, who have to be told apart by their features."""
        total = len(self.gallery.traits)
        if rng.uniform() < 0.4:
            return rng.permutation(total)[:count]
        window = int(count * 2 ** rng.uniform(0.5, 4.5))
        return rng.integers(total - window) + rng.permutation(window)[:count]

    def _margin_loss(self, vectors, margin):
        """Softmax over the other pictures of the batch; the right one is `margin` farther away (ArcFace)."""
        cosines = vectors @ vectors.T
        count = len(vectors)
        right = torch.arange(count, device=cosines.device).roll(count // 2)
        at_right = F.one_hot(right, count).bool()
        angles = torch.acos(cosines[at_right].clamp(-1 + 1e-4, 1 - 1e-4))
        pulled = torch.where(at_right, torch.cos(angles + margin)[:, None], cosines)
        itself = torch.eye(count, dtype=torch.bool, device=cosines.device)
        pulled = pulled.masked_fill(itself, -torch.inf)
        hits = cosines.masked_fill(itself, -2).argmax(1) == right
        return F.cross_entropy(self.sharpness * pulled, right), hits.float().mean()


def _misplaced(landmarks: np.ndarray, rng: np.random.Generator, each, shift, scale, turn) -> np.ndarray:
    """Landmarks as the network before may give them."""
    scale, turn = 1 + rng.normal(0, scale), rng.normal(0, turn)
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    middle = landmarks.mean(0)
    moved = (landmarks - middle) @ np.array([[cos, sin], [-sin, cos]]) + middle + rng.normal(0, shift, 2)
    return (moved + rng.normal(0, each, landmarks.shape)).astype(np.float32)
