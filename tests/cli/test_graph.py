"""Nodes by title or id, values as their inputs take them, tables of rows."""

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from batches import ROOT
from fake_comfyui import GRAPH, INFO
from likeness.cli import graph as graphs
from likeness.cli.problems import Usage
from likeness.cli.run import planned, run
from likeness.cli.table import columns_of, read


def value_of(target, value):
    return graphs.input_of(GRAPH, INFO, target).takes(value).value


@pytest.mark.parametrize(
    "target, given, expected",
    [
        ("2.seed", "18446744073709551615", 2**64 - 1),
        ("Draw.seed", 3.0, 3),
        ("Draw.strength", "1", 1.0),
        ("Draw.strength", 2, 2.0),
        ("Draw.text", 5, "5"),
        ("Draw.on", "No", False),
        ("Draw.on", True, True),
        ("Draw.how", "b", "b"),
        ("Photograph, v1.2.image", "anna.jpg", "anna.jpg"),
    ],
)
def test_values_are_what_the_input_takes(target, given, expected):
    value = value_of(target, given)
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    "target, given, words",
    [
        ("Draw.seed", "3.5", "takes a whole number"),
        ("Draw.seed", True, "takes a whole number"),
        ("Draw.strength", "nan", "takes a number"),
        ("Draw.strength", "inf", "takes a number"),
        ("Draw.on", "maybe", "write true or false"),
        ("Draw.model", "x", r"comes from Photograph, v1.2 \(node 1\); set that node's"),
        ("Draw.sed", "1", "has no input 'sed'; it has: seed, text"),
        ("Drow.seed", "1", "No node has the id or the title 'Drow'; there are: 1 'Photograph, v1.2', 2 'Draw'"),
        ("seed", "1", "write TITLE_OR_ID.input"),
    ],
)
def test_what_cannot_be_set_is_said_in_a_sentence(target, given, words):
    with pytest.raises(Usage, match=words):
        value_of(target, given)


def test_a_title_that_two_nodes_have_needs_the_id():
    twice = {**GRAPH, "3": GRAPH["2"]}
    with pytest.raises(Usage, match="2 nodes are titled 'Draw'; say which one by its id: 2, 3"):
        graphs.find(twice, "Draw")
    assert graphs.find(twice, "3") == "3"


def test_a_class_that_the_server_lacks():
    with pytest.raises(Usage, match=r"no node class Draw, which Draw \(node 2\) needs"):
        graphs.input_of(GRAPH, {}, "Draw.seed")


def test_the_command_line_sets_values_with_equal_signs(tmp_path):
    graph = {"a=b": GRAPH["2"]}
    plan = planned(graph, INFO, ["a=b.text=one = 1", "a=b.seed=4"], [])
    assert plan.graph["a=b"]["inputs"] | {"model": 0} == {"seed": 4, "text": "one = 1", "model": 0}
    assert GRAPH["2"]["inputs"]["seed"] == 1
    for wrong in ("nothing", "=", "a=b.seed"):
        with pytest.raises(Usage):
            planned(graph, INFO, [wrong], [])


def test_an_uploaded_file_is_named_by_its_content(tmp_path):
    (tmp_path / "one.PNG").write_bytes(b"1")
    (tmp_path / "copy.png").write_bytes(b"1")
    (tmp_path / "other.png").write_bytes(b"2")
    plans = [planned(GRAPH, INFO, [], [f"1={tmp_path / name}"]) for name in ("one.PNG", "copy.png", "other.png")]
    assert plans[0].digest == plans[1].digest != plans[2].digest
    name = plans[0].graph["1"]["inputs"]["image"]
    assert (
        name.startswith("likeness-")
        and name.endswith(".png")
        and plans[0].uploads == {("1", "image"): tmp_path / "one.PNG"}
    )
    with pytest.raises(Usage, match="absent.png can't be read"):
        planned(GRAPH, INFO, [], ["1=absent.png"])
    with pytest.raises(Usage, match="takes no uploaded file"):
        planned(GRAPH, INFO, [], ["Draw=absent.png"])


@pytest.mark.parametrize(
    "content, words",
    [
        ("{", "is no JSON"),
        ("[1]", "is no workflow in API format"),
        ("{}", "is no workflow in API format"),
        ('{"1": {"class_type": "A", "inputs": []}}', "is no workflow in API format"),
        ('{"nodes": [], "links": []}', "a workflow of the page"),
        ("[" * 100_000, "is no JSON"),
        ('{"1": {"class_type": "\\ud800", "inputs": {}}}', "is no JSON"),
    ],
)
def test_files_that_are_no_workflow(tmp_path, content, words):
    (tmp_path / "w.json").write_text(content)
    with pytest.raises(Usage, match=words):
        graphs.load(tmp_path / "w.json")
    with pytest.raises(Usage, match="can't be opened"):
        graphs.load(tmp_path / "absent.json")


