"""Every command that a document names is run by `make commands`, with the options that the document gives it."""

import re
import shlex

import commands
import pytest

ROOT = commands.ROOT
DOCUMENTS = [ROOT / name for name in ("README.md", "cli/README.md", "AGENTS.md", "SECURITY.md", "benchmarks/README.md")]
DOCUMENTS += [*sorted(ROOT.glob("docs/*.md")), ROOT / "embedded/NOTICE.md", *sorted(ROOT.glob("web/docs/*.md"))]
DOCUMENTS += sorted(ROOT.glob("scripts/workflow_notes/*.md"))
STARTS = ("make ", "python ", "python3 ", "pytest ", "pip ")
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = dict(re.findall(r"^([a-z][a-z-]*):(.*)$", MAKEFILE, re.MULTILINE))


def parted(command: str) -> tuple[str, set[str]]:
    """What is run, such as "make soak", "python -m cli run" or "scripts/x.py", and the options that it is given."""
    words = [part for word in shlex.split(command) for part in word.removeprefix("ARGS=").split()]
    options = {word for word in words if word.startswith("--")}
    if words[0] == "make":
        return f"make {words[1]}", options
    if words[0].startswith("python") and words[1] != "-m":
        return words[1], options
    if words[0].startswith("python"):
        return " ".join(word for word in words[:4] if word.islower() and "/" not in word), options
    return words[0], options


def named(text: str) -> list[str]:
    """The commands in a document: lines of code blocks, and code in the text, where ARGS=... by itself goes with the
    command before it. A script that can be run is a command too."""
    found = []
    for block, code in re.findall(r"```\w*\n(.*?)```|`([^`]+)`", text, re.DOTALL):
        for line in block.splitlines() if block else [" ".join(code.split())]:
            line = line.partition("  #")[0].strip()
            if line.startswith(STARTS):
                found.append(line)
            elif line.startswith("ARGS="):
                found.append(f"{' '.join(found[-1].split()[:2])} {line}")
            elif re.fullmatch(r"(scripts|benchmarks)/[\w/]+\.py", line) and "__main__" in (ROOT / line).read_text():
                found.append(f"python {line}")
    return found


def run() -> dict[str, set[str]]:
    """What is run -> all options that it is run with; a target of the Makefile runs what stands in its recipe."""
    found = {}
    for command in (*commands.ALONE, *commands.TOGETHER):
        name, options = parted(command)
        for each in {name, *behind(name)}:
            found.setdefault(each, set()).update(options)
    return found


def behind(name: str) -> list[str]:
    """The targets that a target needs, and the scripts in its recipe."""
    target = name.removeprefix("make ")
    if target not in TARGETS:
        return []
    needed = [f"make {one}" for one in TARGETS[target].split()]
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)*)", MAKEFILE, re.MULTILINE)[1]
    scripts = re.findall(r"(?:scripts|benchmarks)/\w+\.py", recipe)
    return [*needed, *scripts, *(more for one in needed for more in behind(one))]


def missing(document: str) -> list[str]:
    """Commands of a document, or options of theirs, that are neither run nor left out for a reason."""
    ran, found = run(), []
    spared = {each for name in commands.LEFT_OUT for each in (name, *behind(name))}
    for command in named(document):
        name, options = parted(command)
        left_out = {option for option in options if f"{name} {option}" in commands.LEFT_OUT}
        is_run = any(one == name or one.startswith(f"{name} ") for one in ran) or name in spared
        if not is_run or options - left_out - ran.get(name, set()):
            found.append(command)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_of_a_document_is_run(document):
    assert missing(document.read_text()) == []


def test_every_target_of_the_makefile_is_run():
    assert [target for target in TARGETS if missing(f"`make {target}`")] == []


@pytest.mark.parametrize(
    "text, expected",
    [
        ("`make nonsense`", ["make nonsense"]),
        ('`make soak` and `ARGS="--prompts 3\nnothing --odd"`', ['make soak ARGS="--prompts 3 nothing --odd"']),
        ("```\npython -m cli fly x.json  # far\nls\n```", ["python -m cli fly x.json"]),
        ("`scripts/weight_types_page.py`", ["python scripts/weight_types_page.py"]),
        ("`scripts/pairs.py`, `make demo`, `python -m cli` and `python -m cli run x.json --out out`", []),
    ],
)
def test_what_is_not_run_is_found(text, expected):
    assert missing(text) == expected


def test_continuous_integration_runs_all():
    told = (ROOT / ".ci/run").read_text().splitlines()
    commands = ["make lint", "make test", "make test-tools", "make commands"]
    assert [line for line in told if line.startswith("make")] == commands


def test_what_is_left_out_is_named_somewhere():
    every = [parted(command) for path in DOCUMENTS for command in named(path.read_text())]
    names = {name for name, _ in every} | {f"{name} {option}" for name, options in every for option in options}
    assert set(commands.LEFT_OUT) <= names
