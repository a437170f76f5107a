"""The ruler's arithmetic and its task: figures against their definitions, and prompts that contradict the reference."""

import csv
import itertools
from dataclasses import replace

import cv2
import numpy as np
import pytest
from facelets.world import LOOKS, TRAITS, caption
from likeness.core.cure import find_attributes
from pairs import area_under_curve, logistic
from ruler import trade_off
from ruler.conditions import CURED, ILL, KNOWN
from ruler.figures import (
    Score,
    attribute_shares,
    by_condition,
    markdown,
    mean_and_error,
    overview,
    pairwise_difference,
    write_csv,
)
from ruler.task import PHRASES, case, contradiction, person, words

SCORE = Score(
    condition="base", person=0, prompt=0, phrases=None, seed=0, text="a portrait, red hair, no hat",
    asked={"hair_color": "red", "hat": "none", "glasses": "glasses"}, reference={"hair_color": "blue", "hat": "beanie"},
    read={"hair_color": "blue", "hat": "none", "glasses": "glasses", "eye_color": "brown"}, traits=0.5, found=True,
    right=0.75, wrong=(0.25, 0.5), landmarks=3.0, judged_landmarks=4.0, apart=12.0, seconds=0.5,
)  # fmt: skip


# Figures


def test_area_under_curve_is_the_chance_to_rank_right():
    rng = np.random.default_rng(0)
    right, wrong = rng.integers(0, 12, 40) / 10, rng.integers(0, 10, 70) / 10  # with ties
    pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(right, wrong)]
    assert area_under_curve(right.tolist(), wrong.tolist()) == pytest.approx(np.mean(pairs))
    assert area_under_curve([2, 3], [0, 1]) == 1 and area_under_curve([0], [1, 2]) == 0
    assert area_under_curve([1, 1], [1]) == 0.5


def test_logistic_finds_the_curve_that_scores_were_drawn_from():
    rng = np.random.default_rng(3)
    scores = rng.uniform(-1, 1, 200_000)
    same = rng.uniform(size=len(scores)) < 1 / (1 + np.exp(-8 * (scores - 0.1)))
    slope, middle = logistic(scores[same], scores[~same])
    more = np.log(same.sum() / (~same).sum())  # in the fit both kinds weigh the same
    assert slope == pytest.approx(8, rel=0.03) and middle == pytest.approx(0.1 + more / 8, abs=0.02)


def test_the_error_is_that_of_people_not_of_pictures():
    values = [(0, 1.0), (0, 1.0), (0, 1.0), (1, 3.0), (2, 5.0)]
    mean, error = mean_and_error(values)
    assert mean == pytest.approx(11 / 5) and error == pytest.approx(2 / 3**0.5)  # of 1, 3 and 5
    assert mean_and_error(values * 10) == (pytest.approx(mean), pytest.approx(error))
    assert np.isnan(mean_and_error([(0, 1.0), (0, 2.0)])[1])


def test_pairwise_difference():
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (4, 5, 6, 3)).astype(np.uint8)
    pairs = [np.abs(one.astype(float) - other).mean() for one, other in itertools.combinations(pictures, 2)]
    assert pairwise_difference(pictures) == pytest.approx(np.mean(pairs))
    assert pairwise_difference(pictures[:1]) is None and pairwise_difference(pictures[[0, 0]]) == 0
    assert pairwise_difference(np.array([[0], [255]], np.uint8)) == 255  # no overflow


def test_what_is_kept_and_what_leaks():
    assert SCORE.kept == pytest.approx(2 / 3) and SCORE.leaked == 0.5
    # what prompt and reference have in common can't leak
    same = replace(SCORE, reference={"hair_color": "blue", "hat": "none"})
    assert same.leaked == 1.0
    other = replace(SCORE, read={**SCORE.read, "hair_color": "red", "glasses": "none"}, asked={"hair_color": "red"})
    shares = attribute_shares([SCORE, other])
    assert list(shares) == ["hair_color", "hat", "glasses"]
    assert shares["hair_color"] == (0.5, 0.5) and shares["hat"] == (1.0, 0.0)
    assert shares["glasses"][0] == 1.0 and np.isnan(shares["glasses"][1])  # the reference says nothing of them


