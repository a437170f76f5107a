"""Scores, the gate and its report."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from likeness.core.faces.identity.identity import combine_identity
from likeness.core.similarity import best_of, cosines, judge, percent, report

SPACE = "dlib-resnet34-128"
COUNTS, SCORES = (1, 0, 2, 1), [0.95, 0.2, 0.97, 0.5]


def identity(vectors, space=SPACE):
    return combine_identity(space, vectors, torch.ones(len(vectors)), "mean")[0]


def test_cosines_against_the_definition():
    generator = torch.Generator().manual_seed(0)
    own, others = torch.randn(3, 128, generator=generator), torch.randn(5, 128, generator=generator)
    mean = own.mean(0)
    expected = torch.stack([other @ mean / other.norm() / mean.norm() for other in others])
    torch.testing.assert_close(cosines(identity(own), SPACE, others), expected)
    assert cosines(identity(own), SPACE, others[:0]).shape == (0,)
    torch.testing.assert_close(cosines(identity(own), SPACE, torch.stack([3 * mean, -mean])), torch.tensor([1.0, -1.0]))


def test_vectors_of_two_spaces_are_not_compared():
    with pytest.raises(ValueError) as caught:
        cosines(identity(torch.ones(1, 128), "antelopev2-glintr100"), SPACE, torch.ones(1, 128))
    text = str(caught.value)
    assert "antelopev2-glintr100" in text and SPACE in text and "use the same encoder for both" in text


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=2))
def test_percent_never_falls_as_the_cosine_rises(pair):
    low, high = sorted(pair)
    assert 0 <= percent(low, SPACE) <= percent(high, SPACE) <= 100


def test_percent_tells_people_apart():
    assert percent(0.94, SPACE) == 50 and percent(0.98, SPACE) > 95 and percent(0.90, SPACE) < 5
    steps = [percent(0.9 + 0.005 * step, SPACE) for step in range(17)]
    assert steps == sorted(set(steps))  # it rises with every step where it matters
    assert percent(0.9, "an encoder that has not been calibrated") is None


@pytest.mark.parametrize(
    ("policy", "outcomes"),
    [
        ("error", ["accepted", "skipped", "accepted", "rejected"]),
        ("skip", ["accepted", "skipped", "accepted", "rejected"]),
        ("passthrough", ["accepted", "accepted", "accepted", "rejected"]),
    ],
)
def test_each_image_is_judged_by_its_most_alike_face(policy, outcomes):
    verdicts = judge(SCORES, COUNTS, 0.9, policy)
    assert [verdict.outcome for verdict in verdicts] == outcomes
    assert [verdict.score for verdict in verdicts] == [0.95, None, 0.97, 0.5]
    assert [(verdict.index, verdict.faces) for verdict in verdicts] == list(enumerate(COUNTS))
    assert best_of(verdicts) == 2


def test_the_threshold_itself_is_accepted():
    assert [v.outcome for v in judge([0.9, 0.8999], (1, 1), 0.9, "error")] == ["accepted", "rejected"]


@pytest.mark.parametrize("policy", ["error", "skip", "passthrough"])
def test_nothing_to_judge(policy):
    assert judge([], (), 0.5, policy) == [] and best_of([]) is None
    faceless = judge([], (0, 0), 0.5, policy)
    assert best_of(faceless) is None
    assert {verdict.outcome for verdict in faceless} == {"accepted" if policy == "passthrough" else "skipped"}
    summary = json.loads(report(faceless, SPACE, 0.5))
    assert summary["best"] is None and summary["accepted"] + summary["skipped"] == 2 and summary["rejected"] == 0
    assert json.loads(report([], SPACE, 0.5))["images"] == []


def test_the_report_says_everything():
    summary = json.loads(report(judge(SCORES, COUNTS, 0.9, "skip"), SPACE, 0.9))
    assert summary == {
        "encoder": SPACE,
        "score": "cosine, -1 to 1",
        "threshold": 0.9,
        "accepted": 2,
        "rejected": 1,
        "skipped": 1,
        "best": 2,
        "images": [
            {"image": 0, "faces": 1, "score": 0.95, "percent": percent(0.95, SPACE), "outcome": "accepted"},
            {"image": 1, "faces": 0, "score": None, "percent": None, "outcome": "skipped"},
            {"image": 2, "faces": 2, "score": 0.97, "percent": percent(0.97, SPACE), "outcome": "accepted"},
            {"image": 3, "faces": 1, "score": 0.5, "percent": percent(0.5, SPACE), "outcome": "rejected"},
        ],
    }
    assert json.loads(report(judge([0.5], (1,), 0, "skip"), "another", 0))["images"][0]["percent"] is None
