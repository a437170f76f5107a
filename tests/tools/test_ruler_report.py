"""What the ruler tells of scores: figures and their errors against their definitions, a plot, contact sheets."""

import io
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from facelets.judge import WEIGHTS
from facelets.world import TRAITS
from PIL import Image
from ruler.figures import by_condition, mean_and_error
from ruler.report import trade_off, traits, verdict
from ruler.report.people import by_person, drawn_people, estimate, estimates
from ruler.report.plot import plot
from ruler.report.sheets import FONT, contact_sheet, wrapped
from ruler_scores import CURVES, SCORE, scored, traded

# Errors over people


def test_the_drawn_error_is_that_of_a_mean():
    values = np.random.default_rng(1).normal(size=40)
    mean, error = estimate(lambda drawn: values[drawn].mean(-1), 40)
    assert mean == pytest.approx(values.mean()) and error == pytest.approx(np.std(values, ddof=1) / 40**0.5, rel=0.03)
    assert estimate(lambda drawn: values[drawn].mean(-1), 40) == (mean, error)  # the same each time
    assert np.isnan(estimate(lambda drawn: values[drawn].mean(-1), 1)[1])
    # of few people too it is the error that a mean has in the other tables
    few = mean_and_error(list(enumerate(values[:3])))
    assert estimate(lambda drawn: values[drawn].mean(-1), 3) == pytest.approx(few, rel=0.03)


def test_draws_without_a_figure_do_not_count_for_its_error():
    values = np.array([1.0, 2.0, 4.0])

    def figures(drawn):
        mean = values[drawn].mean(-1)
        return np.stack([mean, np.where(mean < 1.5, np.nan, mean)], 1)

    means, (error, of_fewer) = estimates(figures, 3)
    all_means = values[drawn_people(3)].mean(-1)
    assert means.tolist() == [pytest.approx(7 / 3)] * 2 and error == pytest.approx(all_means.std(ddof=1) * 1.5**0.5)
    assert of_fewer == pytest.approx(all_means[all_means >= 1.5].std(ddof=1) * 1.5**0.5) and of_fewer < error


def test_people_stand_side_by_side():
    own = [scored("one", 7, 0.5, 0.5), scored("one", 3, None, 1.0), scored("one", 7, 0.25, 1.0, phrases=2)]
    found = by_person({"one": own, "other": [scored("other", 3, 0.1, 0.0), scored("other", 7, 0.2, 0.25)]})
    assert found.count == 2 and found.kept["one"].tolist() == [1.0, 0.75]
    assert found.likeness["one"].tolist() == [0.0, 0.375]  # without a face like nobody
    assert found.likeness["other"].tolist() == [0.1, 0.2]


# What a cure gives and takes


def test_what_a_cure_gives_back_and_what_it_takes():
    base = [scored("base", person, 0.0, 1.0) for person in range(2)]
    ill = [scored("ill", 0, 0.8, 0.5), scored("ill", 1, 0.4, 0.5)]
    cured = [scored("cured", 0, 0.7, 0.75), scored("cured", 1, 0.38, 1.0)]
    trade = trade_off.trade_off(cured, ill, base)
    assert trade.kept == pytest.approx(0.875) and trade.given_back == pytest.approx(75)
    assert trade.kept_error == pytest.approx(0.125)  # of 0.75 and 1
    assert trade.given_back_error == pytest.approx(25, rel=0.03)  # of 50, 75, 75 and 100 %, as often each
    assert trade.likeness == pytest.approx(0.54) and trade.lost == pytest.approx(10)
    assert trade.lost_error == pytest.approx(100 * 0.04 / 0.6)  # of 0.1 and 0.02
    nothing = trade_off.trade_off(ill, ill, base)
    assert (nothing.given_back, nothing.lost, nothing.lost_error) == (0.0, 0.0, 0.0)
    lost_face = [scored("cured", 0, None, 1.0), cured[1]]
    assert trade_off.trade_off(lost_face, ill, base).likeness == pytest.approx(0.19)
    assert np.isnan(trade_off.trade_off(ill, ill, ill).given_back)


