"""Files after a kill: torn lines, half files, links, locks."""

import json
import os
import subprocess
import sys

import pytest
from batches import ROOT
from full_disk import full_disk
from likeness.cli.durable import Lines, as_line, is_whole, locked, read_lines, write_whole
from likeness.cli.problems import Disk, Usage


@pytest.mark.parametrize("torn", [b"", b"{", b'{"a": 9', b'{"a": 9}', b"\0" * 5000, b'{"a": "' + b"x" * 3_000_000])
def test_a_torn_last_line_is_no_record_and_goes(tmp_path, torn):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(as_line({"a": 1}) + as_line({"a": "é\n"}) + torn)
    assert list(read_lines(path)) == [{"a": 1}, {"a": "é\n"}]
    lines = Lines(path)
    lines.append({"a": 3})
    lines.close()
    assert list(read_lines(path)) == [{"a": 1}, {"a": "é\n"}, {"a": 3}]
    assert path.read_bytes().count(b"\n") == 3


def test_every_cut_of_a_file_of_lines_leaves_its_whole_lines(tmp_path):
    records = [{"a": number, "text": "é" * number} for number in range(4)]
    content = b"".join(map(as_line, records))
    for end in range(len(content) + 1):
        (tmp_path / "lines.jsonl").write_bytes(content[:end])
        kept = list(read_lines(tmp_path / "lines.jsonl"))
        assert kept == records[: content[:end].count(b"\n")]
        Lines(tmp_path / "lines.jsonl").close()
        assert list(read_lines(tmp_path / "lines.jsonl")) == kept


def test_lines_that_are_no_records_are_passed_over(tmp_path):
    (tmp_path / "lines.jsonl").write_bytes(b'\0\0\0\n{"a": 1}\n[1]\nx\n\xff\n')
    assert list(read_lines(tmp_path / "lines.jsonl")) == [{"a": 1}] and list(read_lines(tmp_path / "absent")) == []


def test_a_file_is_whole_or_not_there(tmp_path):
    def breaks():
        yield b"half"
        raise ValueError

    with pytest.raises(ValueError):
        write_whole(tmp_path / "a", breaks())
    assert list(tmp_path.iterdir()) == []
    digest, size = write_whole(tmp_path / "a", [b"who", b"le"])
    assert size == 5 and is_whole(tmp_path / "a", digest) and [path.name for path in tmp_path.iterdir()] == ["a"]
    os.symlink(tmp_path / "a", tmp_path / "link")
    assert not is_whole(tmp_path / "link", digest) and not is_whole(tmp_path / "absent", digest)
    (tmp_path / "a").write_bytes(b"whale")
    assert not is_whole(tmp_path / "a", digest) and not is_whole(tmp_path, digest)


def test_a_full_disk_is_a_sentence_and_leaves_whole_files_and_whole_lines(tmp_path):
    lines = Lines(tmp_path / "lines.jsonl")
    lines.append({"a": 1})
    with full_disk(1000):
        with pytest.raises(Disk, match=r"a can't be written \(File too large\); make room"):
            write_whole(tmp_path / "a", [b"x" * 600, b"x" * 600])
        with pytest.raises(Disk, match=r"lines.jsonl can't be written \(File too large\); make room"):
            lines.append({"a": "x" * 2000})
    lines.close()
    assert [path.name for path in tmp_path.iterdir()] == ["lines.jsonl"]
    lines = Lines(tmp_path / "lines.jsonl")
    lines.append({"a": 2})
    lines.close()
    assert (tmp_path / "lines.jsonl").read_bytes() == b'{"a": 1}\n{"a": 2}\n'


def test_a_folder_has_one_run_at_a_time_and_a_dead_one_leaves_it(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from cli.durable import locked\n"
        f"with locked(Path({str(tmp_path / '.lock')!r})):\n print('in', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"in\n"
    with pytest.raises(Usage, match="Another run works in"), locked(tmp_path / ".lock"):
        pass
    other.kill()
    other.wait()
    other.stdout.close()
    with locked(tmp_path / ".lock"):
        pass
    assert json.loads(as_line({"a": "ü"})) == {"a": "ü"}
