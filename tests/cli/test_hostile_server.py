"""Servers that lie: names that lead elsewhere, answers of odd shapes, redirects, endless files, refusals."""

import io
import json

import pytest
from batches import records
from cli_cases import run_main
from fake_comfyui import GRAPH, SUCCESS, FakeServer
from hypothesis import given, settings
from hypothesis import strategies as st
from likeness.cli import server as servers
from likeness.cli.problems import Disk, Lost, Problem, Refused, Usage, shown
from likeness.cli.progress import PromptBar
from likeness.cli.results import collect, gate, scores, seconds
from likeness.cli.sentences import failure, refusal
from likeness.cli.server import Server, address_of

NAMES = (
    "../../evil.png", "/etc/passwd", "..\\..\\evil.exe", "C:\\evil.png", "a\0b.png", "evil.png/..", "..", ".", "",
    "a" * 5000, "x.png.part", ".bashrc", "evil.p/ng", "evil.\u202egnp", "nul", "a\nb.sh", "~/x", "-rf", "x.PNG",
)  # fmt: skip


@pytest.fixture
def fake():
    with FakeServer() as running:
        yield running


@pytest.fixture
def workflow(tmp_path):
    (tmp_path / "w.json").write_text(json.dumps(GRAPH))
    return tmp_path / "w.json"


def listed(names, **more):
    return {"2": {"images": [{"filename": name, "subfolder": "", "type": "output", **more} for name in names]}}


def everything_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("subfolder", ["", "../../..", "/etc", "a\\b", "\0"])
def test_no_name_of_a_server_leads_out_of_the_folder(fake, workflow, tmp_path, capsys, subfolder):
    fake.outputs, fake.files = listed(NAMES, subfolder=subfolder), {name: b"1" for name in NAMES} | {"": b"1"}
    code, found, _ = run_main(capsys, "run", workflow, "--server", fake.address, "--out", tmp_path / "deep/out")
    assert code == 0 and len(found["files"]) == len(NAMES)
    [prompt_id] = fake.prompts
    assert everything_below(tmp_path) == sorted(
        ["deep", "deep/out", f"deep/out/{prompt_id}", "w.json"]
        + [f"deep/out/{prompt_id}/{file['path'].rpartition('/')[2]}" for file in found["files"]]
    )
    assert {file["path"].rpartition("/")[2].partition(".")[0].rpartition("-")[0] for file in found["files"]} == {
        "2-draw"
    }


@settings(max_examples=15, deadline=None)
@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), min_size=1, max_size=6), st.text(max_size=20))
def test_names_of_ours_are_plain_and_each_its_own(tmp_path_factory, titles, filename):
    folder = tmp_path_factory.mktemp("names")
    graph = {node_id: {"class_type": "A", "inputs": {}, "_meta": {"title": title}} for node_id, title in titles.items()}
    outputs = {node_id: listed([filename])["2"] for node_id in graph}

    class Reached:
        @staticmethod
        def download(*place):
            return [b"1"]

    files = collect(Reached, graph, {"outputs": outputs}, folder / "row")
    paths = [folder / file["path"] for file in files]
    assert len(set(paths)) == len(graph) and all(path.resolve().parent == folder.resolve() / "row" for path in paths)
    assert all(path.is_file() for path in paths) and len(everything_below(folder)) == len(graph) + 1


def test_a_saved_identity_keeps_its_ending(tmp_path):
    class Reached:
        @staticmethod
        def download(*place):
            return [b"1"]

    graph = {"2": {"class_type": "SaveIdentity", "inputs": {}}}
    [file] = collect(Reached, graph, {"outputs": listed(["anna.safetensors"])}, tmp_path / "row")
    assert file["path"].endswith(".safetensors")


def test_what_stays_at_the_server_is_named_by_an_address_without_anything_odd(fake, workflow, capsys):
    fake.outputs = listed(["a b.png", "../\x1b[2J&写.png"])
    code, found, _ = run_main(capsys, "run", workflow, "--server", fake.address)
    assert code == 0 and [file["title"] for file in found["files"]] == ["Draw", "Draw"]
    assert [file["url"] for file in found["files"]] == [
        f"{fake.address}/view?filename={name}&subfolder=&type=output"
        for name in ("a+b.png", "..%2F%1B%5B2J%26%E5%86%99.png")
    ]


