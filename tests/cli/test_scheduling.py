"""Which row goes where: servers that die, forget, refuse, are interrupted, come back; what is found again."""

import json
import signal
import threading
import time

import pytest
from batches import command, records
from cli_cases import run_main, the_other_threads_end
from fake_comfyui import GRAPH, SUCCESS, FakeServer
from full_disk import full_disk
from likeness.cli.batch import MANIFEST, QUEUED, Options, batch
from likeness.cli.durable import as_line
from likeness.cli.problems import Disk, Lost, Usage

INTERRUPTED = {"completed": False, "messages": [["execution_interrupted", {"node_id": "2"}]]}
BROKEN = {"completed": False, "messages": [["execution_error", {"node_id": "2", "exception_message": "No face."}]]}
NOWHERE = "http://127.0.0.1:9"  # nobody listens there


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """The waits that are meant for networks, shortened."""
    monkeypatch.setattr("likeness.cli.server._GRACE", 0.5)
    monkeypatch.setattr("likeness.cli.attempt._SETTLE", 0.2)
    monkeypatch.setattr("likeness.cli.attempt._AGAIN", 0.1)


@pytest.fixture
def fake():
    with FakeServer() as running:
        yield running


@pytest.fixture
def second():
    with FakeServer() as running:
        yield running


@pytest.fixture
def files(tmp_path):
    (tmp_path / "w.json").write_text(json.dumps(GRAPH))
    (tmp_path / "t.csv").write_text("key,Draw.seed,note\n" + "".join(f"r{row},{row},n{row}\n" for row in range(6)))
    return tmp_path / "t.csv", tmp_path / "w.json", tmp_path / "out"


def options(*servers, **more):
    return Options(
        [server if isinstance(server, str) else server.address for server in servers], **{"patience": 0, **more}
    )


def seeds(fake):
    return sorted(graph["2"]["inputs"]["seed"] for graph in fake.prompts.values())


def test_every_row_once_and_a_manifest_in_order(files, fake):
    counts = batch(*files, options(fake))
    assert counts == {"rows": 6, "done": 6, "failed": 0, "accepted": 0, "rejected": 0, "skipped": 0,
                      "manifest": str(files[2] / MANIFEST)}  # fmt: skip
    lines = records(files[2])
    assert [line["row"] for line in lines] == [f"r{row}" for row in range(6)] and seeds(fake) == list(range(6))
    assert lines[2]["inputs"] == {"Draw.seed": "2"} and lines[2]["table"] == {"note": "n2"}
    assert lines[2]["server"] == fake.address and fake.prompts[lines[2]["prompt_id"]]["2"]["inputs"]["seed"] == 2
    assert (files[2] / lines[2]["files"][0]["path"]).read_bytes() == b"picture" and not (files[2] / QUEUED).exists()
    batch(*files, options(fake))
    assert records(files[2]) == lines and len(fake.prompts) == 6


def test_what_changed_is_done_again_and_nothing_else(files, fake):
    batch(*files, options(fake))
    table, _, out = files
    (out / "r1/2-draw-1.png").write_bytes(b"damaged")
    (out / "r2/2-draw-1.png").unlink()
    table.write_text(table.read_text().replace("r3,3", "r3,33") + "r6,6,new\n")
    batch(*files, options(fake))
    assert seeds(fake) == [0, 1, 1, 2, 2, 3, 4, 5, 6, 33] and [line["row"] for line in records(out)][-1] == "r6"
    assert all((out / f"r{row}/2-draw-1.png").read_bytes() == b"picture" for row in range(7))


def test_a_prompt_from_before_a_kill_is_found_again(files, fake):
    """Row 0 is finished there, 1 still waits, 2 was never queued; 3 was queued for other work."""
    batch(*files, options(fake))
    out, lines = files[2], records(files[2])
    (out / MANIFEST).write_bytes(b"".join(map(as_line, lines[4:])) + b'{"row": "r0", "sta')
    queued = [{**{key: line[key] for key in ("row", "work", "server", "prompt_id")}} for line in lines[:4]]
    queued[2]["prompt_id"], queued[3]["work"] = "never", "other"
    (out / QUEUED).write_bytes(b"".join(map(as_line, queued)) + b'{"row"')
    waiting = lines[1]["prompt_id"]
    entry = fake.history.pop(waiting)
    fake.waiting.append(waiting)
    threading.Timer(1.5, lambda: fake.history.update({waiting: entry})).start()
    batch(*files, options(fake))
    assert seeds(fake) == [0, 1, 2, 2, 3, 3, 4, 5]
    again = records(out)
    assert [one["prompt_id"] == other["prompt_id"] for one, other in zip(again, lines, strict=True)] == [
        True, True, False, False, True, True]  # fmt: skip


