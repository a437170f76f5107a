"""What the command line's tests share; what they share with its benchmarks is in benchmarks/batches.py."""

import json
import threading

from likeness.cli.__main__ import main


def run_main(capsys, *arguments) -> tuple[int, dict | list | None, str]:
    """One command in this process: its exit code, what it printed, and its sentences."""
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else None, said.err


def the_other_threads_end():
    """Wait for the threads of other prompts: they outlive a batch, and one may be in the middle of its picture."""
    for thread in threading.enumerate():
        if thread.name.endswith("(work)"):
            thread.join(20)
