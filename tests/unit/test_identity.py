"""Identities: how photographs become one, and the file that keeps it."""

import json
import math
import struct
import subprocess
import sys

import numpy as np
import photographs
import pytest
import safetensors.torch
import torch
from full_disk import full_disk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from likeness.core.faces.identity.centralise import centralise
from likeness.core.faces.identity.identity import (
    COMBINE,
    SAME_PERSON,
    Identity,
    agreement,
    combine_identity,
    outliers,
)
from likeness.core.faces.identity.identity_file import load_identity, save_identity
from likeness.core.weights import WeightsError

SPACE = "dlib-resnet34-128"


def person(seed, count, spread=0.2, dim=128):
    """`count` embeddings around a direction of their own, of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.nn.functional.normalize(torch.randn(dim, generator=generator), dim=0)
    noise = torch.nn.functional.normalize(torch.randn(count, dim, generator=generator), dim=1)
    return (centre + spread * noise) * (0.5 + torch.rand(count, 1, generator=generator))


def made(vectors, combine="mean", space=SPACE):
    return combine_identity(space, vectors, torch.linspace(0.9, 0.99, len(vectors)), combine)


def test_mean_first_and_robust_of_a_clean_set():
    vectors = person(1, 5)
    mean, kept = made(vectors, "mean")
    torch.testing.assert_close(mean.vector, vectors.mean(0))
    assert kept.all() and mean.count == 5 and mean.dim == 128 and not mean.is_empty
    first, kept = made(vectors, "first")
    assert torch.equal(first.vector, vectors[0]) and kept.tolist() == [True, False, False, False, False]
    robust, kept = made(vectors, "robust")
    assert kept.all() and torch.equal(robust.vector, mean.vector)


def brute_force_centralised(vectors, k1=2, k2=2):
    """Neighbour feature centralisation as Yuan et al. write it, face by face, with squared Euclidean distances."""
    unit = [vector / math.sqrt(sum(x * x for x in vector)) for vector in vectors.double().numpy()]
    nearest = []
    for i, vector in enumerate(unit):
        apart = {j: sum((a - b) ** 2 for a, b in zip(vector, other, strict=True)) for j, other in enumerate(unit)}
        del apart[i]
        nearest.append(sorted(apart, key=apart.get))
    moved = []
    for i, vector in enumerate(unit):
        total = vector.copy()
        for j in nearest[i][:k1]:
            if i in nearest[j][:k2]:
                total = total + unit[j]
        moved.append(total / math.sqrt(sum(x * x for x in total)))
    return torch.tensor(np.array(moved))


@pytest.mark.parametrize(("count", "k1", "k2"), [(6, 2, 2), (9, 2, 2), (17, 2, 2), (12, 3, 2), (12, 1, 4), (7, 6, 6)])
def test_centralising_agrees_with_brute_force(count, k1, k2):
    for seed in range(5):
        vectors = torch.cat([person(seed, count // 2, 0.8), person(seed + 50, count - count // 2, 0.8)])
        moved = centralise(vectors, k1, k2)
        torch.testing.assert_close(moved.norm(dim=1), vectors.norm(dim=1))
        unit = torch.nn.functional.normalize(moved, dim=1)
        torch.testing.assert_close(unit.double(), brute_force_centralised(vectors, k1, k2), rtol=0, atol=1e-6)
        assert (unit - torch.nn.functional.normalize(vectors, dim=1)).abs().max() > 0.01  # something moved


def test_centralising_needs_six():
    vectors = person(3, 5, 0.8)
    assert centralise(vectors) is vectors and torch.equal(centralise(vectors[:0]), vectors[:0])
    few, kept = made(vectors, "centralised")
    assert torch.equal(few.vector, made(vectors, "mean")[0].vector) and few.combine == "mean" and kept.all()
    vectors = person(3, 6, 0.8)
    enough, kept = made(vectors, "centralised")
    torch.testing.assert_close(enough.vector, centralise(vectors).mean(0))
    assert enough.combine == "centralised" and kept.all() and torch.equal(enough.vectors, vectors)
    assert not torch.allclose(enough.vector, vectors.mean(0), atol=1e-3)


def test_equal_faces_centralise_to_themselves():
    vectors = person(1, 1).expand(8, -1)
    torch.testing.assert_close(centralise(vectors), vectors)


def test_better_faces_count_more():
    vectors, quality = person(1, 3), torch.tensor([0.9, 0.3, 0.0])
    identity, kept = combine_identity(SPACE, vectors, torch.ones(3), "quality", quality)
    expected = (0.9 * vectors[0] + 0.3 * vectors[1] + 0.01 * vectors[2]) / 1.21
    torch.testing.assert_close(identity.vector, expected)
    assert kept.all() and identity.combine == "quality" and torch.equal(identity.quality, quality)
    hopeless, _ = combine_identity(SPACE, vectors, torch.ones(3), "quality", torch.zeros(3))
    torch.testing.assert_close(hopeless.vector, vectors.mean(0))
    unmeasured, _ = made(vectors, "quality")
    assert torch.equal(unmeasured.vector, made(vectors, "mean")[0].vector) and unmeasured.combine == "mean"


@pytest.mark.parametrize("combine", ["mean", "robust", "first"])
def test_quality_changes_no_other_way_to_combine(combine):
    vectors = torch.cat([person(1, 4), person(9, 1)])
    with_quality, _ = combine_identity(SPACE, vectors, torch.ones(5), combine, torch.rand(5))
    assert torch.equal(with_quality.vector, made(vectors, combine)[0].vector) and with_quality.combine == combine


@pytest.mark.parametrize("combine", COMBINE)
def test_one_photograph_and_none(combine):
    one, kept = made(person(1, 1), combine)
    assert torch.equal(one.vector, one.vectors[0]) and kept.tolist() == [True]
    none, kept = made(torch.zeros(0, 128), combine)
    assert none.is_empty and none.dim == 128 and torch.equal(none.vector, torch.zeros(128)) and kept.shape == (0,)


@pytest.mark.parametrize(("own", "strangers"), [(2, 1), (3, 1), (4, 1), (5, 2), (7, 3)])
def test_robust_leaves_strangers_out_wherever_they_stand(own, strangers):
    for seed in range(20):
        vectors = torch.cat([person(seed, own), *(person(100 * seed + n + 7, 1) for n in range(strangers))])
        order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(seed))
        identity, kept = made(vectors[order], "robust")
        assert torch.equal(kept, order < own)
        torch.testing.assert_close(identity.vector, vectors[:own].mean(0))


def test_two_photographs_have_no_majority():
    vectors = torch.cat([person(1, 1), person(2, 1)])
    assert made(vectors, "robust")[1].all()


@pytest.mark.parametrize("space", [SPACE, "an encoder unknown here"])
def test_the_same_photograph_again_and_again_is_nobody_else(space):
    assert made(person(1, 1).expand(6, -1), "robust", space)[1].all()


def test_shots_of_one_moment_do_not_push_a_third_out():
    centre, other = person(1, 1)[0], person(2, 1)[0]
    near = torch.stack([centre, centre + 0.01 * other, centre + 0.2 * other])  # cosines 0.9999 and 0.98
    assert not outliers(near, SAME_PERSON[SPACE]).any()
    assert outliers(near, 0.999).tolist() == [False, False, True]


def test_agreement_is_the_mean_cosine_to_the_others():
    vectors = torch.tensor([[2.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(agreement(vectors), torch.tensor([0.5, 0.5, 0.0]))
    assert agreement(vectors[:1]).tolist() == [1.0] and agreement(vectors[:0]).shape == (0,)


def test_robust_names_the_stranger_on_photographs(labelled, vectors):
    """Three shots of each person, one altered twice, and everybody else in turn as the stranger among them."""
    own = {}
    for place, (_, _, who, _, _) in enumerate(labelled):
        own.setdefault(who, []).append(place)
    threes = {who: places[:3] for who, places in own.items() if len(places) >= 3}
    assert len(threes) >= 20
    named = wrong = tried = 0
    for who, places in threes.items():
        wrong += not made(vectors[places], "robust")[1].all()
        for stranger in (place for other, others in own.items() if other != who for place in others):
            kept = made(vectors[[*places, stranger]], "robust")[1]
            named, tried = named + bool(not kept[3]), tried + 1
            wrong += not kept[:3].all()
    print(f"\n{named} of {tried} strangers named, {wrong} photographs left out by mistake")
    assert wrong == 0 and named >= 0.99 * tried


@pytest.fixture
def identity():
    return made(person(3, 3), "robust")[0]


def same(one, other):
    tensors = all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("vector", "vectors", "scores"))
    return tensors and (one.space, one.combine) == (other.space, other.combine)


def test_a_saved_identity_comes_back_exactly(identity, tmp_path):
    save_identity(identity, tmp_path / "a.safetensors")
    assert same(load_identity(tmp_path / "a.safetensors"), identity)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_quality_is_kept_and_files_without_it_load(tmp_path):
    path, quality = tmp_path / "a.safetensors", torch.tensor([0.91, 0.25, 0.5])
    identity, _ = combine_identity(SPACE, person(3, 3), torch.ones(3), "quality", quality)
    save_identity(identity, path)
    loaded = load_identity(path)
    assert same(loaded, identity) and torch.equal(loaded.quality, quality)
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata()["quality"] == "0.910, 0.250, 0.500" and file.metadata()["combine"] == "quality"
    safetensors.torch.save_file(TENSORS, path, METADATA)
    assert load_identity(path).quality is None


def test_a_file_that_is_there_or_about_to_be_is_left_alone(identity, tmp_path):
    path, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors.unfinished"
    save_identity(identity, path)
    before = path.read_bytes()
    other.write_bytes(b"another process is at it")
    for taken in (path, tmp_path / "b.safetensors"):
        with pytest.raises(FileExistsError):
            save_identity(made(person(4, 2))[0], taken)
    assert path.read_bytes() == before and other.read_bytes() == b"another process is at it"
    assert set(tmp_path.iterdir()) == {path, other}


def test_the_same_identity_is_the_same_bytes(identity, tmp_path):
    for number in range(8):  # safetensors by itself orders the metadata by chance
        save_identity(identity, tmp_path / str(number))
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_the_file_holds_numbers_and_their_description_and_nothing_else(identity, tmp_path):
    path = tmp_path / "a.safetensors"
    save_identity(identity, path)
    with safetensors.safe_open(path, "pt") as file:
        assert set(file.keys()) == {"vector", "vectors", "scores"}
        assert {key: value for key, value in file.metadata().items() if key != "scores"} == {
            "format": "likeness.identity.1", "encoder": SPACE, "dim": "128", "count": "3", "combine": "robust",
        }  # fmt: skip
    (header,) = struct.unpack("<Q", path.read_bytes()[:8])
    assert path.stat().st_size == 8 + header + 4 * (128 + 3 * 128 + 3)


def test_a_write_that_fails_leaves_no_file(identity, tmp_path):
    with full_disk(1000), pytest.raises(OSError, match="File too large"):
        save_identity(identity, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []
    save_identity(identity, tmp_path / "a.safetensors")
    assert same(load_identity(tmp_path / "a.safetensors"), identity)


def test_a_loaded_identity_outlives_its_file(identity, tmp_path):
    """In a process of its own: tensors still mapped from a file that somebody empties would end it with a bus error."""
    path = tmp_path / "a.safetensors"
    save_identity(identity, path)
    script = f"""
