"""What the faces of drawn portraits are worth, on people that no training saw: `python -m facelets.verify_faces`."""

import argparse

import numpy as np
import torch
from pairs import area_under_curve, logistic
from torch import Tensor

from .autoencoder import decode, encode
from .dataset import trained_autoencoder, trained_face_encoder
from .face_pictures import CHUNK, Gallery, faceless
from .faces import as_batch
from .world import TRAITS, draw, sample_identity, sample_look, sample_pose

SEED = 10_000_019  # far from those of the stages
EQUAL_SKIN = 0.2  # difference of skin depth below which two people have the same skin tone
VIEWS = 2  # of each person
CONFIDENCE = 0.5
BATCH = 32


def portraits(people: int, views: int, seed: int = SEED) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """images [people * views, 128, 128, 3] in 0..1, landmarks [.., 5, 2] and traits [people, 32]; person by person."""
    rng = np.random.default_rng(seed)
    who = [sample_identity(rng) for _ in range(people)]
    drawn = [draw(person, sample_look(rng), sample_pose(rng)) for person in who for _ in range(views)]
    landmarks = np.stack([portrait.landmarks for portrait in drawn])
    return as_batch([portrait.image for portrait in drawn]), landmarks, np.stack([person.vector for person in who])


@torch.no_grad()
def described(encoder, images: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per image whether there is a face, the largest one's landmarks [N, 5, 2] and its vector [N, 128]."""
    count = len(images)
    there, landmarks, vectors = np.zeros(count, bool), np.zeros((count, 5, 2)), np.zeros((count, encoder.dim))
    for first in range(0, count, BATCH):
        part = images[first : first + BATCH]
        faces = encoder.detect(part, CONFIDENCE).select("largest", "0")
        at = first + faces.image_index.numpy()
        there[at], landmarks[at], vectors[at] = True, faces.landmarks, encoder.embed(part, faces)
    return there, landmarks, vectors


def verification(vectors: np.ndarray, there: np.ndarray, traits: np.ndarray) -> dict:
    """Scores of same and different pairs of vectors [people, views, D]; pictures without a face count as cosine 0."""
    people, views = vectors.shape[:2]
    flat = vectors.reshape(people * views, -1) * there.reshape(-1, 1)
    cosines = flat @ flat.T
    person = np.repeat(np.arange(people), views)
    first, second = np.triu_indices(len(flat), 1)
    alike, one = cosines[first, second], person[first] == person[second]
    apart = np.abs(traits[person[first], 0] - traits[person[second], 0])
    same, different = alike[one], alike[~one]
    hard = alike[~one & (apart < EQUAL_SKIN)]
    slope, middle = logistic(same, different)
    return {
        "AUC": area_under_curve(same, different),
        f"AUC, skin depths less than {EQUAL_SKIN} apart": area_under_curve(same, hard),
        "TAR at FAR 1e-2": float((same > np.quantile(different, 0.99)).mean()),
        "TAR at FAR 1e-3": float((same > np.quantile(different, 0.999)).mean()),
        "mean cosine, same": float(same.mean()),
        "mean cosine, different": float(different.mean()),
        "deviation of cosines, different": float(different.std()),
        "slope of the logistic": slope,
        "middle of the logistic": middle,
    }


def readable_traits(vectors: np.ndarray, traits: np.ndarray) -> dict[str, float]:
    """Correlation of each trait with a linear reading of the vectors [people, views, D], fitted on half the people."""
    people, views = vectors.shape[:2]
    known = np.concatenate([vectors, np.ones((people, views, 1))], 2)
    half = people // 2

    def rows(part):
        return known[part].reshape(-1, known.shape[2]), np.repeat(traits[part], views, 0)

    x, y = rows(slice(half))
    ridge = 1e-2 * len(x) / known.shape[2] * np.eye(known.shape[2])
    weights = np.linalg.solve(x.T @ x + ridge, x.T @ y)
    x, y = rows(slice(half, None))
    read = x @ weights
    return {name: float(np.corrcoef(read[:, i], y[:, i])[0, 1]) for i, name in enumerate(TRAITS)}


@torch.no_grad()
def through_autoencoder(images: Tensor) -> Tensor:
    """Pictures after the autoencoder has packed and unpacked them."""
    model = trained_autoencoder()
    pictures = (images * 255).round().byte().movedim(-1, 1)
    return torch.cat([decode(model, encode(model, part)).clamp(0, 1) for part in pictures.split(8)]).movedim(1, -1)


def report(encoder, images, landmarks, traits, views):
    there, found, vectors = described(encoder, images)
    people = len(traits)
    off = np.linalg.norm(found - landmarks, axis=2)[there]
    print(f"  found {there.mean():.2%}; landmarks off by {off.mean():.3f} px, p95 {np.quantile(off, 0.95):.3f} px")
    vectors = vectors.reshape(people, views, -1)
    for name, value in verification(vectors, there.reshape(people, views), traits).items():
        print(f"  {name}: {value:.4f}")
    print("  traits:", ", ".join(f"{name} {value:.2f}" for name, value in readable_traits(vectors, traits).items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=600, help=f"{VIEWS} of each person")
    options = parser.parse_args()
    people = options.pictures // VIEWS
    torch.set_num_threads(1)
    encoder = trained_face_encoder()
    images, landmarks, traits = portraits(people, VIEWS)
    print(f"{people} people, {VIEWS} portraits each:")
    report(encoder, images, landmarks, traits, VIEWS)
    print("the same after the autoencoder:")
    report(encoder, through_autoencoder(images), landmarks, traits, VIEWS)
    rng = np.random.default_rng(SEED + 1)
    gallery = Gallery(CHUNK)
    alarms, _, _ = described(encoder, as_batch([faceless(gallery, rng) for _ in range(people)]))
    print(f"false alarms on {people} pictures without a face: {alarms.mean():.2%}")


if __name__ == "__main__":
    main()
