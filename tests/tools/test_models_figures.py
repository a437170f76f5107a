"""The ruler for anybody's models: what it reads in files of prompts, and what it makes of numbers."""

from dataclasses import replace

import models
import pytest
from likeness.cli.problems import Usage
from likeness.core.cure.attributes import find_attributes
from models_bench import tables
from models_bench.prompts import read_prompts
from models_bench.work import Picture

# Prompts


def test_every_attribute_of_the_shipped_prompts_is_one_that_the_cure_finds():
    prompts = read_prompts(models.PROMPTS)
    for prompt in prompts:
        assert [found.text for found in find_attributes(prompt.text)] == list(prompt.phrases)
        assert "[" not in prompt.text
    assert {len(prompt.phrases) for prompt in prompts} == {1, 2, 3}
    assert len(read_prompts(models.PROMPTS, first=2)) == 6


def test_a_file_without_prompts(tmp_path):
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    with pytest.raises(Usage, match="has no prompts; write one a line"):
        read_prompts(tmp_path / "empty.txt")
    with pytest.raises(Usage, match="can't be read as UTF-8 text"):
        read_prompts(tmp_path / "missing.txt")


@pytest.mark.parametrize("line", ["a [hat", "a hat]", "a [red [hat]]", "a []", "a [ ] hat", "a ]hat["])
def test_brackets_that_are_none(tmp_path, line):
    (tmp_path / "prompts.txt").write_text(f"# ours\na [hat], [laughing]\n{line}\n")
    with pytest.raises(Usage, match="Line 3 of .*prompts.txt has brackets that don't pair"):
        read_prompts(tmp_path / "prompts.txt", first=1)


# Figures


def picture(kind, person, likeness, cosine, phrases=("hat",)):
    found = {"a hat": cosine, **dict.fromkeys(phrases, cosine / 2)}
    return Picture(kind, person, 1, "a hat", phrases, 1, None, likeness=likeness, seconds=2.0, cosines=found)


GROUPS = {
    "foundation": [picture("foundation", "a", 0.1, 0.30), picture("foundation", "b", 0.3, 0.30)],
    "adapter": [picture("adapter", "a", 0.7, 0.20), picture("adapter", "b", 0.7, 0.24)],
    "cure-1": [picture("cure-1", "a", 0.6, 0.25), picture("cure-1", "b", None, 0.28)],
}


def test_what_a_condition_costs_and_gives_back():
    back = tables.change(tables.prompt_kept, GROUPS["cure-1"], GROUPS, 1)
    assert back.mean == pytest.approx(4.5) and back.error == pytest.approx(0.5)
    assert back.share == pytest.approx(100 * 4.5 / 8)
    # No face is as like as the foundation's mean, 0.2: -0.1 and -0.5 of 0.5 that the adapter gave.
    lost = tables.change(tables.likeness_of(GROUPS), GROUPS["cure-1"], GROUPS, -1)
    assert lost.mean == pytest.approx(-0.3) and lost.share == pytest.approx(60)


def test_cases_that_failed_somewhere_are_not_compared():
    failed = Picture("cure-1", "b", 1, "a hat", ("hat",), 1, "No face.")
    groups = {**GROUPS, "cure-1": [GROUPS["cure-1"][0], failed]}
    assert tables.change(tables.prompt_kept, groups["cure-1"], groups, 1).mean == pytest.approx(5)
    assert "| cure-1 | 1 | 1 | 1.000 | 0.600 | 25.00 | 12.50 | 2.00 |" in tables.markdown(groups)


def test_an_adapter_that_costs_nothing_gives_nothing_back():
    same = {**GROUPS, "adapter": [picture("adapter", person, 0.7, 0.31) for person in "ab"]}
    assert str(tables.change(tables.prompt_kept, same["cure-1"], same, 1).share) == "nan"


def test_shares_of_what_is_within_two_errors_are_dashes():
    noisy = {**GROUPS, "adapter": [picture("adapter", "a", 0.7, 0.20), picture("adapter", "b", 0.7, 0.27)]}
    back = tables.change(tables.prompt_kept, noisy["cure-1"], noisy, 1)  # of 10 and 3: 6.5, and its error 3.5
    assert str(back.share) == "nan" and back.mean == pytest.approx(3)
    said = tables.markdown(noisy)
    assert said.count("A dash for a share") == 1 and "| 3.00 ± 2.00 | – |" in said
    said = tables.markdown(GROUPS)
    assert "A dash for a share" not in said and "| 4.50 ± 0.50 | 56 ± 6 % |" in said


def test_of_one_person_no_share_is_known():
    one = {name: pictures[:1] for name, pictures in GROUPS.items()}
    assert "| cure-1 | -0.100 | – | 5.00 | – |" in tables.markdown(one)


def test_without_clip_there_is_nothing_about_prompts():
    blind = {name: [replace(one, cosines={}) for one in pictures] for name, pictures in GROUPS.items()}
    said = tables.markdown(blind)
    assert "| condition | pictures | failed | face found | likeness | s a picture |" in said
    assert "| against the adapter | likeness | lost |\n" in said
    assert not any(word in said for word in ("prompt", "attribute", "named", "given back", "–"))
