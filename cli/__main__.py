"""`python -m cli`: run workflows on ComfyUI servers. The commands' results are JSON on stdout, sentences on stderr.

Exit codes: 0 done; 1 a node failed, rows failed, or something is missing; 2 wrong arguments, table or workflow;
3 the server refused the workflow; 4 no server; 5 the results can't be written; 130 stopped by Ctrl-C.
"""

import argparse
import json
import math
import sys
from pathlib import Path

from .problems import DISK, FAILED, OK, STOPPED, USAGE, Problem, Usage

_ADDRESS = "http://127.0.0.1:8188"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        found, code = given.command(given)
    except Problem as error:
        print(error, file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return STOPPED
    except ImportError as error:
        if error.name not in ("requests", "websocket", "tqdm"):
            raise
        print("The command line needs a little more than ComfyUI: pip install -r cli/requirements.txt", file=sys.stderr)
        return USAGE
    except OSError as error:
        print(f"{error.filename or 'A file'} can't be written or read: {error.strerror or error}.", file=sys.stderr)
        return DISK
    print(json.dumps(found, indent=1, allow_nan=False))
    return code


def _parser():
    parser = argparse.ArgumentParser(prog="python -m cli", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = _command(commands, "run", _run, "run one workflow and print its files and scores")
    run.add_argument("workflow", type=Path, metavar="WORKFLOW.json", help="in API format, as in workflows/api")
    run.add_argument("--set", action="append", default=[], metavar="TITLE_OR_ID.input=value", help="set a node's input")
    run.add_argument("--upload", action="append", default=[], metavar="TITLE_OR_ID=photo.jpg",
                     help="send a picture to the server for a LoadImage node")  # fmt: skip
    run.add_argument("--out", type=Path, metavar="DIR", help="fetch the results into DIR/<prompt id>; "
                     "without it the output says where they are at the server")  # fmt: skip
    _results(run)
    _servers(run)

    batch = _command(commands, "batch", _batch, "run every row of a table once, and go on after a kill")
    batch.add_argument("table", type=Path, metavar="TABLE", help=".csv, .jsonl or .parquet; columns "
                       "TITLE_OR_ID.input set inputs (of LoadImage: a file, from the table's folder), others go into "
                       "the manifest")  # fmt: skip
    batch.add_argument("workflow", type=Path, metavar="WORKFLOW.json", help="in API format, as in workflows/api")
    batch.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets manifest.jsonl and a folder a row")
    batch.add_argument("--threshold", type=_number, metavar="T", help="of every IDSimilarity node: its lowest score")
    batch.add_argument("--key", default="key", metavar="COLUMN", help="column that names the rows (%(default)s; "
                       "without it they are numbered)")  # fmt: skip
    batch.add_argument("--engine", choices=("plain", "ray"), default="plain", help="what waits at the servers: "
                       "threads, or Ray's tasks on machines that share DIR and the pictures")  # fmt: skip
    batch.add_argument("--retry-failed", action="store_true", help="try rows again that failed by themselves")
    batch.add_argument("--ahead", type=_count, default=2, metavar="N", help="prompts per server at once (%(default)s)")
    batch.add_argument("--tries", type=_count, default=3, metavar="N", help="per row, when servers fail (%(default)s)")
    batch.add_argument("--patience", type=_number, default=30.0, metavar="S", help="seconds to wait for a server "
                       "that is away (%(default)g)")  # fmt: skip
    _results(batch)
    _servers(batch)

    check = _command(commands, "check", _check, "what a workflow needs and, with --server, what of it is missing")
    check.add_argument("workflow", type=Path, metavar="WORKFLOW.json", help="in API format, as in workflows/api")
    check.add_argument(
        "--page", type=Path, metavar="FILE", help="the same in the page's format, for the models' addresses"
    )
    _servers(check, default=())

    models = _command(commands, "models", _models, "which adapters, encoders and parsers there are, and what each is")
    models.add_argument("--comfyui", type=Path, metavar="DIR", help="ComfyUI's folder (the one that the pack lies in)")
    return parser


def _command(commands, name, function, words):
    command = commands.add_parser(name, help=words, description=words, allow_abbrev=False)
    command.set_defaults(command=function)
    return command


def _results(command):
    command.add_argument("--previews", action="store_true", help="fetch previews too, not only what is saved")


def _servers(command, default=(_ADDRESS,)):
    words = f"a ComfyUI; may be given several times ({', '.join(default) or 'none'})"
    command.add_argument("--server", action="append", metavar="URL", help=words)
    command.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'",
                         help="sent to every server with every request, such as a login")  # fmt: skip
    command.set_defaults(default_servers=default)


def _count(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _number(text):
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError("must be a finite number")
    return number


def _addresses(given):
    from .server import address_of

    return list(dict.fromkeys(address_of(text) for text in given.server or given.default_servers))


def _headers(given):
    pairs = [text.partition(":") for text in given.header]
    for name, colon, value in pairs:
        if not (colon and name.strip() and (name + value).isprintable()):
            raise Usage("--header takes 'NAME: VALUE'.")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _run(given):
    from .run import run

    found = run(given.workflow, given.set, given.upload, _addresses(given), _headers(given), given.out, given.previews)
    return found, OK


def _batch(given):
    from .batch import Options, batch

    options = Options(_addresses(given), _headers(given), given.threshold, given.engine, given.key, given.previews,
                      given.retry_failed, given.ahead, given.tries, given.patience)  # fmt: skip
    counts = batch(given.table, given.workflow, given.out, options)
    return counts, FAILED if counts["failed"] else OK


def _check(given):
    from .check import check
    from .run import first_that_answers

    addresses = _addresses(given)
    if not addresses:
        found = check(given.workflow, None, given.page)
    else:
        with first_that_answers(addresses, _headers(given)) as server:
            found = check(given.workflow, server, given.page)
    for line in found["missing"]:
        print(line, file=sys.stderr)
    return found, FAILED if found["missing"] else OK


def _models(given):
    from .models import comfyui_folder, models

    return models(comfyui_folder(given.comfyui)), OK


if __name__ == "__main__":
    sys.exit(main())