def test_links_in_the_way_are_not_followed(fake, workflow, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("kept")
    row = tmp_path / "out/row"
    row.mkdir(parents=True)
    (row / "2-draw-1.png").symlink_to(outside / "kept.txt")
    (row / "2-draw-1.png.part").symlink_to(outside / "new.txt")
    entry = {"outputs": listed(["x.png"]), "status": SUCCESS}
    with Server(fake.address) as server:
        [file] = collect(server, GRAPH, entry, row)
        assert (tmp_path / "out" / file["path"]).read_bytes() == b"picture" and not (row / "2-draw-1.png").is_symlink()
        (tmp_path / "out/link").symlink_to(outside)
        with pytest.raises(Disk, match="is a link"):
            collect(server, GRAPH, entry, tmp_path / "out/link")
        (tmp_path / "out/file").write_text("")
        with pytest.raises(Disk, match="is in the way"):
            collect(server, GRAPH, entry, tmp_path / "out/file")
    assert everything_below(outside) == ["kept.txt"] and (outside / "kept.txt").read_text() == "kept"


@pytest.mark.parametrize(
    "outputs",
    [
        None, [], {"2": None}, {"2": {"images": None}}, {"2": {"images": {}}}, {"2": {"images": [None, 1, "x"]}},
        {"2": {"images": [{"filename": 5, "type": "output"}]}}, {"2": {"images": [{"filename": "x.png"}]}},
        {"2": {"images": [{"filename": "x.png", "subfolder": [], "type": "output"}]}}, {"9": listed(["x.png"])["2"]},
        {"2": {"images": [{"filename": "x.png", "type": "input"}, {"filename": "x.png", "type": ["output"]}]}},
        {"2": {"scores": "x", "report": 5}}, {"2": {"scores": ["x", None], "report": [5]}},
        {"2": {"scores": [], "report": ["{"]}}, {"2": {"scores": [], "report": ['{"images": [5, {"outcome": {}}]}']}},
        {"2": {"scores": [], "report": ['{"images": 7}']}}, {"2": {"scores": [], "report": ["[" * 100000]}},
    ],
)  # fmt: skip
def test_odd_histories_hold_nothing(fake, workflow, tmp_path, capsys, outputs):
    fake.outputs = outputs
    code, found, said = run_main(capsys, "run", workflow, "--server", fake.address, "--out", tmp_path / "out")
    assert code == 0 and found["files"] == [] and found["gate"] is None and said == ""


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "\ud800", {"deep": [float("nan")]}, None])
def test_values_that_no_manifest_can_hold_are_left_out(fake, workflow, tmp_path, capsys, value):
    report = json.dumps({"threshold": value, "images": [{"outcome": value}]})
    fake.outputs = {"2": {**listed(["x.png"])["2"], "scores": [value, 0.5], "report": [report]}}
    (tmp_path / "t.csv").write_text("key,Draw.text\nb,\na,ü\n", encoding="utf-8")
    code, found, _ = run_main(capsys, "run", workflow, "--server", fake.address)
    assert code == 0 and found["scores"]["2"] == {"title": "Draw", "scores": [0.5], "threshold": None, "outcomes": []}
    code, _, said = run_main(
        capsys, "batch", tmp_path / "t.csv", workflow, "--out", tmp_path / "out", "--server", fake.address
    )
    assert (
        code == 0
        and said == ""
        and [line["scores"]["2"]["scores"] for line in records(tmp_path / "out")] == [[0.5]] * 2
    )


def test_a_name_in_half_letters_is_one_sentence(fake, workflow, tmp_path, capsys):
    fake.outputs = listed(["\ud800.png"])
    code, _, said = run_main(capsys, "run", workflow, "--server", fake.address, "--out", tmp_path / "out")
    assert code == 1 and said == f"{fake.address} names a file in letters that can't be sent back.\n"


@pytest.mark.parametrize(
    "start, end, expected", [(1000, 3500, 2.5), (5000, 1000, None), ("a", 2, None), (1, None, None)]
)
def test_seconds_by_the_server_s_clock(start, end, expected):
    said = [["execution_start", {"timestamp": start}], 5, ["execution_success", {"timestamp": end}]]
    assert seconds({"status": {"messages": said}}) == expected
    assert seconds({}) is None


def test_scores_and_the_gate():
    def entry(*outcomes):
        report = {"threshold": 0.5, "images": [{"outcome": outcome} for outcome in outcomes]}
        return {"outputs": {"2": {"scores": [0.75], "report": [json.dumps(report)]}}}

    found = scores(entry("accepted", "skipped"), GRAPH)
    assert found == {"2": {"title": "Draw", "scores": [0.75], "threshold": 0.5, "outcomes": ["accepted", "skipped"]}}
    gates = [
        gate(scores(entry(*outcomes), GRAPH)) for outcomes in (["accepted"], ["accepted", "rejected"], ["skipped"], [])
    ]
    assert gates == ["accepted", "rejected", "skipped", None] and gate(found) == "skipped" and gate({}) is None