def test_a_picture_without_a_face_counts_as_not_found_only():
    lost = replace(SCORE, person=1, found=False, right=None, wrong=(), landmarks=None)
    figures = overview([SCORE, lost])
    assert figures["pictures"] == "2" and figures["face found"] == "0.500 ± 0.500"
    assert figures["cosine, right"] == "0.750" and figures["cosine, wrong"] == "0.375" and figures["AUC"] == "1.000"
    assert figures["landmarks off, px"] == "3.00" and figures["prompt kept"] == "0.667 ± 0.000"
    nobody = overview([lost])
    assert {nobody[name] for name in ("cosine, right", "cosine, wrong", "AUC", "landmarks off, px")} == {"–"}


def test_tables():
    adapted = replace(SCORE, condition="adapter", right=0.2, apart=None)
    assert list(by_condition([adapted, SCORE, adapted])) == ["adapter", "base"]
    lines = markdown([SCORE, adapted]).splitlines()
    blank = lines.index("")
    overall, attributes = lines[:blank], lines[blank + 1 :]
    assert [line.split(" | ")[0] for line in overall] == ["| condition", "| ---", "| base", "| adapter"]
    assert len({line.count("|") for line in overall}) == 1 and len({line.count("|") for line in attributes}) == 1
    cells = dict(zip(overall[0].split(" | "), overall[3].split(" | "), strict=True))
    assert cells["cosine, right"] == "0.200" and cells["AUC"] == "0.000" and cells["seeds apart"] == "–"
    assert attributes[0] == "| prompt kept (reference leaked) | base | adapter |"
    assert attributes[2:] == [
        "| hair_color | 0.00 (1.00) | 0.00 (1.00) |",
        "| hat | 1.00 (0.00) | 1.00 (0.00) |",
        "| glasses | 1.00 (–) | 1.00 (–) |",
    ]


def test_the_csv_has_a_row_per_picture(tmp_path):
    write_csv([SCORE, replace(SCORE, seed=1, right=None, wrong=())], tmp_path / "scores.csv")
    with open(tmp_path / "scores.csv", newline="") as file:
        first, second = csv.DictReader(file)
    assert first["right"] == "0.7500" and first["wrong"] == "0.3750" and second["right"] == second["wrong"] == ""
    assert (first["seed"], second["seed"]) == ("0", "1") and first["text"] == SCORE.text
    asked = {name: first[f"{name} asked"] for name in SCORE.read}
    assert asked == {**SCORE.asked, "eye_color": ""}
    assert first["hat reference"] == "beanie" and first["eye_color read"] == "brown"


# The task


def test_prompts_contradict_the_reference_in_everything():
    for number in range(6):
        whom = person(number)
        for prompt in range(4):
            asked = case(whom, number, prompt)
            assert asked.asked and not set(asked.asked) & {"parting", "clothes"}
            assert all(asked.asked[name] != value for name, value in asked.reference.items())
            assert set(asked.reference) <= set(asked.asked) and set(asked.reference) <= set(words(whom.look))
            missing = set(LOOKS) - set(asked.asked)
            assert missing <= {"hair_color", "hair_curl", "hat_color", "eye_color", "style"}
            for name in ("hair_color", "background", "eye_color"):
                assert asked.asked.get(name, "") in asked.text
            assert ("no hat" in asked.text or "without a hat" in asked.text) == (asked.asked["hat"] == "none")
            assert not np.array_equal(asked.drawing.image, whom.reference.image)
            assert np.array_equal(case(whom, number, prompt).drawing.image, asked.drawing.image)
    assert case(person(1), 1, 0).text != case(person(1), 1, 1).text != case(person(2), 2, 1).text


@pytest.mark.parametrize("phrases", [1, 2, 3])
def test_prompts_of_few_phrases_contradict_the_reference_in_these_alone(phrases):
    for number in range(12):
        whom = person(number)
        for prompt in range(3):
            asked = case(whom, number, prompt, phrases)
            named = [phrase for phrase in PHRASES if set(phrase) & set(asked.asked)]
            assert len(named) == phrases and set(sum(named, ())) >= set(asked.asked)
            assert not set(asked.asked.values()) & {"none", "bald", "neutral"}  # something to be seen
            assert all(asked.asked[name] != value for name, value in asked.reference.items())
            found = find_attributes(asked.text)
            assert len(found) == phrases and not any(one.absent for one in found)
    one, other = (case(person(1), 1, 0, count) for count in (phrases, phrases % 3 + 1))
    assert one.text != other.text and one.seed != other.seed
    assert np.array_equal(case(person(1), 1, 0, phrases).drawing.image, one.drawing.image)


