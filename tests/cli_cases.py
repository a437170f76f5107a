"""What the command line's tests share; what they share with its benchmarks is in benchmarks/batches.py."""

import json

from likeness.cli.__main__ import main


def run_main(capsys, *arguments) -> tuple[int, dict | list | None, str]:
    """One command in this process: its exit code, what it printed, and its sentences."""
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else None, said.err