@pytest.mark.parametrize(
    "status, headers, body, words",
    [
        (302, {"Location": "http://127.0.0.1:1/\x1b[2J"}, b"", "points elsewhere .*, and that is not followed"),
        (401, {}, b"", "wants a login"),
        (500, {}, b"", "answers 500"),
        (200, {}, b"<html>", "something else than JSON"),
        (200, {}, b"[" * 100_000, "something else than JSON"),
        (200, {}, b"[]", "unexpected JSON"),
        (200, {"Content-Length": "999"}, b"{", "broke off"),
    ],
)
def test_answers_that_are_none_of_a_comfyui(fake, workflow, capsys, status, headers, body, words):
    fake.routes["/system_stats"] = status, headers, body
    code, found, said = run_main(capsys, "run", workflow, "--server", fake.address)
    assert code == 4 and found is None and said.count("\n") == 1 and "\x1b" not in said
    with pytest.raises(Lost, match=words), Server(fake.address) as server:
        server.check()


def test_a_broken_or_endless_download_leaves_no_file(fake, tmp_path, monkeypatch):
    entry = {"outputs": listed(["x.png"]), "status": SUCCESS}
    with Server(fake.address) as server:
        fake.routes["/view"] = 200, {"Content-Length": "999"}, b"half"
        with pytest.raises(Lost, match="broke off"):
            collect(server, GRAPH, entry, tmp_path / "row")
        monkeypatch.setattr(servers, "LARGEST_FILE", 10)
        fake.routes["/view"] = 200, {}, b"1" * 11
        with pytest.raises(Problem, match="more than 10 bytes"):
            collect(server, GRAPH, entry, tmp_path / "row")
        monkeypatch.setattr(servers, "LARGEST_ANSWER", 10)
        fake.routes["/queue"] = 200, {}, b"{" + b" " * 20 + b"}"
        with pytest.raises(Problem, match="more than 10 bytes"):
            server.find("x")
        del fake.routes["/view"]
        fake.files.clear()
        with pytest.raises(Problem, match=r"no longer has x.png \(404\)"):
            collect(server, GRAPH, entry, tmp_path / "row")
    assert everything_below(tmp_path) == ["row"]


def test_a_server_that_runs_a_part_of_the_graph_is_stopped(fake):
    fake.answer = {
        "node_errors": {"2": {"errors": [{"type": "x", "message": "Bad", "details": "seed", "extra_info": {}}]}}
    }
    with Server(fake.address) as server, pytest.raises(Refused, match=r"Draw \(node 2\): bad: seed\."):
        server.queue(GRAPH, "id")
    assert ("/interrupt", b'{"prompt_id": "id"}') in fake.posts and ("/queue", b'{"delete": ["id"]}') in fake.posts


def test_a_prompt_is_taken_back_in_one_step_where_the_server_can(fake):
    fake.routes["/api/jobs/id/cancel"] = 200, {}, b'{"cancelled": true}'
    with Server(fake.address) as server:
        server.withdraw("id")
    assert [path for path, _ in fake.posts] == ["/api/jobs/id/cancel"]


def test_a_server_with_ids_of_its_own_is_refused(fake, workflow, capsys):
    fake.answer = {"prompt_id": "another"}
    code, _, said = run_main(capsys, "run", workflow, "--server", fake.address)
    assert code == 3 and "gives prompts ids of its own" in said


@pytest.mark.parametrize("error", [{}, None, "text", 5, {"message": 5}, {"message": "x", "details": None}])
@pytest.mark.parametrize("node_errors", [None, [], {}, {"2": None}, {"2": {"errors": [None]}}, {"9": {"errors": [{}]}}])
def test_odd_refusals_are_sentences(fake, workflow, capsys, error, node_errors):
    fake.refusal = {"error": error, "node_errors": node_errors}
    code, _, said = run_main(capsys, "run", workflow, "--server", fake.address)
    assert code == 3 and said.endswith((".\n", "?\n"))