def test_a_share_of_a_cost_within_its_error_is_a_dash():
    """One of four people whom the adapter costs half of the prompt: 12.5 points, within two errors of 12.5."""
    base = [scored("base", person, 0.0, 1.0) for person in range(4)]
    ill = [scored("ill", person, 0.6, 0.5 if person == 0 else 1.0) for person in range(4)]
    assert np.isnan(trade_off.trade_off(ill, ill, base).given_back)
    assert "| ill | 0.875 ± 0.125 | – | 0.600 |" in trade_off.markdown([*ill, *base], "ill", "base")


def test_the_disease():
    groups = {
        "base": [scored("base", 0, 0.0, 1.0), scored("base", 1, 0.0, 0.75)],
        "ill": [scored("ill", 0, 0.8, 0.5), scored("ill", 1, 0.4, 0.5)],
        "faint": [scored("faint", 0, 0.4, 1.0), scored("faint", 1, 0.2, 0.75)],
    }
    found = trade_off.disease(groups, "ill", "base", "faint")
    assert found.lost[0] == pytest.approx(37.5)
    assert found.lost[1] == pytest.approx(12.5, rel=0.03)  # of 25, 37.5, 37.5 and 50 points
    assert found.left[0] == pytest.approx(50) and found.left[1] == pytest.approx(0, abs=1e-9)  # of everybody half
    assert trade_off.disease({"ill": groups["ill"], "base": groups["base"]}, "ill", "base", "faint").left is None
    text = trade_off.disease_markdown(sum(groups.values(), []), "ill", "base", "faint", "at 0.4, which is 0.5 of 0.8")
    assert "| likeness left with faint (at 0.4, which is 0.5 of 0.8) |" in text
    assert text.splitlines()[2].startswith("| in all | 37.5 ± ") and text.endswith("| 50.0 ± 0.0 % |\n")


def test_prompts_by_how_many_attributes_they_name():
    three, one = scored("base", 0, 0.5, 1.0, phrases=3), scored("base", 0, 0.5, 1.0, phrases=1)
    assert trade_off.by_length([three, one, one]) == {
        "in all": [three, one, one],
        "1 named": [one, one],
        "3 named": [three],
    }
    assert trade_off.by_length([SCORE]) == {"in all": [SCORE]}  # everything is named


def test_tables_of_the_trade():
    text = trade_off.markdown(traded(persons=2), "ill-0.8+control", "base")
    row = "| cure-1.0 | 0.750 ± 0.000 | 50 ± 0 % | 0.575 | 5.0 ± 0.0 % | 0.500 |"
    assert text.count(row) == 3  # in all, of one attribute, of two
    assert [line.split(" | ")[0] for line in text.splitlines() if "given back" in line] == [
        "| in all", "| 1 named", "| 2 named",
    ]  # fmt: skip


def test_the_plot_has_the_trade_with_its_errors():
    scores = traded() + [scored("odd", number, 0.4 + 0.02 * number, 0.5) for number in range(4) for _ in range(2)]
    scores = [replace(score, phrases=1, prompt=at % 2) for at, score in enumerate(scores)]
    rivals = {"lower weight": ["ill-0.8+control", "faint-0.4+control"]}
    cures = {"by strength": ["ill-0.8+control", "cure-1.0"]}
    figure = plot(scores, rivals, cures, ["odd"], "base")
    whole, close = figure.axes
    drawn = {bars.get_label(): bars for bars in whole.containers}
    assert list(drawn) == ["lower weight", "by strength", "odd"]
    groups = by_condition(scores)
    for label, names in {**rivals, **cures, "odd": ["odd"]}.items():
        trades = [trade_off.trade_off(groups[name], groups["ill-0.8+control"], groups["base"]) for name in names]
        line, _, (across, upright) = drawn[label].lines
        assert np.allclose(line.get_xydata(), [(trade.lost, trade.kept) for trade in trades])
        widths = [segment[1, 0] - segment[0, 0] for segment in across.get_segments()]
        heights = [segment[1, 1] - segment[0, 1] for segment in upright.get_segments()]
        assert np.allclose(widths, [2 * trade.lost_error for trade in trades])
        assert np.allclose(heights, [2 * trade.kept_error for trade in trades])
    assert [axes.get_title() for axes in figure.axes] == ["everything", "close-up"]
    assert {text.get_text() for text in close.texts} >= {"0.4", "1.0", "without a cure"}
    figure.savefig(picture := io.BytesIO(), dpi=40)
    assert min(Image.open(picture).size) > 200


