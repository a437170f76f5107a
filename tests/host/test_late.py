"""A face that comes into the prompt late: at the step of the adapters' authors, whatever the schedule."""

import pytest
import torch
from host_cases import conditioning, sample
from likeness.core.host.prompts import id_prompt
from likeness.core.host.sampling import late

SHARES = ((50, 0.6), (50, 0.2), (30, 0.29), (7, 0.5), (4, 0.2))


@pytest.fixture(scope="module")
def model(comfyui):
    from tiny.unet import unet

    return unet("sd15")


def schedules(model, steps, names=None):
    """Noise levels of a whole run by each of ComfyUI's schedulers."""
    import comfy.samplers

    sampling, names = model.get_model_object("model_sampling"), names or comfy.samplers.SCHEDULER_NAMES
    return [comfy.samplers.calculate_sigmas(sampling, name, steps) for name in names]


@pytest.mark.parametrize(("steps", "share"), SHARES)
def test_steps_with_the_face_are_the_authors(model, steps, share):
    """Their loop: `if i <= start_merge_step` without the face, `start_merge_step = int(share * steps)`."""
    sampling = model.get_model_object("model_sampling")
    by_level = []
    for sigmas in schedules(model, steps):
        count = len(sigmas) - 1  # one of the schedules takes a step more
        start_merge_step = int(share * count)
        authors = [i > start_merge_step for i in range(count)]
        level = late.starts_at(share, sigmas, sampling)
        assert [float(sigma) <= level for sigma in sigmas[:-1]] == authors
        by_level.append([float(sigma) <= sampling.percent_to_sigma(share) for sigma in sigmas[:-1]] == authors)
    assert not all(by_level)  # what noise levels alone give is another thing


def test_a_part_of_a_run_goes_by_noise_levels(model):
    sampling = model.get_model_object("model_sampling")
    for sigmas in schedules(model, 20, ["normal", "karras", "simple"]):
        for part in (sigmas[5:], sigmas[:8], sigmas[-1:]):
            assert late.starts_at(0.3, part, sampling) == sampling.percent_to_sigma(0.3)


@pytest.mark.parametrize("sampler", ["euler", "dpm_2"])
def test_a_run_changes_from_one_prompt_to_the_other(model, sampler):
    """Five steps of a schedule on which the noise level alone would bring the face in one step early; dpm_2 looks at
    levels between the steps as well."""
    [[plain, options]], [[merged, _]] = conditioning("sd15", seed=1), conditioning("sd15", seed=2)
    positive = id_prompt._during([[plain, options]], 0.0, 0.4, 0.4) + id_prompt._during(
        [[merged, options]], 0.4, 1.0, 0.4
    )
    seen = []

    def watched(apply, given):
        contexts = given["c"]["c_crossattn"].chunk(len(given["cond_or_uncond"]))
        [text] = [text for text, kind in zip(contexts, given["cond_or_uncond"], strict=True) if kind == 0]
        seen.append((float(given["timestep"][0]), torch.equal(text, merged)))
        return apply(given["input"], given["timestep"], **given["c"])

    runs = []
    for counts in (True, False):
        patched = model.clone()
        patched.set_model_unet_function_wrapper(watched)
        if counts:
            late.count_steps(patched)
            late.count_steps(patched)  # as a second adapter does
        seen.clear()
        sample(patched, positive, conditioning("sd15", seed=3), steps=5, sampler=sampler)
        levels = sorted({level for level, _ in seen}, reverse=True)
        runs.append([with_face for _, with_face in sorted(seen, reverse=True)])
        assert len(levels) == len(seen) == (5 if sampler == "euler" else 9)
    expected = [False] * 3 + [True] * 2 if sampler == "euler" else [False] * 6 + [True] * 3
    assert runs[0] == expected and runs[1] != expected


def test_what_another_node_wrote_over_it_stays(model):
    sampling = model.get_model_object("model_sampling")
    [sigmas, *_] = schedules(model, 10)
    for entry in (
        {"start_percent": 0.1, "end_percent": 0.4},
        {"likeness_merge_at": 0.4, "start_percent": 0.1, "end_percent": 0.4},
        {"likeness_merge_at": 0.4, "start_percent": 0.4, "end_percent": 1.0, "clip_start_percent": 0.5},
    ):
        before = dict(entry)
        late._by_steps(entry, sigmas, sampling)
        assert entry == before
