"""`make demo`, as a newcomer runs it."""

import json
import subprocess
import sys

from comfy_process import ROOT
from PIL import Image


def demo(*arguments):
    command = [sys.executable, ROOT / "scripts/demo.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_the_demo_leaves_its_pictures_and_its_report(tmp_path):
    done = demo("--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 faces in t1.jpg" in done.stdout
    sizes = {path.name: Image.open(path).size for path in tmp_path.glob("*.png")}
    assert sizes == {"faces.png": (1280, 886), "control.png": (256, 256), "portraits.png": (1328, 606)}
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["faces"]) == 6 and set(report["seconds"]) == {"start", "portraits", "photograph"}
    scores = [judged["score"] for judged in report["likeness_of_each_face_to_the_largest"]]
    assert scores[0] > 0.98 and all(score is None or score < 0.9 for score in scores[1:])
    for drawn in report["portraits"]:
        person, plain = drawn["likeness"], drawn["likeness_of_the_prompt_alone"]
        assert person["score"] > plain["score"] + 0.1 and person["percent"] > plain["percent"], drawn


def test_a_photograph_that_is_none_is_one_sentence(tmp_path):
    (tmp_path / "words.jpg").write_text("not a picture")
    for path, words in ((tmp_path / "words.jpg", "is not a picture"), (tmp_path / "absent.jpg", "There is no file")):
        done = demo("--photo", path, "--out", tmp_path)
        assert done.returncode == 1 and words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr


def test_a_photograph_without_a_face_is_one_sentence(tmp_path):
    Image.new("RGB", (96, 72), "grey").save(tmp_path / "grey.png")
    done = demo("--photo", tmp_path / "grey.png", "--out", tmp_path)
    assert done.returncode == 1 and "No face was found in the image (96x72 pixels)" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