def table(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path / name


def test_three_forms_of_one_table(tmp_path):
    texts = table(tmp_path, "t.csv", '\ufeffkey,Draw.seed,note\none,1,"a, ""b"""\n\ntwo,,c\n')
    lines = table(
        tmp_path, "t.jsonl", '{"key": "one", "Draw.seed": 1, "note": "a, \\"b\\""}\n\n{"key":"two","note":"c"}\n'
    )
    columns = {"key": ["one", "two"], "Draw.seed": [1, None], "note": ['a, "b"', "c"]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    rows = [read(path) for path in (texts, lines, tmp_path / "t.parquet")]
    assert rows[1] == rows[2] and [row.key for row in rows[0]] == ["one", "two"]
    assert rows[0][0].cells == {"Draw.seed": "1", "note": 'a, "b"'} and rows[0][1].cells == rows[1][1].cells == {
        "note": "c"
    }
    assert columns_of(rows[0]) == ["Draw.seed", "note"]


def test_parquet_types_that_json_lacks_go_by_their_text(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"price": [Decimal("1.50")]}), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet")[0].cells == {"price": "1.50"}


def test_rows_without_keys_are_numbered(tmp_path):
    assert [row.key for row in read(table(tmp_path, "t.csv", "a\nx\ny\n"))] == ["00001", "00002"]
    assert [row.key for row in read(table(tmp_path, "t.csv", "a\nx\ny\n"), "a")] == ["x", "y"]


@pytest.mark.parametrize(
    "key",
    ["..", ".", "a/b", "a\\\\b", "/etc", "a.", "NUL", "com1.png", "a b", "a\\u0000", "manifest.jsonl", "a.PART",
     "x" * 101, "写" * 67, "\u0308a", "a\u202eb", "a\\ud800", "ｎｕｌ", "a／b", "．．"],
)  # fmt: skip
def test_keys_that_name_no_folder(tmp_path, key):
    with pytest.raises(Usage, match="Row 1 of t.jsonl has the key"):
        read(table(tmp_path, "t.jsonl", f'{{"key": "{key}"}}\n'))


def test_a_row_without_a_key_among_rows_with_one(tmp_path):
    for rows in ("key,a\nx,1\n,2\n", 'key,a\nx,1\n"",2\n'):
        with pytest.raises(Usage, match="Row 2 of t.csv has no key, which names its folder; give every row one"):
            read(table(tmp_path, "t.csv", rows))


def test_keys_are_words_of_any_script(tmp_path):
    keys = ["Müller", "写真", "मीरा-२", "Ёж_1", "写" * 66]
    assert [row.key for row in read(table(tmp_path, "t.csv", "\n".join(["key", *keys])))] == keys
    decomposed = table(tmp_path, "t.csv", "key\nMu\u0308ller\n")
    assert [row.key for row in read(decomposed)] == ["Müller"]


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("t.csv", "key\na\nA\n", "Rows 1 and 2 of t.csv have one key"),
        ("t.csv", "key\nMüller\nMU\u0308LLER\n", "Rows 1 and 2 of t.csv have one key"),
        ("t.csv", "a,a\n1,2\n", "the column 'a' twice"),
        ("t.csv", "a,b\n1\n", "Line 2 of .*t.csv has 1 cells under 2 columns"),
        ("t.csv", 'a\n"x\n', "is no CSV"),
        ("t.csv", "a\n", "has no rows"),
        ("t.jsonl", "{\n", "Line 1 of .*t.jsonl is no JSON"),
        ("t.jsonl", "[]\n", "must be an object"),
        ("t.jsonl", '{"a": {"b": 1}}\n', "must be an object"),
        ("t.jsonl", '{"a": NaN}\n', "Row 1 of t.jsonl has nan in 'a'"),
        ("t.parquet", "no parquet", "is no Parquet table"),
        ("t.txt", "", "is no table"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, name, content, words):
    with pytest.raises(Usage, match=words):
        read(table(tmp_path, name, content))
    with pytest.raises(Usage, match=r"can't be read|is no table"):
        read(Path(tmp_path / f"absent{name}"))


@pytest.mark.parametrize("package, words", [("pyarrow", "pip install pyarrow"), ("ray", "pip install ray")])
def test_what_is_optional_is_asked_for_when_it_is_missing(tmp_path, package, words):
    (tmp_path / "w.json").write_text(json.dumps(GRAPH))
    (tmp_path / "t.parquet").write_bytes(b"")
    call = {"pyarrow": f"read(Path({str(tmp_path / 't.parquet')!r}))", "ray": "engine('ray')"}[package]
    code = (
        f"import sys; sys.modules[{package!r}] = None; from pathlib import Path\n"
        f"from cli.table import read\nfrom cli.engines import engine\n{call}"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and words in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("text", ["nobody of that title.seed=7", "seed", "=5"])
def test_what_is_set_is_judged_before_any_server_is_asked(text):
    example = ROOT / "workflows/api/facelets_portrait.json"
    with pytest.raises(Usage):
        run(example, [text], [], ["http://127.0.0.1:9"], {}, None, False)