def test_labels_in_the_plot_do_not_lie_on_each_other_and_errors_stretch_no_panel():
    near = {f"faint-0.{number}+control": (0.59 - 0.0001 * number, 0.5) for number in range(1, 9)}
    curves = {"ill-0.8+control": (0.6, 0.5), **near, "faint-0.05+control": (0.54, 0.75), "cure-1.0": (0.57, 0.75)}
    scores = traded(curves)
    wild = [replace(score, right=score.right + (1.5, -1.5)[score.person % 2] * (score.condition == "cure-1.0"))
            for score in scores]  # fmt: skip
    rivals = {"lower weight": ["ill-0.8+control", *near, "faint-0.05+control"]}
    figure = plot(wild, rivals, {"by strength": ["ill-0.8+control", "cure-1.0"]}, [], "base")
    figure.draw_without_rendering()
    whole, close = figure.axes
    boxes = [text.get_window_extent() for text in close.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    said = {text.get_text() for text in close.texts}
    assert said >= {"without a cure", "0.1", "0.05", "1.0"} and len(said) < len(curves)
    for axes in (whole, close):
        assert axes.get_xlim()[1] - axes.get_xlim()[0] < 130 and axes.get_ylim()[1] < 1.1


# The figure that can say no


@pytest.mark.parametrize(
    "kept, likeness, wanted, expected",
    [
        ((0.5, 0.7, 0.9), (0.6, 0.5, 0.1), 0.8, 0.3),  # between two points
        ((0.5, 0.7, 0.9), (0.6, 0.5, 0.1), 0.7, 0.5),  # at one
        ((0.5, 0.7, 0.9), (0.6, 0.5, 0.1), 0.4, 0.6),  # below the curve: nothing has to be given up
        ((0.5, 0.7, 0.9), (0.6, 0.5, 0.1), 0.95, 0.1),  # never reached: the end that keeps most
        ((0.5, 0.9, 0.7), (0.6, 0.4, 0.1), 0.95, 0.4),  # which need not be the last
        ((0.5, 0.9, 0.9), (0.6, 0.2, 0.4), 0.95, 0.4),  # nor the first of its kind
        ((0.5, 0.8, 0.6, 0.9), (0.6, 0.5, 0.45, 0.2), 0.7, 0.5 + 0.1 / 3),  # crossed three times: the best place
        ((0.5, 0.7, 0.9), (0.3, 0.2, 0.6), 0.6, 0.6),  # more of both farther on
    ],
)
def test_the_best_likeness_on_a_curve(kept, likeness, wanted, expected):
    column = np.array(kept)[:, None], np.array(likeness)[:, None]
    assert verdict.best_likeness(*column, np.array([wanted])) == pytest.approx(expected)
    # draws don't mix
    other = np.array([[0.1], [0.2], [0.3], [0.4]][: len(kept)])
    both = [np.concatenate([own, other], 1) for own in column]
    found = verdict.best_likeness(*both, np.array([wanted, 0.4 if len(kept) == 4 else 0.3]))
    assert found == pytest.approx([expected, other[-1, 0]])


def random_people(rng, count=12):
    """Kept and likeness of each person, of a rival curve a, b, c and of a cure."""
    level = {"a": (0.5, 0.6), "b": (0.7, 0.5), "c": (0.9, 0.2), "cure": (0.8, 0.45)}
    kept = {name: rng.normal(pair[0], 0.1, count) for name, pair in level.items()}
    likeness = {name: rng.normal(pair[1], 0.1, count) for name, pair in level.items()}
    return verdict.ByPerson(kept, likeness)


def test_a_lead_against_a_loop_over_draws():
    found = random_people(np.random.default_rng(5))

    def points(who):
        kept, likeness = ([part[name][who].mean() for name in "abc"] for part in (found.kept, found.likeness))
        assert kept == sorted(kept)
        best = np.interp(found.kept["cure"][who].mean(), kept, likeness)
        return 100 * (found.likeness["cure"][who].mean() - best) / found.likeness["a"][who].mean()

    one = verdict.lead(found, "cure", ["a", "b", "c"], "a")
    assert one.points == pytest.approx(points(np.arange(12))) and one.reached
    assert one.error == pytest.approx(np.std([points(who) for who in drawn_people(12)], ddof=1) * (12 / 11) ** 0.5)
    assert one == verdict.lead(found, "cure", ["a", "b", "c"], "a")


def test_a_lead_says_no():
    found = random_people(np.random.default_rng(5))
    cures = {"far above": 0.3, "the curve itself": 0.0, "far below": -0.3}
    for name, more in cures.items():
        found.kept[name], found.likeness[name] = found.kept["b"], found.likeness["b"] + more
    leads = {name: verdict.lead(found, name, ["a", "b", "c"], "a") for name in cures}
    assert [one.word for one in leads.values()] == ["yes", "not shown", "no: worse"]
    assert leads["the curve itself"].points == pytest.approx(0, abs=1e-9)
    words = []
    for count in (1, 2, 7, 8):
        few = random_people(np.random.default_rng(5), count)
        few.likeness["cure"] = few.likeness["a"] + 0.3
        words.append(verdict.lead(few, "cure", ["a", "b", "c"], "a").word)
    assert words == [*["too few people"] * 3, "yes"]
    short = verdict.lead(found, "cure", ["a", "b"], "a")
    assert not short.reached and short.most == pytest.approx(found.kept["b"].mean())
    gained = (found.likeness["cure"].mean() - found.likeness["b"].mean()) / found.likeness["a"].mean()
    assert short.points == pytest.approx(100 * gained)


def test_the_table_of_leads():
    rivals = {"lower weight": ["ill-0.8+control", "faint-0.4+control"]}
    rows = verdict.markdown(traded(persons=8), ["cure-1.0"], rivals, "ill-0.8+control").splitlines()
    assert rows[2] == "|  | better than any lower weight | prompt kept | in all | 1 named | 2 named |"
    lead = 100 * 0.07 / 0.635
    assert rows[4].startswith(f"| cure-1.0 | yes | 0.750 | +{lead:.1f} ± 0.2 | +{lead:.1f} ± ")
    beyond = traded({**CURVES, "cure-1.0": (0.4, 1.0)}, 8)
    cell = verdict.markdown(beyond, ["cure-1.0"], rivals, "ill-0.8+control").splitlines()[4]
    assert "| no: worse | 1.000 | -15.7 ± " in cell and cell.count("[0.750]") == 3


def test_a_curve_that_is_one_run_is_told():
    names = ["ill-0.8+control", "from-0.5", "from-0.6"]

    def said(likeness):
        scores = traded({**CURVES, "from-0.5": (0.3, 0.75), "from-0.6": (likeness, 0.75)})
        text = verdict.markdown(scores, ["cure-1.0"], {"shorter range": names}, names[0])
        return [line for line in text.splitlines() if "the very same numbers" in line]

    assert len(said(0.3)) == 1 and "of the shorter range" in said(0.3)[0] and not said(0.29)
    people = by_person(by_condition(traded()))
    assert not verdict.all_the_same(people, ["ill-0.8+control", "faint-0.4+control"])  # one is no surprise


# Traits


def test_correlations_of_traits_are_over_pictures_and_their_errors_over_people():
    rng = np.random.default_rng(2)
    true, noise = rng.uniform(-1, 1, (9, 2)), rng.normal(0, 0.4, (9, 3, 2))
    scores = [
        replace(SCORE, person=person, seed=seed, traits_true=dict(zip(("mole", "blush"), true[person], strict=True)),
                traits_read=dict(zip(("mole", "blush"), true[person] * (1, -1) + noise[person, seed], strict=True)))
        for person in range(9) for seed in range(3)
    ]  # fmt: skip

    def plain(who):
        pairs = [(scores[3 * person + seed], person) for person in who for seed in range(3)]
        return [np.corrcoef([score.traits_read[name] for score, _ in pairs], [true[person, at] for _, person in pairs])
                [0, 1] for at, name in enumerate(("mole", "blush"))]  # fmt: skip

    found = traits.correlations(scores, ("mole", "blush"))
    assert list(found) == ["mole", "blush", "mean"] and found["mole"][0] > 0.5 > -0.5 > found["blush"][0]
    draws = np.array([plain(who) for who in drawn_people(9)])
    for name, each, all_draws in (("mole", plain(range(9))[0], draws[:, 0]),
                                  ("mean", np.mean(plain(range(9))), draws.mean(1))):  # fmt: skip
        assert found[name] == (pytest.approx(each), pytest.approx(all_draws.std(ddof=1) * (9 / 8) ** 0.5))
    assert f"| base | {found['mole'][0]:.2f} ± {found['mole'][1]:.2f} |" in traits.markdown(scores, ("mole",))
    assert np.isnan(traits.correlations(scores[:3], ("mole",))["mole"][0])  # one person says nothing


def test_few_pictures_have_no_correlation():
    few = [replace(SCORE, person=number, traits_read={"mole": number}, traits_true={"mole": number**2})
           for number in range(8)]  # fmt: skip
    assert traits.correlations(few, ("mole",))["mole"][0] > 0.9
    assert traits.markdown(few[:7], ("mole",)).splitlines()[2] == "| base | – | – |"
    own = [replace(score, person=0, traits_true={"mole": 0.3}) for score in few]  # 0.3 adds up inexactly
    assert traits.markdown(own, ("mole",)).splitlines()[2] == "| base | – | – |"


def test_which_traits_count_is_read_from_the_judge_s_list(tmp_path):
    (tmp_path / "other.json").write_text(json.dumps({"mole": 0.81, "blush": 0.79, "skin_depth": 0.95}))
    assert traits.read_well(tmp_path / "other.safetensors") == ("skin_depth", "mole")
    assert set(json.loads(traits.list_of(WEIGHTS).read_text())) == set(TRAITS)
    assert "skin_depth" in traits.read_well(WEIGHTS)
    assert "no trait" in traits.markdown([SCORE], ())


# Contact sheets


def test_prompts_are_wrapped_without_losing_a_word():
    text = "a soft pastel portrait of a person, with long curly blond hair, surprised, in-front-of-a-wall-of-words"
    lines = wrapped(text, 128)
    assert " ".join(lines) == text and len(lines) > 3
    assert all(FONT.getlength(line) <= 128 for line in lines if " " in line)
    assert FONT.getlength(f"{lines[0]} {lines[1].split()[0]}") > 128  # and no line is shorter than it must be
    assert wrapped("a", 1) == ["a"]


def test_a_contact_sheet_has_each_prompt_above_its_column(tmp_path):
    red, blue = (np.tile(np.array(colour, np.uint8), (128, 128, 1)) for colour in ((250, 10, 10), (10, 10, 250)))
    prompts = ["a portrait", "a portrait, long curly green hair, with a beard, no hat, wearing gold earrings"]
    contact_sheet(prompts, {"reference": [red, red], "base": [red, blue]}, tmp_path / "sheet.png")
    sheet = np.array(Image.open(tmp_path / "sheet.png"))
    places = np.argwhere((sheet == (10, 10, 250)).all(-1))
    (top, left), (bottom, right) = places.min(0), places.max(0)
    assert (bottom - top, right - left) == (127, 127)  # whole, and nothing on it
    reds = np.argwhere((sheet == (250, 10, 10)).all(-1))
    assert len(reds) == 3 * 128 * 128 and reds[:, 0].min() < top and reds[:, 1].min() < left
    ink = sheet.max(-1) < 100
    above = ink[: reds[:, 0].min()]
    first, second = above[:, reds[:, 1].min() : left].any(1), above[:, left:].any(1)
    assert 0 < first.sum() < second.sum()  # more lines
    assert ink[reds[:, 0].min() :, : reds[:, 1].min()].any()  # the names of the rows