import sys
sys.path.insert(0, {str(photographs.ROOT / "tests")!r})
import alone, pathlib
from likeness.core.faces.identity.identity_file import load_identity
path = pathlib.Path({str(path)!r})
identity = load_identity(path)
path.write_bytes(b"")
print(float(identity.vector.sum() + identity.vectors.sum() + identity.scores.sum()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr)
    expected = float(identity.vector.sum() + identity.vectors.sum() + identity.scores.sum())
    assert float(done.stdout) == pytest.approx(expected)


METADATA = {"format": "likeness.identity.1", "encoder": SPACE, "dim": "4", "count": "2", "combine": "mean"}
TENSORS = {"vector": torch.ones(4), "vectors": torch.ones(2, 4), "scores": torch.ones(2)}


def complaint(path):
    with pytest.raises(WeightsError) as caught:
        load_identity(path)
    text = str(caught.value)
    assert text.startswith(path.name) and text.endswith(".") and ("choose" in text or "again" in text), text
    return text


@pytest.mark.parametrize(
    "change",
    [
        {"vector": None},
        {"vectors": None},
        {"scores": None},
        {"vector": torch.ones(5)},
        {"vector": torch.ones(1, 4)},
        {"vector": torch.tensor(1.0)},
        {"vectors": torch.ones(8)},
        {"vectors": torch.ones(3, 4)},
        {"scores": torch.tensor(1.0)},
        {"scores": torch.ones(2, 1)},
        {"vector": torch.ones(4, dtype=torch.float64)},
        {"vector": torch.ones(4, dtype=torch.int32)},
        {"vector": torch.tensor([1, 2, float("nan"), 4])},
        {"vectors": torch.tensor([[1, 2, float("inf"), 4]] * 2)},
        {"scores": torch.tensor([1, float("nan")])},
        {"quality": torch.ones(3)},
        {"quality": torch.tensor([1, float("inf")])},
        {"vectors": torch.ones(0, 4), "scores": torch.ones(0)},
        {"vector": torch.ones(0), "vectors": torch.ones(2, 0)},
        {"encoder": ""},
        {"encoder": None},
        {"combine": "median"},
    ],
    ids=lambda change: ", ".join(f"{key} {list(getattr(value, 'shape', [value]))}" for key, value in change.items()),
)
def test_identities_that_do_not_hold_together(tmp_path, change):
    tensors = {key: change.get(key, TENSORS.get(key)) for key in (*TENSORS, "quality")}
    metadata = {key: change.get(key, word) for key, word in METADATA.items()}
    present = {key: tensor for key, tensor in tensors.items() if tensor is not None}
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file(present, path, {key: word for key, word in metadata.items() if word is not None})
    assert "is damaged: its vectors and its description don't fit together" in complaint(path)


def test_files_that_are_no_identity_are_named(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"x.lora_down.weight": torch.ones(2)}, path)
    assert "is a LoRA, not an identity saved by SaveIdentity" in complaint(path)
    safetensors.torch.save_file(TENSORS, path, {**METADATA, "format": "likeness.identity.9"})
    assert "not an identity saved by SaveIdentity" in complaint(path)
    torch.save(TENSORS, path)
    assert "not an identity saved by SaveIdentity" in complaint(path)
    path.write_text(json.dumps({"vector": [1, 2]}))
    assert "is neither a safetensors file" in complaint(path)


@settings(max_examples=200, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
@given(data=st.data())
def test_a_damaged_identity_loads_whole_or_not_at_all(tmp_path, data):
    path = tmp_path / "a.safetensors"
    content = bytearray(safetensors.torch.save(TENSORS, METADATA))
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(content))
    try:
        loaded = load_identity(path)
    except WeightsError as error:
        assert str(error).startswith("a.safetensors")
    else:
        assert isinstance(loaded, Identity) and loaded.vector.isfinite().all() and loaded.vectors.shape == (2, 4)
