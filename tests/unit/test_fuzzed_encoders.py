"""Damaged and hostile encoder files end in a working encoder or in one sentence; see also `make fuzz-encoders`."""

import random

import pytest
from damaged import bombs, in_bytes, in_states, trial, whole
from damaged.cases import case

GREEDY = "asks for more memory or time than any face model; fetch it again."
TORN = "is no whole ONNX model"
MISFIT = "is damaged: its tensors don't fit together; fetch it again."
BROKEN = "is damaged or cut off"
# What becomes of a bomb, by name and the seed of its variant.
BOMBS = [
    ("deep messages", 0, TORN), ("tiny fields", 0, TORN), ("tiny fields", 1, TORN), ("tiny fields", 3, TORN),
    ("huge lengths", 0, TORN), ("huge lengths", 5, TORN), ("claimed dims", 0, TORN), ("claimed dims", 1, TORN),
    ("packed dims", 0, TORN), ("long lists", 1, TORN), ("many ends", 0, TORN), ("many ends", 1, TORN),
    ("long names", 1, r"is damaged: nothing makes 'n\n\t\x00n"), ("long names", 0, "not known here (Resize"),
    ("constant of shape", 0, "has more nodes than any face model"), ("constant of shape", 1, GREEDY),
    ("size from size", 0, GREEDY), ("expand", 0, GREEDY), ("ranges", 1, GREEDY), ("ranges", 2, GREEDY),
    ("outer sum", 0, GREEDY), ("doubling", 1, GREEDY), ("shared weight", 0, GREEDY), ("shared weight", 2, GREEDY),
    ("many constants", 0, GREEDY), ("heavy work", 0, GREEDY), ("heavy work", 1, GREEDY), ("heavy work", 4, GREEDY),
    ("many nodes", 0, "has more nodes than any face model, so it was not read; fetch it again."),
    ("cycle", 1, "is damaged: its nodes go round in circles; fetch it again."),
    ("cyclic detector", 0, "is damaged: its nodes go round in circles; fetch it again."),
    ("absurd window", 2, MISFIT), ("absurd shape", 5, MISFIT), ("picture as index", 1, GREEDY),
    ("picture as index", 5, MISFIT),
    ("large picture", 2, "takes pictures of 100,000 x 100,000 pixels, as no face model does; fetch it again."),
    ("subgraphs", 0, "uses operations that are not known here: 'Loop'; export"),
    ("long names", 2, r"uses operations that are not known here: 'n\n\t\x00n"),
]  # fmt: skip


@pytest.fixture
def outcome(tried_file):
    """What becomes of a file, from its name, bytes and role."""
    return tried_file(trial.tried)


def refused(found, sentence):
    assert found.result == trial.REFUSED, found
    assert sentence in found.text, found.text


@pytest.mark.parametrize("number", range(24))
def test_a_damaged_file_works_or_is_refused_in_one_sentence(outcome, number):
    # of another seed than the thousands; state dicts are large, so the fewest of them
    chosen = case(number, seed=77)
    found = outcome(chosen.name, chosen.make(), chosen.role)
    assert found.result in (trial.LOADED, trial.REFUSED), found.text


@pytest.mark.parametrize("kind", whole.GRAPHS)
def test_the_intact_files_work(outcome, kind):
    role = whole.GRAPHS[kind][2]
    assert outcome("intact.onnx", whole.graph(kind), role).result == trial.LOADED


@pytest.mark.parametrize(("name", "seed", "sentence"), BOMBS)
def test_a_bomb_is_refused(outcome, name, seed, sentence):
    role = whole.DETECTOR if name == "cyclic detector" else whole.RECOGNISER
    refused(outcome(f"{name}.onnx", bombs.BOMBS[name](random.Random(seed)), role), sentence)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("damage", in_states.DAMAGE)
def test_a_hostile_state_dict_is_refused(outcome, damage, seed):
    data = in_states.DAMAGE[damage](whole.state("small"), random.Random(seed))
    sentences = (BROKEN, "holds program code", "is cut off inside its header", "describes more tensors than any model",
                 "is neither a safetensors file nor", "looks like", "is a file that nothing here recognises",
                 "holds no tensors", "go round in circles", "not a dictionary of weights")  # fmt: skip
    found = outcome("hostile.pt", data, whole.WEIGHTS)
    assert found.result == trial.REFUSED and any(sentence in found.text for sentence in sentences), found


@pytest.mark.parametrize("data", in_bytes.STRANGERS, ids=range(len(in_bytes.STRANGERS)))
@pytest.mark.parametrize("role", [whole.RECOGNISER, whole.WEIGHTS])
def test_what_is_no_weights_is_refused(outcome, data, role):
    assert outcome("stranger.onnx", data, role).result == trial.REFUSED