def test_rows_of_a_server_that_is_gone_go_to_another(files, fake, second):
    second.forgets = True
    batch(*files, options(fake, second, tries=20))
    assert all(line["status"] == "done" and line["server"] == fake.address for line in records(files[2]))


@pytest.mark.parametrize("patience", [0, 5])  # with 5 it is knocked at until the other one is done
def test_a_server_that_is_away_is_said_once_while_another_works(files, fake, capsys, patience):
    batch(*files, options(NOWHERE, fake, patience=patience))
    said = capsys.readouterr().err.splitlines()
    assert len(records(files[2])) == 6
    assert said.count(f"{NOWHERE} does not answer; start ComfyUI there, or correct the address.") == 1


def test_keys_and_titles_of_any_script_name_folders_and_files(files, fake, capsys):
    table, workflow, out = files
    table.write_text("key,写真.seed\nMüller,1\n写真,2\n", encoding="utf-8")
    workflow.write_text(json.dumps({**GRAPH, "2": {**GRAPH["2"], "_meta": {"title": "写真"}}}))
    code, found, said = run_main(capsys, "batch", table, workflow, "--out", out, "--server", fake.address)
    assert code == 0 and found["done"] == 2
    for key, line in zip(("Müller", "写真"), records(out), strict=True):
        assert line["row"] == key and line["files"][0]["path"] == f"{key}/2-写真-1.png"
        assert (out / line["files"][0]["path"]).read_bytes() == b"picture"
    assert said == ""  # no terminal, and nothing took ten seconds


def test_no_server_at_all_loses_nothing(files, fake, capsys):
    code, found, said = run_main(capsys, "batch", *files[:2], "--out", files[2], "--server", NOWHERE, "--patience", 0)
    assert (
        code == 4
        and found is None
        and said == f"{NOWHERE} does not answer; start ComfyUI there, or correct the address.\n"
    )
    take = fake.take

    def dies(body):
        if len(fake.prompts) == 3:
            fake.routes.update(
                {path: (500, {}, b"") for path in ("/prompt", "/queue", "/system_stats", "/upload/image")}
            )
            return 500, {}
        return take(body)

    fake.take = dies
    with pytest.raises(Lost, match=r"answers 500\.\n3 rows are left; start a server"):
        batch(*files, options(fake, ahead=1))
    assert len(records(files[2])) == 3
    fake.routes.clear()
    fake.take = take
    batch(*files, options(fake))
    assert seeds(fake) == list(range(6)) and len(records(files[2])) == 6


def test_a_server_that_comes_back_goes_on(files, fake):
    take = fake.take

    def away(body):
        fake.take = take
        fake.routes["/system_stats"] = fake.routes["/queue"] = 502, {}, b""
        threading.Timer(1.5, fake.routes.clear).start()
        return 502, {}

    fake.take = away
    batch(*files, options(fake, patience=30))
    assert seeds(fake) == list(range(6)) and all(line["status"] == "done" for line in records(files[2]))


def test_a_row_under_which_servers_fail_is_given_up(files, fake, capsys):
    fake.forgets = True
    files[0].write_text("key,Draw.seed\na,1\n")
    counts = batch(*files, options(fake, tries=2))
    [line] = records(files[2])
    assert counts["failed"] == 1 and len(fake.prompts) == 2
    assert f"{line['row']}: {line['error']}" in capsys.readouterr().err.splitlines()
    assert line["error"].startswith("Given up after 2 tries: ") and "lost the prompt" in line["error"]


def test_an_interrupted_row_is_tried_again(files, fake):
    take = fake.take

    def interrupted(body):
        answer = take(body)
        if len(fake.prompts) == 1:
            fake.history[body["prompt_id"]]["status"] = INTERRUPTED
            fake.history[body["prompt_id"]]["outputs"] = {}
        return answer

    fake.take = interrupted
    batch(*files, options(fake))
    assert len(fake.prompts) == 7 and {line["status"] for line in records(files[2])} == {"done"}


