"""Which face is whose, from cosines alone."""

import itertools

import numpy as np
import pytest
from likeness.core.faces.identity.assign import by_position, by_similarity


def brute_force(cosines, least):
    """The greatest sum of cosines over `least` that any one-to-one assignment has."""
    people, faces = len(cosines), len(cosines[0])
    places = [*range(faces), *[None] * people]
    return max(
        sum(max(cosines[person][face] - least, 0) for person, face in enumerate(chosen) if face is not None)
        for chosen in set(itertools.permutations(places, people))
    )


def test_everybody_has_the_best_face_together():
    # each is most like face 0; together 0 and 1 are best the other way round
    assert by_similarity([[0.97, 0.90], [0.98, 0.95]], -1.0) == [0, 1]
    assert by_similarity([[0.97, 0.96], [0.98, 0.90]], -1.0) == [1, 0]


def test_nobody_under_the_least():
    assert by_similarity([[0.97, 0.90], [0.98, 0.85]], 0.94) == [None, 0]
    assert by_similarity([[0.5]], 0.5) == [0]
    assert by_similarity([[0.4]], 0.5) == [None]
    # one sure face is worth more than two that just pass
    assert by_similarity([[0.99, 0.941], [0.941, 0.5]], 0.94) == [0, None]


def test_more_people_than_faces_and_none_at_all():
    assert by_similarity([[0.9], [0.95], [0.8]], 0.0) == [None, 0, None]
    assert by_similarity([[0.9, 0.8, 0.95]], 0.0) == [2]
    assert by_similarity([[], []], 0.0) == [None, None] and by_similarity([], 0.0) == []


@pytest.mark.parametrize(("people", "faces"), [(1, 3), (2, 2), (3, 3), (4, 2), (3, 5)])
def test_the_sum_is_the_greatest(people, faces):
    generator = np.random.default_rng(people * 10 + faces)
    for least in (-1.0, 0.2, 0.7):
        for _ in range(20):
            cosines = generator.uniform(-0.2, 1, (people, faces)).tolist()
            chosen = by_similarity(cosines, least)
            taken = [face for face in chosen if face is not None]
            assert len(set(taken)) == len(taken)
            values = [cosines[person][face] - least for person, face in enumerate(chosen) if face is not None]
            assert all(value >= 0 for value in values)
            assert sum(values) == pytest.approx(brute_force(cosines, least))


def test_by_position():
    assert by_position(0) == [None] * 4 and by_position(2) == [0, 1, None, None] and by_position(7) == [0, 1, 2, 3]
