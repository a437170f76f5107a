"""The soak test's verdict on memory, on numbers made by hand."""

from soak import Held, grown


def freed(prompts=500, **more):
    """Looks after every 50 prompts that vary as those of a server do, with `more` of something for each prompt."""
    held = {"tensors": 30, "objects": 555_000, "blocks": 2_140_000, "resident": 2**30, "allocated": 2**28, "history": 0}
    looks = []
    for number in range(50, prompts + 1, 50):
        wobble = {"objects": 40 * (number % 3 - 1), "blocks": 150 * (number % 3 - 1), "allocated": 600 * number}
        values = {kind: value + wobble.get(kind, 0) + number * more.get(kind, 0) for kind, value in held.items()}
        looks.append((number, Held(**values)))
    return looks


def test_a_server_that_keeps_nothing():
    assert grown(freed()) == []
    assert grown(freed(resident=50_000)) == []  # the allocators' business


def test_one_thing_kept_of_each_prompt_is_a_leak():
    for kind, more in {"tensors": 0.1, "objects": 1, "blocks": 50, "allocated": 4096}.items():
        [said] = grown(freed(**{kind: more}))
        assert f" {kind} per 100 prompts" in said


def test_short_runs_say_nothing():
    assert grown(freed(250, objects=100)) == []
