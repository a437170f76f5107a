"""Damaged and hostile files of every reader end in something that works or in one sentence; see `make fuzz-files`."""

import io
import os
import pickle
import random
import zipfile

import numpy as np
import pytest
import torch
from damaged import files, in_parquet, in_states, readers, trial, uses

PICKLES = ("adapter", "router", "identity", "direction", "parser", "eva", "siglip", "descriptor")


@pytest.fixture
def outcome(tried_file):
    """What becomes of a file, from its name, bytes and role."""
    return tried_file(uses.tried)


def is_light(case):
    """Neither a whole network nor a bomb that is large by itself, of which the thousands have enough."""
    return case.role not in ("parser", "eva", "descriptor") and case.kind.partition(": ")[2] not in in_states.DAMAGE


def refused(found, sentence):
    assert found.result == trial.REFUSED and sentence in found.text, found


@pytest.mark.parametrize("number", [number for number in range(40) if is_light(readers.case(number, 78))])
def test_a_damaged_file_works_or_is_refused_in_one_sentence(outcome, number):
    # of another seed than the thousands
    chosen = readers.case(number, seed=78)
    found = outcome(chosen.name, chosen.make(), chosen.role)
    assert found.result in (trial.LOADED, trial.REFUSED), found.text


@pytest.mark.parametrize(("name", "data", "role"), [
    *((f"whole.{kind}", text, "table") for kind, text in (("csv", files.CSV), ("jsonl", files.JSONL))),
    ("pose.json", files.LANDMARKS, "landmarks"), ("workflow.json", files.WORKFLOW, "workflow"),
    ("page.json", files.PAGE, "page"), ("mine.json", files.DESCRIPTION, "description"),
    ("lines.jsonl", files.manifest(), "manifest"), ("lines.jsonl", files.queued(), "queued"),
])  # fmt: skip
def test_the_intact_texts_work(outcome, name, data, role):
    assert outcome(name, data.encode(), role).result == trial.LOADED


@pytest.mark.parametrize("role", PICKLES)
def test_no_reader_runs_what_a_pickle_asks_for(outcome, tmp_path, role):
    mark = tmp_path / "ran"

    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch '{mark}'",)

    old, archive = io.BytesIO(), io.BytesIO()
    torch.save({"a": Hostile()}, old, _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("x/data.pkl", pickle.dumps({"a": Hostile()}, 2))
        written.writestr("x/version", "3\n")
    for name, data in (("a.bin", old.getvalue()), ("a.pt", archive.getvalue()), ("a.ckpt", pickle.dumps(Hostile(), 2)),
                       ("a.safetensors", pickle.dumps(Hostile(), 4)), ("a.npy", _object_array(Hostile()))):  # fmt: skip
        assert outcome(name, data, role).result == trial.REFUSED, name
        assert not mark.exists(), name


def _object_array(one):
    file = io.BytesIO()
    np.save(file, np.array([one], dtype=object), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    "header", ["{'descr': '<f4', 'fortran_order': False, 'shape': (512,", "[[[[", "'" * 9, "\\\n("]
)
def test_a_direction_with_an_odd_header(outcome, header):
    """numpy has it parsed as Python."""
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(2048)
    refused(outcome("smile.npy", data, "direction"), "smile.npy is no array of numbers, or damaged; fetch it again.")


@pytest.mark.parametrize("claim", ["(10000000000,)", "(-1,)", "(512, 512, 512)"])
def test_a_direction_that_claims_more_than_it_has(outcome, claim):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {claim}}}".ljust(117) + "\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(2048)
    refused(outcome("smile.npy", data, "direction"), "smile.npy is no array of numbers, or damaged")


@pytest.mark.parametrize("kind", [np.complex64, "U5", "M8[s]", "V7", bool])
def test_a_direction_of_things_that_are_no_numbers(outcome, kind):
    file = io.BytesIO()
    np.save(file, np.zeros(512, kind))
    refused(outcome("smile.npy", file.getvalue(), "direction"), "smile.npy is no array of numbers, or damaged")


def test_a_description_that_is_too_long_or_has_a_long_key(outcome):
    refused(outcome("mine.json", b" " * 10_000_000, "description"), "the whole file must be an object")
    refused(outcome("mine.json", b'{"' + b"x" * 60_000 + b'": 1}', "description"), "xxx... must be one of input_size")


def test_a_table_of_very_many_columns(outcome):
    head = ",".join(f"c{number}" for number in range(100_000))
    refused(outcome("table.csv", head.encode(), "table"), "table.csv has no rows.")
    refused(outcome("table.csv", f"{head},c7\n".encode(), "table"), "table.csv has the column 'c7' twice")


def test_a_small_parquet_file_that_grows(outcome, monkeypatch):
    data = in_parquet._constant()
    assert len(data) < 100_000
    refused(outcome("table.parquet", data, "table"), "has 20,000,000 rows, and 1,000,000 are the most; split it.")
    monkeypatch.setattr("likeness.cli.table._BYTES", 10_000_000)
    data = in_parquet._long_texts()
    assert len(data) < 1000
    refused(outcome("table.parquet", data, "table"), "holds more than 10,000,000 bytes of values; split it, or save it")


@pytest.mark.parametrize("seed", range(6))
def test_parquet_of_any_type(outcome, seed):
    found = outcome("table.parquet", in_parquet.odd(random.Random(seed)), "table")
    assert found.result in (trial.LOADED, trial.REFUSED), found


LINES = ('{"row": "a"}', '{"row": ["a"], "status": "done"}', '{"row": "a", "status": "done", "gate": 1, "work": 1}',
         '{"row": "a", "status": "done", "gate": null, "work": null, "files": ["x"]}', "[" * 100_000,
         '{"row": "a", "status": "done", "gate": null, "work": 1, "files": [{"path": 1, "sha256": "0"}]}')  # fmt: skip


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("role", ["manifest", "queued"])
def test_a_line_that_no_batch_wrote_counts_for_nothing(outcome, line, role):
    whole = {"manifest": files.manifest, "queued": files.queued}[role]()
    assert outcome("lines.jsonl", f"{line}\n{whole}".encode(), role).result == trial.LOADED
    assert outcome("lines.jsonl", f"{whole}{line}\n".encode(), role).result == trial.LOADED


def test_titles_and_ids_of_a_workflow_stay_on_one_short_line(outcome):
    node = '{"class_type": "Draw", "inputs": {}}'
    many = ", ".join(f'"{number}": {node}' for number in range(3000))
    refused(
        outcome("workflow.json", f'{{"\\u0000\\n": {node}, {many}}}'.encode(), "workflow"), "nodes are titled 'Draw'"
    )