def test_a_row_that_one_server_refuses_is_for_another(files, fake, second):
    second.refusal = {"error": {"message": "No model"}, "node_errors": {}}
    batch(*files, options(second, fake))
    assert {line["server"] for line in records(files[2])} == {fake.address} and len(fake.prompts) == 6
    fake.refusal = {"error": {"message": "Bad value"}, "node_errors": {}}
    counts = batch(*files[:2], files[2].with_name("again"), options(second, fake, NOWHERE))
    assert counts["failed"] == 6 and {line["error"] for line in records(files[2].with_name("again"))} <= {
        "No model.",
        "Bad value.",
    }


def test_rows_that_fail_by_themselves_stop_nobody(files, fake, capsys, monkeypatch):
    table, workflow, out = files
    (table.parent / "anna.jpg").write_bytes(b"anna")
    table.write_text('key,"Photograph, v1.2.image",Draw.seed\na,anna.jpg,1\nb,absent.jpg,2\nc,,x\nd,,4\n')
    take = fake.take

    def breaks(body):
        answer = take(body)
        if body["prompt"]["2"]["inputs"]["seed"] == 4:
            fake.history[body["prompt_id"]].update(status=BROKEN, outputs={})
        return answer

    fake.take = breaks
    arguments = ("batch", table, workflow, "--out", out, "--server", fake.address)
    monkeypatch.setattr("likeness.cli.progress._EVERY", 0.0)  # as after ten seconds
    code, counts, said = run_main(capsys, *arguments)
    lines = records(out)
    assert (
        code == 1
        and (counts["done"], counts["failed"]) == (1, 3)
        and "| 4/4 [" in said
        and said.endswith("3 failed]\n")
    )
    assert [line["error"] for line in lines][2:] == [
        "seed of Draw (node 2) is 'x', but it takes a whole number.", "Draw (node 2): No face."]  # fmt: skip
    assert lines[1]["error"].endswith(
        "absent.jpg can't be read (No such file or directory); put it there or correct the path."
    )
    [(name, content)] = fake.uploads.items()
    assert content == b"anna" and fake.prompts[lines[0]["prompt_id"]]["1"]["inputs"]["image"] == name
    assert run_main(capsys, *arguments)[0] == 1 and len(fake.prompts) == 2
    fake.take = take
    assert run_main(capsys, *arguments, "--retry-failed")[1]["done"] == 2 and len(fake.prompts) == 3


def goes_away(fake, seconds):
    """Let a server take one prompt, which waits there, and be out of reach for a while. It has no WebSocket, so that
    this is noticed at once."""
    take = fake.take
    fake.routes["/ws"] = 404, {}, b""

    def first(body):
        fake.take = take
        answer = take(body)
        fake.waiting.append(body["prompt_id"])
        fake.history.clear()
        fake.routes.update(dict.fromkeys(("/system_stats", "/queue", f"/history/{body['prompt_id']}"), (502, {}, b"")))
        threading.Timer(seconds, fake.routes.clear).start()
        return answer

    fake.take = first


def test_a_prompt_that_outlived_an_outage_is_waited_for(files, fake):
    files[0].write_text("key,Draw.seed\na,1\n")
    goes_away(fake, 1.5)

    def finishes():
        fake.history[fake.waiting.pop()] = {"outputs": fake.outputs, "status": SUCCESS}

    threading.Timer(2.5, finishes).start()
    batch(*files, options(fake, patience=20))
    [line], [prompt_id] = records(files[2]), fake.prompts
    assert line["status"] == "done" and line["prompt_id"] == prompt_id


def test_a_prompt_is_stopped_where_its_row_is_done_elsewhere(files, fake, second):
    """`second` takes the row and is away; when it is back it still has it, and the row is with `fake`."""
    files[0].write_text("key,Draw.seed\na,1\n")
    goes_away(second, 1.5)
    fake.routes["/system_stats"] = 502, {}, b""
    taken, take = second.take, fake.take

    def takes(body):
        fake.routes.clear()
        return taken(body)

    def stopped():
        return [json.loads(body)["prompt_id"] for path, body in second.posts if path == "/interrupt"]

    def slow(body):
        deadline = time.monotonic() + 15
        while not stopped() and time.monotonic() < deadline:
            time.sleep(0.05)
        return take(body)

    second.take, fake.take = takes, slow
    batch(*files, options(second, fake, patience=20))
    [line], [ghost] = records(files[2]), second.prompts
    assert line["status"] == "done" and line["server"] == fake.address and stopped() == [ghost]


