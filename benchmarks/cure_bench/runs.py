"""What the parts share: Facelets with a person and a pose, and ways to run it that are no sampler's own."""

import math
from collections.abc import Callable
from functools import cache

import torch
from facelets import pack
from ruler.conditions import Task, adapter, control
from ruler.measure import as_image
from ruler.stack import SIZE, Graph, Stack
from ruler.task import Case, person


@cache
def stack() -> Stack:
    torch.set_num_threads(1)
    return Stack()


def task_of(case: Case) -> Task:
    """The case with its person's identity, as EncodeIdentity gives it."""
    reference = as_image(person(case.person).reference.image)
    encode = pack.module("core.host.who.identity").encode_identity
    return Task(stack(), case, encode(stack().parts.face_encoder, reference, "mean", "0", "passthrough")[0])


def personalised(task: Task) -> Graph:
    """The graph with adapter and landmarks, before any cure."""
    graph = stack().plain(task.case.text)
    for step in (adapter(), control()):
        graph = step(graph, task)
    return graph


def noise_of(graph: Graph, seed: int) -> torch.Tensor:
    """[1,C,16,16], for a picture of 128 x 128."""
    shape = (1, graph.model.get_model_object("latent_format").latent_channels, SIZE // 8, SIZE // 8)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(graph: Graph, function: Callable, steps: int, cfg: float, noise, latent=None, **options) -> torch.Tensor:
    """Latent [1,C,H,W] that a sampler function of ComfyUI's kind makes of a latent (zeros if None)."""
    samplers, sample = pack.module("comfy.samplers"), pack.module("comfy.sample")
    sigmas = samplers.calculate_sigmas(graph.model.get_model_object("model_sampling"), "normal", steps)
    latent = torch.zeros_like(noise) if latent is None else latent
    sampler = samplers.KSAMPLER(function, options)
    return sample.sample_custom(graph.model, noise, cfg, sampler, sigmas, *graph[1:], latent, disable_pbar=True, seed=0)


def _levels(sigmas, share):
    """The noise levels of a `share` of a schedule's steps, from the first on, with the one after each."""
    pairs = list(zip(sigmas[:-1], sigmas[1:], strict=True))
    return pairs[: math.ceil(share * len(pairs) - 1e-6)]


def euler(model, x, sigmas, extra_args=None, callback=None, disable=None, share: float = 1.0):
    """ComfyUI's Euler, which ends after a `share` of the steps where the rest doesn't matter."""
    step = pack.module("core.cure.inversion").euler_step
    for level, below in _levels(sigmas, share):
        x = step(x, model(x, level.expand(x.shape[0]), **extra_args), level, below)
    return x


def along_the_latent(model, x, sigmas, extra_args=None, callback=None, disable=None, share: float = 1.0):
    """The model sees the given latent under the run's noise at each level, whatever it predicts; returns the latent."""
    sampling = model.inner_model.inner_model.model_sampling
    for level, _ in _levels(sigmas, share):
        noised = sampling.noise_scaling(level, model.noise, model.latent_image)
        model(noised, level.expand(x.shape[0]), **extra_args)
    return model.latent_image


def finished(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """The given latent as if it had been sampled: only what comes after sampling happens to it."""
    return model.latent_image