def test_refusals_name_node_input_and_reason():
    def errors(*complaints):
        keys = ("type", "message", "details", "extra_info")
        return {"errors": [dict(zip(keys, (*c[:3], {"input_name": c[3]}), strict=True)) for c in complaints]}

    nodes = {
        "1": errors(
            ("custom_validation_failed", "Custom validation failed for node", "image - Not there; put it.", "image"),
            ("custom_validation_failed", "Custom validation failed for node", "other - Not there; put it.", "other"),
        ),
        "2": errors(
            ("required_input_missing", "Required input is missing", "seed", None),
            ("value_not_in_list", "Value not in list", "how: 'c' not in ['a']", "how"),
            ("value_bigger_than_max", "Value 9 bigger than max of 8", "seed", "seed"),
            ("x", "Evil\x1b]0;\x07\n", "y" * 5000, None),
        ),
    }
    lines = refusal(GRAPH, {"error": {"message": "Prompt outputs failed validation"}, "node_errors": nodes}).split("\n")
    assert lines[:4] == [
        "Photograph, v1.2 (node 1): Not there; put it.",
        "Draw (node 2), input seed: required input is missing.",
        "Draw (node 2), input how: value not in list: 'c' not in ['a'].",
        "Draw (node 2), input seed: value 9 bigger than max of 8.",
    ]
    assert len(lines) == 5 and lines[4].isprintable() and len(lines[4]) < 700
    missing = {"error": {"message": "Cannot execute because node X does not exist.", "details": "Node ID '#1'"}}
    assert refusal(GRAPH, missing) == "Cannot execute because node X does not exist.: Node ID '#1'."


@pytest.mark.parametrize(
    "status, words",
    [
        ({"completed": False, "messages": [["execution_error", {"node_id": "2", "exception_message": "No face.\n"}]]},
         "Draw (node 2): No face."),
        ({"completed": False, "messages": [["execution_interrupted", {"node_id": "2"}]]},
         "Stopped in Draw (node 2) by somebody at the server."),
        ({"completed": False, "messages": [5, [], ["execution_error", None]]}, "an unknown node (node None):."),
        (None, "The server did not complete it and does not say why; its log does."),
    ],
)  # fmt: skip
def test_failures_are_sentences(fake, workflow, capsys, status, words):
    fake.status = status
    assert failure(GRAPH, {"status": status}) == words and failure(GRAPH, {"status": SUCCESS}) is None
    code, _, said = run_main(capsys, "run", workflow, "--server", fake.address)
    assert code == 1 and said == words + "\n"


def test_progress_is_one_line_whatever_a_server_says(fake, workflow, capsys, monkeypatch):
    fake.events = [
        {"type": "execution_cached", "data": {"nodes": ["1", 5]}},
        {"type": "executing", "data": {"node": "2"}},
        {"type": "progress", "data": {"node": "2", "value": 3, "max": 4}},
        {"type": "progress", "data": {"node": "2", "value": "\x1b[2J", "max": None}},
        {"type": "executing", "data": {"node": "\x1b[2J" * 100}},
        {"type": "executing", "data": {"node": None}},
    ]
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", screen)
    with Server(fake.address) as server:
        server.listen()
        server.queue(GRAPH, "id")
        fake.history.pop("id")
        fake.waiting.append("id")
        seen, bar = [], PromptBar(GRAPH)

        def show(event, data):
            bar(event, data)
            bar._bar.refresh()
            seen.append(event)
            if event == "executing" and data["node"] is None:
                fake.history["id"] = {"status": SUCCESS, "outputs": {}}

        assert server.wait("id", show)["status"] == SUCCESS and len(seen) == len(fake.events)
    bar.close()
    lines = screen.getvalue().split("\r")
    assert any(" 1/2 " in one and one.rstrip().endswith("Draw 3/4]") for one in lines) and not lines[-2].strip()
    assert all(one.isprintable() and len(one) < 150 for one in lines)


@pytest.mark.parametrize(
    "text, address",
    [
        ("localhost:8188", "http://localhost:8188"),
        ("https://a.b/comfy/", "https://a.b/comfy"),
        ("[::1]:1", "http://[::1]:1"),
    ],
)
def test_addresses(text, address):
    assert address_of(text) == address


@pytest.mark.parametrize("text", ["", "ftp://a", "http://", "http://a:port", "http://me:secret@a", "http://a/?token=1"])
def test_what_is_no_address_or_holds_a_secret(text):
    with pytest.raises(Usage) as caught:
        address_of(text)
    assert "secret" not in str(caught.value)


def test_a_header_goes_with_every_request(fake, workflow, capsys):
    code, found, _ = run_main(capsys, "run", workflow, "--server", fake.address, "--header", "X-Key: a:b")
    assert code == 0 and "X-Key" not in json.dumps(found)
    assert len(fake.keys) > 4 and set(fake.keys) == {"a:b"}
    code, _, said = run_main(capsys, "run", workflow, "--server", fake.address, "--header", "no colon")
    assert code == 2 and said == "--header takes 'NAME: VALUE'.\n"


def test_text_of_others_is_shown_on_one_short_line():
    assert shown("a\x1b[31m\n\tb\u202e c") == "a [31m b c" and len(shown("x" * 10_000)) == 603