def test_a_run_that_is_stopped_takes_its_prompt_along(files, fake):
    take = fake.take

    def waits(body):
        answer = take(body)
        fake.waiting.append(body["prompt_id"])
        fake.history.clear()
        return answer

    fake.take = waits
    process = command("run", files[1], "--server", fake.address)
    deadline = time.monotonic() + 30
    while not fake.waiting and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and said == "Stopped.\n"
    assert ("/queue", json.dumps({"delete": fake.waiting}).encode()) in fake.posts


@pytest.mark.parametrize(
    "head, words",
    [
        ("key,Drow.seed", "No node has the id or the title 'Drow'"),
        ("key,Draw.sed", "has no input 'sed'"),
        ("key,Draw.model", "comes from Photograph"),
    ],
)
def test_wrong_columns_are_said_before_anything_runs(files, fake, head, words):
    files[0].write_text(f"{head}\na,1\n")
    with pytest.raises(Usage, match=words):
        batch(*files, options(fake))
    assert not fake.prompts and not (files[2] / MANIFEST).exists()


def test_the_threshold_is_set_in_every_gate(files, fake):
    with pytest.raises(Usage, match="--threshold is for IDSimilarity nodes"):
        batch(*files, options(fake, threshold=0.5))
    gate = {"class_type": "IDSimilarity", "inputs": {"threshold": 0.0}}
    files[1].write_text(json.dumps({**GRAPH, "3": gate, "4": gate}))
    files[0].write_text("key,4.threshold\na,0.25\nb,\n")
    batch(*files, options(fake, threshold=0.5))
    found = [tuple(graph[node]["inputs"]["threshold"] for node in "34") for graph in fake.prompts.values()]
    assert sorted(found) == [(0.5, 0.25), (0.5, 0.5)]


def test_a_folder_that_cannot_be_written_ends_the_batch(files, fake):
    files[2].mkdir()
    (files[2] / "r0").write_text("in the way")
    with pytest.raises(Disk, match="r0 is in the way"):
        batch(*files, options(fake))


@pytest.mark.parametrize("room", [100, 50_000], ids=["for no line", "for no picture"])
def test_a_full_disk_ends_the_batch_and_with_room_it_goes_on(files, fake, capsys, room):
    fake.files["x.png"] = b"picture" * 10_000
    told = ("batch", *files[:2], "--out", files[2], "--server", fake.address)
    with full_disk(room):
        code, found, said = run_main(capsys, *told)
        the_other_threads_end()
    assert code == 5 and found is None and said.count("\n") == 1
    assert "can't be written (File too large); make room or correct its rights." in said
    assert {path.name for path in files[2].rglob("*") if path.is_file()} <= {".lock", MANIFEST, QUEUED}
    code, counts, _ = run_main(capsys, *told)
    assert (
        code == 0
        and counts["done"] == 6
        and [line["row"] for line in records(files[2])] == [f"r{row}" for row in range(6)]
    )
    assert not list(files[2].rglob("*.part"))


def test_a_run_whose_disk_is_full_or_whose_server_dies_says_so(files, fake, capsys):
    fake.files["x.png"] = b"picture" * 10_000
    told = ("run", files[1], "--out", files[2], "--server", fake.address)
    with full_disk(1000):
        code, found, said = run_main(capsys, *told)
    assert code == 5 and found is None and said.endswith("can't be written (File too large); make room or correct its "
                                                         "rights.\n")  # fmt: skip
    assert not [path for path in files[2].rglob("*") if path.is_file()]
    goes_away(fake, 60)
    code, found, said = run_main(capsys, *told)
    assert code == 4 and found is None and said == f"{fake.address} answers 502.\n"


def test_a_picture_that_changes_meanwhile_is_not_uploaded_as_the_old_one(files, fake):
    table = files[0]
    (table.parent / "anna.jpg").write_bytes(b"anna")
    table.write_text("key,1.image\na,anna.jpg\n")
    get = fake.get

    def changes(path, query):
        if path == "/system_stats" and (files[2] / QUEUED).exists():
            (table.parent / "anna.jpg").write_bytes(b"berta")
        return get(path, query)

    fake.get = changes
    batch(*files, options(fake))
    [line] = records(files[2])
    assert "was changed while the batch ran" in line["error"] and not fake.uploads
