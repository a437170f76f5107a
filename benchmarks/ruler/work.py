"""The measuring of one person in a worker process."""

import time
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from facelets.judge import WEIGHTS
from facelets.pack import module
from facelets.world import TRAITS

from .conditions import DRAWING, KNOWN, Task
from .figures import Score, pairwise_difference
from .measure import Instruments, as_image, distance, trait_correlation
from .stack import ARCHITECTURES, Stack, plainly
from .task import Person, case, person

SHOWN = 3  # prompts whose pictures are kept for contact sheets


@dataclass(frozen=True)
class Options:
    """How much is measured; `folder` and `judge` say with which weights."""

    conditions: tuple[str, ...]
    people: range  # numbers of those who are measured
    compared: range  # and of all whose references their pictures are compared with
    prompts: int
    seeds: int
    steps: int
    sampler: str
    cfg: float
    phrases: tuple[int | None, ...] = (None,)  # how many a prompt names; None: everything
    folder: Path | None = None
    architecture: str = ARCHITECTURES[0]
    judge: Path = WEIGHTS


@cache
def _setup(options: Options):
    torch.set_num_threads(1)
    stack, people = Stack(options.folder, options.architecture), {number: person(number) for number in options.compared}
    return stack, people, Instruments(stack.parts.face_encoder, people, options.judge)


@plainly
def measure_person(options: Options, number: int) -> tuple[list[Score], dict[tuple[str, int], np.ndarray]]:
    """Scores of all pictures of one person, and first pictures uint8 by (condition, prompt) for contact sheets."""
    scores: list[Score] = []
    shown: dict[tuple[str, int], np.ndarray] = {}
    with torch.inference_mode():  # as ComfyUI runs nodes
        stack, people, instruments = _setup(options)
        for at, (prompt, phrases) in enumerate(product(range(options.prompts), options.phrases)):
            asked = case(people[number], number, prompt, phrases)
            task = Task(stack, asked, identity_of(stack, people[number]))
            for condition in options.conditions:
                start = time.process_time()
                images = _pictures(condition, task, options)
                seconds = (time.process_time() - start) / len(images)
                scores += _scores(condition, asked, images, instruments, people[number], seconds)
                if at < SHOWN:
                    shown[condition, at] = _bytes(images[:1])[0]
    return scores, shown


def identity_of(stack: Stack, whom: Person):
    """As EncodeIdentity; None without a face encoder."""
    if stack.parts.face_encoder is None:
        return None
    encode = module("core.host.who.identity").encode_identity
    return encode(stack.parts.face_encoder, as_image(whom.reference.image), "mean", "0", "passthrough")[0]


def _pictures(condition, task, options):
    if condition == DRAWING:
        return task.stack.through_autoencoder(as_image(task.case.drawing.image))
    graph = task.stack.plain(task.case.text)
    for step in KNOWN[condition]:
        graph = step(graph, task)
    return task.stack.sample(graph, task.case.seed, options.seeds, options.steps, options.sampler, options.cfg)


def _scores(condition, asked, images, instruments, whom, seconds):
    images = images.float().clamp(0, 1).cpu()
    apart = pairwise_difference(_bytes(images))
    reading, scores = instruments.read(images), []
    truth = whom.identity.vector
    for seed, face in enumerate(instruments.faces(images)):
        traits = reading.traits[seed].numpy()
        right, wrong = instruments.cosines(asked.person, face)
        scores.append(Score(
            condition, asked.person, asked.prompt, asked.phrases, seed, asked.text, asked.asked, asked.reference,
            reading.looks[seed], trait_correlation(traits, truth), _named(traits), _named(truth),
            face is not None, right, wrong, None if face is None else distance(face.landmarks, asked.drawing.landmarks),
            distance(reading.landmarks[seed].numpy(), asked.drawing.landmarks), apart, seconds,
        ))  # fmt: skip
    return scores


def _named(traits: np.ndarray) -> dict[str, float]:
    return dict(zip(TRAITS, traits.tolist(), strict=True))


def _bytes(images):
    return (images.clamp(0, 1) * 255).round().byte().cpu().numpy()