def test_a_style_counts_only_if_the_prompt_names_it():
    plain = [case(person(number), number, prompt) for number in range(8) for prompt in range(6)]
    named = [asked for asked in plain if asked.asked.get("style") == "flat"]
    assert named and all("flat" in asked.text or "simple" in asked.text for asked in named)
    assert len([asked for asked in plain if "style" not in asked.asked]) > 0


def test_people_and_seeds_are_different():
    people = [person(number) for number in range(5)]
    assert len({whom.identity for whom in people}) == 5 and len(people[0].identity.vector) == len(TRAITS)
    assert person(3).identity == people[3].identity
    seeds = [case(people[number], number, prompt).seed for number in range(3) for prompt in range(3)]
    assert len(set(seeds)) == 9


def test_contradictions_keep_the_odds_of_looks():
    rng = np.random.default_rng(0)
    look = person(0).look
    others = [contradiction(replace(look, hair_length="long"), rng) for _ in range(300)]
    bald = np.mean([other.hair_length == "bald" for other in others])
    assert 0.04 < bald < 0.18  # 0.07 of 0.69
    assert caption(others[0], rng)


# What a cure gives and takes


def scored(condition, person, right, kept, phrases=1):
    """A picture with this cosine and this share of its four words."""
    asked = {name: "asked" for name in ("hair_color", "hat", "glasses", "earrings")}
    read = {name: "asked" if number < 4 * kept else "other" for number, name in enumerate(asked)}
    return replace(
        SCORE, condition=condition, person=person, right=right, asked=asked, read=read, reference={}, phrases=phrases
    )


def test_what_a_cure_gives_back_and_what_it_takes():
    base = [scored("base", person, 0.0, 1.0) for person in range(2)]
    ill = [scored("ill", 0, 0.8, 0.5), scored("ill", 1, 0.4, 0.5)]
    cured = [scored("cured", 0, 0.7, 0.75), scored("cured", 1, 0.38, 1.0)]
    trade = trade_off.trade_off(cured, ill, base)
    assert trade.kept == pytest.approx(0.875) and trade.given_back == pytest.approx(75)
    assert trade.likeness == pytest.approx(0.54) and trade.lost == pytest.approx(10)
    assert trade.error == pytest.approx(100 * 0.04 / 0.6)  # of 0.1 and 0.02
    assert trade_off.trade_off(ill, ill, base)[1:] == (0.0, pytest.approx(0.6), 0.0, 0.0)
    lost_face = [scored("cured", 0, None, 1.0), cured[1]]
    assert trade_off.trade_off(lost_face, ill, base).likeness == pytest.approx(0.19)
    assert np.isnan(trade_off.trade_off(ill, ill, ill).given_back)


def test_tables_and_plot_of_the_trade(tmp_path):
    conditions = {"base": (0.0, 1.0), "ill-0.8+control": (0.6, 0.5), "cure-1.0": (0.57, 0.75)}
    scores = [
        scored(name, person, right, kept, phrases)
        for name, (right, kept) in conditions.items()
        for person in range(2)
        for phrases in (1, 2)
    ]
    text = trade_off.markdown(scores, "ill-0.8+control", "base")
    assert "| cure-1.0 | 0.750 | 50 % | 0.570 | 5.0 ± 0.0 % | 0.500 |" in text
    assert "| cure-1.0 | 0.75 (50 %, 5.0 %) | 0.75 (50 %, 5.0 %) |" in text
    assert "| cure-1.0 | 1.00 | 1.00 | 1.00 | 0.00 |" in text
    trade_off.plot(scores, {"strength": ["ill-0.8+control", "cure-1.0"]}, ["base"], tmp_path / "plot.png")
    picture = cv2.imread(str(tmp_path / "plot.png"))
    assert min(picture.shape[:2]) > 400 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_conditions_of_the_cure_are_known():
    assert set(CURED) <= set(KNOWN) and ILL in CURED
