"""A ruler for anybody's models: one workflow, the same people, prompts and noise, with and without the cure.

    make bench-models ARGS="--workflow workflows/api/faceid_sd15.json --references FOLDER --clip FILE"

A ComfyUI with the pack has to run; its models are those of the workflow (API format, one ApplyIDAdapter). Likeness is
measured there by IDSimilarity, the prompt's consistency here by CLIP. Tables, a CSV with a row a picture, sheets and
the pictures themselves go to --out; stopped and started again with the same options it goes on where it was.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path += [str(ROOT / "scripts"), str(ROOT / "tests")]
import alone  # noqa: E402, F401
from comfy_server import find_comfyui  # noqa: E402
from likeness.cli import graph as graphs  # noqa: E402
from likeness.cli.batch import Options  # noqa: E402
from likeness.cli.problems import DISK, FAILED, OK, STOPPED, Lost, Problem, Usage  # noqa: E402
from likeness.cli.progress import say  # noqa: E402
from likeness.cli.run import first_that_answers  # noqa: E402
from likeness.cli.server import address_of  # noqa: E402
from models_bench import clip, tables  # noqa: E402
from models_bench.conditions import DEFAULT, HELP, known  # noqa: E402
from models_bench.graph import measured, read_parts, with_steps  # noqa: E402
from models_bench.prompts import read_prompts  # noqa: E402
from models_bench.runs import anything_done, check_run, note_run, run_of  # noqa: E402
from models_bench.sheets import write_sheet  # noqa: E402
from models_bench.work import check_people, controls_of, jobs_of, read_people, run_condition  # noqa: E402

PROMPTS = ROOT / "benchmarks/freecure_prompts.txt"
NO_CLIP = "Without --clip nothing says how well prompts are kept: only likeness is measured."


def count(text: str) -> int:
    """A whole number from 1, for the argument parser."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1 on")
    return int(text)


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="append", metavar="ADDRESS", help="a ComfyUI with the pack and the models; "
                        "may be given several times (http://127.0.0.1:8188)")  # fmt: skip
    parser.add_argument("--workflow", type=Path, required=True, help="in API format, as in workflows/api")
    parser.add_argument("--references", type=Path, required=True, help="a folder with one photograph of each person")
    parser.add_argument("--prompts", type=Path, default=PROMPTS, help="a prompt a line, attributes in [brackets]")
    parser.add_argument("--conditions", nargs="+", default=list(DEFAULT), metavar="CONDITION", help=HELP)
    parser.add_argument("--encoder", default="embedded", help="what measures likeness: a name that LoadFaceEncoder "
                        "offers, or 'workflow' for that of the workflow (%(default)s)")  # fmt: skip
    parser.add_argument("--clip", metavar="FILE", help="a CLIP model with both towers, or its name in "
                        "models/clip_vision")  # fmt: skip
    parser.add_argument("--picture", metavar="TITLE_OR_ID", help="the node whose pictures count, if there are several")
    parser.add_argument("--seeds", type=count, default=1, help="pictures of each person and prompt (%(default)s)")
    parser.add_argument("--first", type=count, metavar="N", help="only N prompts of each number of attributes")
    parser.add_argument("--steps", type=count, metavar="N", help="instead of the workflow's")
    parser.add_argument("--retry-failed", action="store_true", help="try pictures again that failed by themselves")
    parser.add_argument("--out", type=Path, default=ROOT / "out/bench-models")
    parser.add_argument("--comfyui", type=Path, metavar="DIR", help="ComfyUI's folder, which has CLIP's vocabulary")
    return parser.parse_args(given)


def comfyui_of(given: Path | None) -> Path:
    """ComfyUI's folder: the one given, the one that the pack lies in, or a development set-up's."""
    for folder in (given, ROOT.parent.parent):
        if folder and (folder / "comfy/sd1_tokenizer").is_dir():
            return folder
    if given:
        raise Usage(f"{given} is no ComfyUI: it has no comfy/sd1_tokenizer; give ComfyUI's own folder.")
    try:
        return find_comfyui()
    except FileNotFoundError as error:
        raise Usage("ComfyUI's folder has CLIP's vocabulary, and it was not found; give it with --comfyui.") from error


def measure(given: argparse.Namespace) -> int:
    """Everything; returns the exit code. What can be wrong is looked at before the first picture."""
    names = [known(name) for name in dict.fromkeys(given.conditions)]
    workflow = graphs.load(given.workflow)
    parts = read_parts(workflow, given.picture)
    plain = measured(workflow, parts, given.encoder)
    graph = with_steps(plain, given.steps) if given.steps else plain
    people, prompts = read_people(given.references), read_prompts(given.prompts, given.first)
    run = run_of(plain, people, prompts, given.seeds, given.steps, given.encoder)
    check_run(run, given.out)
    model = tokenizer = None
    if given.clip is None:
        print(NO_CLIP, file=sys.stderr)
    else:
        comfyui = comfyui_of(given.comfyui)
        tokenizer = comfyui / "comfy/sd1_tokenizer"
        model = clip.file_of(given.clip, comfyui / "models/clip_vision")
    servers = [address_of(text) for text in given.server or ["http://127.0.0.1:8188"]]
    with first_that_answers(servers, {}) as server:
        controls = controls_of(server, graph, parts)
        check_people(server, graph, people)
    note_run(run, given.out)
    scorer = clip.Scorer(model, tokenizer, given.out / "clip.jsonl") if model else None
    options, groups = Options(servers, retry_failed=given.retry_failed), {}
    for number, name in enumerate(names, 1):
        say(f"condition {number} of {len(names)}: {name}")
        jobs = jobs_of(name, graph, parts, people, prompts, given.seeds, controls)
        groups[name] = run_condition(jobs, given.out / name, options)
        if scorer:
            scorer.score(groups[name])
    size = f"{len(people)} people, {len(prompts)} prompts, {given.seeds} seeds; likeness by {given.encoder}"
    text = f"{size}; CLIP: {model.name if model else 'none'}\n\n{tables.markdown(groups)}"
    (given.out / "table.md").write_text(text, encoding="utf-8")
    tables.write_csv(groups, given.out / "pictures.csv")
    for prompt in prompts:
        write_sheet(people, groups, prompt.number, given.out / f"sheet_{prompt.number:02}.jpg")
    print(text)
    say(f"The table is in {given.out / 'table.md'}, a row for each picture in {given.out / 'pictures.csv'}, sheets of "
        f"each prompt in {given.out / 'sheet_01.jpg'} and so on.")  # fmt: skip
    return FAILED if any(one.error for some in groups.values() for one in some) else OK


def main(given: list[str] | None = None) -> int:
    """The command; a problem is a sentence on stderr, and what was done by then stays."""
    told = arguments(given)
    try:
        return measure(told)
    except Problem as error:
        print(error, file=sys.stderr)
        if isinstance(error, Lost) and anything_done(told.out):
            print("What is done stays; the same command goes on from there.", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("Stopped; the same command goes on from here.", file=sys.stderr)
        return STOPPED
    except OSError as error:
        print(f"{error.filename or 'A file'} can't be written or read: {error.strerror or error}.", file=sys.stderr)
        return DISK


if __name__ == "__main__":
    sys.exit(main())
