"""The ruler's figures, its task and its conditions: against their definitions, and prompts that contradict the
reference."""

import csv
import itertools
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from facelets.world import LOOKS, TRAITS, caption
from likeness.core.cure import find_attributes
from likeness.core.weights import WeightsError
from pairs import area_under_curve, logistic
from ruler import conditions
from ruler.figures import (
    attribute_shares,
    by_condition,
    markdown,
    mean_and_error,
    overview,
    pairwise_difference,
    write_csv,
)
from ruler.measure import Found, Instruments
from ruler.stack import Stack, Stopped, plainly
from ruler.task import PHRASES, TUNING, UNSEEN, case, contradiction, people, person, words
from ruler.work import identity_of
from ruler_scores import SCORE

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
    assert attributes[0] == "| prompt kept (reference leaked) | hair_color | hat | glasses |"
    other = replace(SCORE, condition="other", asked={"hat": "beanie"}, reference={"hat": "none"})
    assert attributes[2:] == [f"| {name} | 0.00 (1.00) | 1.00 (0.00) | 1.00 (–) |" for name in ("base", "adapter")]
    assert markdown([SCORE, other]).splitlines()[-1] == "| other | – (–) | 0.00 (1.00) | – (–) |"


def test_the_csv_has_a_row_per_picture(tmp_path):
    write_csv([SCORE, replace(SCORE, seed=1, right=None, wrong=())], tmp_path / "scores.csv", ("mole",))
    with open(tmp_path / "scores.csv", newline="") as file:
        first, second = csv.DictReader(file)
    assert first["right"] == "0.7500" and first["wrong"] == "0.3750" and second["right"] == second["wrong"] == ""
    assert (first["seed"], second["seed"]) == ("0", "1") and first["text"] == SCORE.text
    asked = {name: first[f"{name} asked"] for name in SCORE.read}
    assert asked == {**SCORE.asked, "eye_color": ""}
    assert first["hat reference"] == "beanie" and first["eye_color read"] == "brown"
    assert first["mole read"] == "0.2500" and first["mole true"] == "0.5000" and "blush read" not in first


def test_a_picture_is_compared_with_all_references_but_its_own_by_their_numbers():
    instruments = Instruments(None, {number: person(number) for number in (1005, 1007, 1008)})
    instruments._references = dict(zip((1005, 1007, 1008), torch.eye(3), strict=True))
    face = Found(np.zeros((5, 2)), torch.tensor([0.25, 0.5, 0.75]))
    assert instruments.cosines(1007, face) == (0.5, (0.25, 0.75))
    assert instruments.cosines(1007, None) == (None, ())


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
    some = [person(number) for number in range(5)]
    assert len({whom.identity for whom in some}) == 5 and len(some[0].identity.vector) == len(TRAITS)
    assert person(3).identity == some[3].identity
    seeds = [case(some[number], number, prompt).seed for number in range(3) for prompt in range(3)]
    assert len(set(seeds)) == 9


def test_who_was_chosen_on_is_not_measured_unless_asked_for():
    assert set(range(24)) <= set(TUNING) and not set(TUNING) & set(UNSEEN)
    assert people(0, 16, tune=True) == (range(16), range(16))
    assert people(16, 8, tune=True) == (range(16, 24), range(24))  # compared with those before them too
    measured, compared = people(2, 3, tune=False)
    assert len(measured) == 3 and len(compared) == 5 and set(measured) <= set(compared) <= set(UNSEEN)
    assert measured[-1] == compared[-1]


def test_unseen_people_share_no_person_prompt_or_noise_with_the_others():
    pairs = [(number, UNSEEN[number]) for number in range(4)]
    for known, unseen in pairs:
        assert person(known).identity != person(unseen).identity
        texts = [{case(person(who), who, prompt, 3).text for prompt in range(4)} for who in (known, unseen)]
        assert not texts[0] & texts[1]
    # noise: no number of anybody on one side is one of anybody on the other, for up to 9 phrases and 100 prompts
    whom = person(0)
    last, first = (
        replace(case(whom, 0, 0), person=TUNING[-1], phrases=9, prompt=99),
        replace(case(whom, 0, 0), person=UNSEEN[0], phrases=None, prompt=0),
    )
    assert last.seed < first.seed


def test_contradictions_keep_the_odds_of_looks():
    rng = np.random.default_rng(0)
    look = person(0).look
    others = [contradiction(replace(look, hair_length="long"), rng) for _ in range(300)]
    bald = np.mean([other.hair_length == "bald" for other in others])
    assert 0.04 < bald < 0.18  # 0.07 of 0.69
    assert caption(others[0], rng)


# Conditions


def test_conditions_of_the_cure_are_known():
    curves = {**conditions.RIVALS, **conditions.CURES}
    assert set(conditions.CURED) <= set(conditions.KNOWN) and len(set(conditions.CURED)) == len(conditions.CURED)
    assert all(names[0] == conditions.ILL and set(names) <= set(conditions.CURED) for names in curves.values())
    assert conditions.CURE in conditions.STRENGTHS and conditions.ILL == f"adapter-{conditions.WEIGHT}+control"
    weights = [float(name.split("-")[1].removesuffix("+control")) for name in conditions.RIVALS["lower weight"]]
    assert weights == sorted(weights, reverse=True) and weights[0] == conditions.WEIGHT and weights[-1] == 0
    assert conditions.FAINTER in conditions.LOWERED
    assert float(conditions.FAINTER.split("-")[1].removesuffix("+control")) == pytest.approx(0.4 * conditions.WEIGHT)


def test_curves_have_what_was_measured():
    ill = conditions.ILL
    curves = {"lower weight": [ill, "half", "quarter"], "shorter range": [ill, "late"]}
    assert conditions.measured_curves(curves, (ill, "quarter", "base")) == {"lower weight": [ill, "quarter"]}
    assert conditions.measured_curves(curves, ("half", "quarter", "late")) == {}


@pytest.fixture(scope="module")
def task(pack):
    """A case of the stack that ships."""
    asked, stack = case(person(0), 0, 0, 1), Stack()
    with torch.inference_mode():
        return conditions.Task(stack, asked, identity_of(stack, person(0)))


def test_a_shorter_range_is_between_all_and_nothing(task):
    def latents(*steps):
        with torch.inference_mode():
            graph = task.stack.plain(task.case.text)
            for step in steps:
                graph = step(graph, task)
            return task.stack.sample(graph, 1, 1, 2, "euler", 3.0)

    adapter, ill = conditions.adapter, latents(*conditions.KNOWN[conditions.ILL])
    assert torch.equal(latents(adapter(conditions.WEIGHT, 0.0), conditions.control()), ill)
    nobody = latents(*conditions.KNOWN["adapter-0.0+control"])
    assert torch.equal(latents(conditions.control()), nobody)
    half = latents(*conditions.KNOWN["adapter-from-0.5+control"])
    assert not torch.equal(half, ill) and not torch.equal(half, nobody)


def test_what_stops_a_worker_can_be_read_without_the_pack():
    def work(name):
        raise WeightsError(f"{name} is damaged.")

    with pytest.raises(Stopped, match="vae is damaged.") as caught:
        plainly(work)("vae")
    again = pickle.dumps(caught.value)
    assert b"likeness" not in again and str(pickle.loads(again)) == "vae is damaged."
