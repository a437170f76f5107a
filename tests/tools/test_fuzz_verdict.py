"""What the fuzzing of a server takes for a failure, and that files which nobody may open are watched."""

from pathlib import Path

import pytest
from fuzz import verdict
from fuzz.canaries import Canaries

OURS, THEIRS = "/x/custom_nodes/likeness/core/host/a.py", "/y/comfy/sd.py"


def ran(name, text, *files):
    """The verdict on a node that failed, from what was raised and the files of its traceback."""
    frames = [f'  File "{file}", line 1, in f\n' for file in files]
    error = {"node_type": "N", "exception_type": name, "exception_message": f"{text}\n", "traceback": frames}
    return verdict.of_history({"status": {"status_str": "error", "messages": [["execution_error", error]]}}).word


@pytest.mark.parametrize(("name", "text", "files", "word"), [
    ("ValueError", "The face is gone; look for it.", (THEIRS, OURS), verdict.OURS),
    ("/x.core.weights.reader.WeightsError", "a.bin is empty; fetch it again.", (OURS,), verdict.OURS),
    ("KeyError", "'a'", (THEIRS, OURS), verdict.FAILED),
    ("ValueError", "not enough values to unpack (expected 2, got 1)", (OURS,), verdict.FAILED),
    ("ValueError", "It is so.", (OURS, THEIRS), verdict.FAILED),
    ("ValueError", "It is\nso.", (OURS,), verdict.FAILED),
    ("ValueError", f"It is {'x' * 5000}.", (OURS,), verdict.FAILED),
    ("RuntimeError", "It is so.", (OURS,), verdict.FAILED),
    ("RuntimeError", "shapes cannot be multiplied", (THEIRS,), verdict.FOREIGN),
])  # fmt: skip
def test_verdicts_on_nodes_that_failed(name, text, files, word):
    assert ran(name, text, *files) == word


def test_verdicts_on_prompts_that_were_refused():
    def refused(kind, details, *trace):
        error = {"type": kind, "details": details, "extra_info": {"traceback": trace, "exception_type": "KeyError"}}
        return verdict.of_refusal({"error": {"message": "no"}, "node_errors": {"1": {"errors": [error]}}}).word

    assert refused("value_bigger_than_max", "weight") == verdict.THEIRS
    assert refused("custom_validation_failed", "adapter - The adapter 'a' was not found; put it there.") == verdict.OURS
    assert refused("custom_validation_failed", "adapter - no") == verdict.FAILED
    assert refused("exception_during_validation", "'a'", f'File "{OURS}"') == verdict.FAILED
    assert refused("exception_during_validation", "'a'", f'File "{THEIRS}"') == verdict.THEIRS


def test_canaries_tell_who_was_opened(tmp_path):
    good = tmp_path / "good.bin"
    good.write_bytes(b"x")
    with Canaries([tmp_path / "a", tmp_path / "b"], [good]) as canaries:
        assert canaries.taken() == []
        Path(tmp_path, "a", "secret.bin").read_bytes()
        assert canaries.taken() == [str(tmp_path / "a/secret.bin")] and canaries.taken() == []
