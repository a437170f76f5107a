"""The ruler's command line: one sentence at once for what can't be, and scores that no later failure costs."""

import csv
import sys
from dataclasses import replace

import identity
import numpy as np
import pytest
from facelets.judge import WEIGHTS
from facelets.pack import module
from facelets.world import TRAITS
from ruler import conditions
from ruler.command import arguments
from ruler.gather import gathered
from ruler.stack import ARCHITECTURES
from ruler.work import Options
from ruler_scores import SCORE, traded


def refused(capsys, *words):
    """The last line of what is said."""
    with pytest.raises(SystemExit) as end:
        arguments(list(words))
    assert end.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "option, wrong, bounds",
    [(name, 0, "1 or more") for name in ("--identities", "--prompts", "--seeds", "--steps", "--processes")]
    + [("--first", -1, "0 or more"), ("--phrases", 0, "1 to 5"), ("--phrases", 6, "1 to 5")],
)
def test_numbers_out_of_bounds_are_refused(capsys, tmp_path, option, wrong, bounds):
    said = refused(capsys, "--out", str(tmp_path / "new"), f"{option}={wrong}")
    assert said.endswith(f"argument {option}: has to be {bounds}, not {wrong}")
    assert not (tmp_path / "new").exists()
    least = bounds.split()[0]
    given = arguments(["--out", str(tmp_path / "new"), f"{option}={least}"])
    assert getattr(given, option[2:]) == ([1] if option == "--phrases" else int(least))
    assert "invalid whole number value: 'few'" in refused(capsys, option, "few")


def test_a_folder_that_cannot_be_is_refused_at_once(capsys, tmp_path):
    (file := tmp_path / "file").write_text("")
    for out in (file, file / "below"):
        said = refused(capsys, "--out", str(out))
        assert f"--out {out} cannot be written: " in said
    (tmp_path / "out/scores.csv").mkdir(parents=True)
    assert "cannot be written: Is a directory" in refused(capsys, "--out", str(tmp_path / "out"))
    arguments(["--out", str(tmp_path / "one/two")])
    assert (tmp_path / "one/two").is_dir()


@pytest.mark.parametrize(("wrong", "said"), [("nan", "has to be a number, not nan"), ("abc", "invalid number value")])
def test_guidance_is_a_number(capsys, wrong, said):
    assert said in refused(capsys, "--cfg", wrong)


def test_the_architectures_are_those_of_the_node():
    assert tuple(module("core.host.facelets.load").ARCHITECTURES) == ARCHITECTURES


def test_each_architecture_is_sampled_its_own_way_unless_told(tmp_path):
    (tmp_path / "flux.safetensors").touch()
    flux = ["--folder", str(tmp_path), "--architecture", "flux", "--out", str(tmp_path / "out")]
    for words, expected in (
        (["--out", str(tmp_path)], ("euler", 3.0, 20)),
        (flux, ("euler_ancestral", 1.0, 40)),
        ([*flux, "--sampler", "euler", "--cfg", "0", "--steps", "5"], ("euler", 0.0, 5)),
    ):
        given = arguments(words)
        assert (given.sampler, given.cfg, given.steps) == expected
        assert identity.options_of(given).sampler == expected[0]


def test_a_model_that_is_not_there_is_named(capsys, tmp_path):
    said = refused(capsys, "--folder", str(tmp_path), "--architecture", "flux")
    assert said.endswith(
        f"there is no {tmp_path / 'flux.safetensors'}: what does not ship has to be trained (`make facelets`); "
        "--folder says where it is"
    )


def test_a_judge_that_is_not_there_is_named(capsys, tmp_path):
    judge = tmp_path / "judge.safetensors"
    assert refused(capsys, "--judge", str(judge)).endswith(f"there is no judge {judge}")
    judge.write_bytes(b"")
    assert f"there is no {tmp_path / 'judge.json'}: " in refused(capsys, "--judge", str(judge))


def test_the_help_names_each_condition_once_and_every_default(capsys):
    with pytest.raises(SystemExit):
        arguments(["--help"])
    text = capsys.readouterr().out
    words = text.split()
    names = ["drawing", *conditions.KNOWN]
    assert {name: words.count(name) for name in names} == dict.fromkeys(names, 1)
    options = text[text.index("--help") :].split("\n  --")[1:]
    assert len(options) == 17 and all("default:" in option for option in options)


def test_scores_are_written_after_every_person(tmp_path):
    options = Options(("base", "ill"), range(2), range(2), 1, 1, 2, "euler", 3.0, judge=WEIGHTS)
    traits = dict.fromkeys(TRAITS, 0.5)

    def own(person):
        return [replace(SCORE, condition=name, person=person, traits_read=traits, traits_true=traits)
                for name in options.conditions]  # fmt: skip

    def measured():
        yield own(0), {("base", 0): "a picture"}
        raise RuntimeError("the second person fails")

    with pytest.raises(RuntimeError, match="second person"):
        gathered(options, measured(), tmp_path / "scores.csv")
    with open(tmp_path / "scores.csv", newline="") as file:
        assert [(row["condition"], row["person"]) for row in csv.DictReader(file)] == [("base", "0"), ("ill", "0")]
    both = [(own(number), {("base", 0): f"picture {number}"}) for number in range(2)]
    scores, shown = gathered(options, both, tmp_path / "scores.csv")
    assert [(score.condition, score.person) for score in scores] == [("base", 0), ("base", 1), ("ill", 0), ("ill", 1)]
    assert shown == {("base", 0, 0): "picture 0", ("base", 0, 1): "picture 1"}


def test_the_tables_say_what_they_count_and_where_all_of_it_lies(monkeypatch, capsys, tmp_path):
    levels = {conditions.ILL: (0.6, 0.5), conditions.FAINTER: (0.5, 0.75), "cure-1.0": (0.57, 0.75)}
    names = ["base", *levels]

    def measure(options, processes, out):
        assert out.is_dir()  # before anything is measured
        shown = {(name, 0, number): np.zeros((128, 128, 3), np.uint8) for name in names for number in options.people}
        scores = [
            replace(score, person=score.person + 1000, reference={"hat": "other"})
            for score in traded(levels, 2)
            if score.phrases == 1
        ]
        return scores, shown

    monkeypatch.setattr(identity, "measure", measure)
    words = f"--identities 2 --prompts 1 --phrases 1 --seeds 1 --out {tmp_path / 'new'} --conditions {' '.join(names)}"
    monkeypatch.setattr(sys, "argv", ["identity.py", *words.split()])
    identity.main()
    text = capsys.readouterr().out
    *_, last = text.splitlines()
    assert last == f"In {tmp_path / 'new'}: table.md, scores.csv, trade_off.png, sheet_1.png"
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(last.split(": ")[1].split(", "))
    assert "adapter-0.32+control (at 0.32, which is 0.4 of 0.8)" in text
    assert text.count("A picture without a face") == 1 and "| too few people |" in text
    assert text.startswith("people: 2 (no choice has seen them)") and "Fewer than 8 people" in text
