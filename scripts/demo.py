"""`make demo`: a portrait and a prompt become pictures of the same person, and a photograph is read, in a real ComfyUI.

    python scripts/demo.py [--photo path] [--out out]

Two graphs are posted to ComfyUI with the pack in it. The first reads a photograph with the embedded encoder: its faces,
how alike they are, and the pose of the largest. Into the second, workflows/api/facelets_portrait.json, go the portrait
of a drawn person, a prompt that says otherwise and a pose, and Facelets, the tiny generator that ships, draws.
In out/: portraits.png, faces.png (the photograph with boxes and landmarks), control.png (its pose) and report.json.
"""

import argparse
import importlib.util
import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from comfy_server import ComfyError, ComfyServer, find_comfyui, prepare_base_directory
from facelets.world import Look, draw, sample_identity, sample_pose
from PIL import Image, ImageDraw, UnidentifiedImageError

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = ROOT / "workflows/api"
PERSON = 8  # seeds of somebody whom no training saw, and of the poses to take
REFERENCE = Look("black", "short", "curly", "none", "red", "none", "none", "none", "brown", "smiling", "teal", "flat")
PICTURES = (  # seed of the pose, prompt
    (18, "a flat portrait of a person, long straight red hair, earrings, a green hat, laughing, yellow background"),
    (15, "a flat portrait of a person, long straight blue hair, no hat, glasses, smiling, purple background"),
)
COLUMNS = ("reference", "pose", "landmarks", "prompt alone", "the person")
CELL, GAP, LINE = 256, 8, 26  # pixels of the sheet


def default_photograph():
    """The group photograph that the insightface wheel carries; the package itself is not imported."""
    package = importlib.util.find_spec("insightface").submodule_search_locations[0]
    return Path(package) / "data/images/t1.jpg"


def checked_photograph(path):
    try:
        with Image.open(path) as picture:
            picture.verify()
    except FileNotFoundError:
        sys.exit(f"There is no file {path}; give a photograph with PHOTO=path/to/photograph.jpg.")
    except (UnidentifiedImageError, OSError, SyntaxError):
        sys.exit(f"{path} is not a picture that can be read; give a JPEG or PNG with PHOTO=path/to/photograph.jpg.")
    return path


def node_of(graph, class_type):
    return next(node_id for node_id, node in graph.items() if node["class_type"] == class_type)


def workflow(name):
    return json.loads((WORKFLOWS / f"{name}.json").read_text())


def drawn(folder, seed, look=REFERENCE):
    """A portrait as a file: of PERSON in front of the viewer, or with another seed of anybody in any pose."""
    rng = np.random.default_rng([2026, seed])
    path = folder / f"portrait_{seed}.png"
    Image.fromarray(draw(sample_identity(rng), look, sample_pose(rng)).image).save(path)
    return path


def portrait_graph(reference, pose, prompt):
    """The example with portraits from files in place of one that it draws itself, and the prompt without the person."""
    graph = workflow("facelets_portrait")
    for drawing in ("2", "5", "6"):
        del graph[drawing]
    for name, title, file in (("reference", "Reference", reference), ("pose", "Pose", pose)):
        graph[name] = {"class_type": "LoadImage", "inputs": {"image": file}, "_meta": {"title": title}}
    for reader in ("DetectFaces", "EncodeIdentity"):
        graph[node_of(graph, reader)]["inputs"]["image"] = ["reference", 0]
    graph[node_of(graph, "LandmarkControl")]["inputs"].update(image=["pose", 0], scale=1.0, rotate=0.0)
    graph["9"]["inputs"]["text"] = prompt
    sampler, plain = graph[node_of(graph, "KSampler")], {"model": ["1", 0], "positive": ["9", 0], "negative": ["3", 0]}
    graph["plain"] = {**sampler, "inputs": {**sampler["inputs"], **plain}, "_meta": {"title": "Prompt alone"}}
    for name, like, link in (
        ("plain_image", "VAEDecode", {"samples": ["plain", 0]}),
        ("plain_saved", "SaveImage", {"images": ["plain_image", 0]}),
        ("plain_score", "IDSimilarity", {"image": ["plain_image", 0]}),
    ):
        known = graph[node_of(graph, like)]
        graph[name] = {**known, "inputs": {**known["inputs"], **link}}
    return graph


def photograph_graph(photograph):
    """What needs no generator: every face of a photograph, its likeness to the largest, and the pose of that one."""
    example, graph = workflow("instantid_basic"), {}
    for class_type in ("LoadImage", "LoadFaceEncoder", "DetectFaces", "EncodeIdentity", "LandmarkControl",
                       "PreviewImage", "IDSimilarity"):  # fmt: skip
        graph[node_of(example, class_type)] = example[node_of(example, class_type)]
    graph["facelets"] = {"class_type": "LoadFacelets", "inputs": {}, "_meta": {"title": "Facelets"}}
    prompt = {"class_type": "CLIPTextEncode", "inputs": {"clip": ["facelets", 1], "text": ""}}
    graph["prompt"] = {**prompt, "_meta": {"title": "No prompt"}}
    graph[node_of(graph, "LoadImage")]["inputs"]["image"] = photograph
    graph[node_of(graph, "LoadFaceEncoder")]["inputs"]["encoder"] = "embedded"
    # Faces of a group photograph are small: the pose is that of the largest one's cut-out, which fills the picture.
    faces, detect = node_of(graph, "DetectFaces"), graph[node_of(graph, "DetectFaces")]
    graph["largest"] = {**detect, "inputs": {**detect["inputs"], "index": "0"}, "_meta": {"title": "Largest face"}}
    pose = graph[node_of(graph, "LandmarkControl")]["inputs"]
    pose.update(positive=["prompt", 0], negative=["prompt", 0], control_net=["facelets", 3], image=["largest", 1])
    del pose["latent"]
    graph[node_of(graph, "IDSimilarity")]["inputs"]["image"] = [faces, 1]
    return graph


def show_progress(graph):
    def show(node_id, value, maximum):
        if maximum == 1:
            return
        bar = "#" * round(24 * value / maximum)
        print(f"\r  {graph[node_id]['_meta']['title']:<20} [{bar:<24}] {value}/{maximum}", end="", flush=True)
        if value == maximum:
            print()

    return show


def picture(server, outputs, node_id):
    return server.view(**outputs[node_id]["images"][0])


def likeness(outputs, node_id):
    """Of each picture the cosine, and the chance in percent that it is the same person; None without a face."""
    judged = json.loads(outputs[node_id]["report"][0])["images"]
    return [{name: one[name] for name in ("score", "percent")} for one in judged]


def draw_portraits(server, folder):
    """Run the first graph for each of PICTURES; returns the sheet's rows and what the report says of them."""
    reference, rows, said = drawn(folder, PERSON), [], []
    for seed, prompt in PICTURES:
        pose = drawn(folder, seed)
        graph = portrait_graph(server.upload_image(reference), server.upload_image(pose), prompt)
        outputs = server.wait(server.queue(graph), show_progress(graph))["outputs"]
        made = [picture(server, outputs, node_id) for node_id in ("15", "plain_saved", "14")]
        rows.append([reference.read_bytes(), pose.read_bytes(), *made])
        [person], [plain] = likeness(outputs, "16"), likeness(outputs, "plain_score")
        said.append({"prompt": prompt, "likeness": person, "likeness_of_the_prompt_alone": plain})
    return rows, said


def write_sheet(rows, path):
    """Pictures in rows with their prompts above, twice as large, and the columns' names on top."""
    step = CELL + GAP
    sheet = Image.new("RGB", (len(COLUMNS) * step + GAP, LINE + len(rows) * (step + LINE)), "white")
    words = ImageDraw.Draw(sheet)
    for column, name in enumerate(COLUMNS):
        words.text((GAP + column * step, GAP), name, "black", font_size=14)
    for number, (row, (_, prompt)) in enumerate(zip(rows, PICTURES, strict=True)):
        top = LINE + number * (step + LINE)
        words.text((GAP, top + 4), f"“{prompt}”", "black", font_size=13)
        for column, data in enumerate(row):
            cell = Image.open(io.BytesIO(data)).convert("RGB").resize((CELL, CELL), Image.Resampling.LANCZOS)
            sheet.paste(cell, (GAP + column * step, top + LINE))
    sheet.save(path)


def read_photograph(server, photograph, out):
    graph = photograph_graph(server.upload_image(photograph))
    outputs = server.wait(server.queue(graph), show_progress(graph))["outputs"]
    for name, class_type in (("faces.png", "DetectFaces"), ("control.png", "PreviewImage")):
        (out / name).write_bytes(picture(server, outputs, node_of(graph, class_type)))
    return {
        "photograph": photograph.name,
        "faces": outputs[node_of(graph, "DetectFaces")]["faces"][0]["faces"],
        "likeness_of_each_face_to_the_largest": likeness(outputs, node_of(graph, "IDSimilarity")),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photo", type=Path, help="a photograph with a face")
    parser.add_argument("--out", type=Path, default=ROOT / "out", help="where the results go")
    options = parser.parse_args()
    photograph = checked_photograph(options.photo or default_photograph())
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are too small for a second thread to help
    options.out.mkdir(parents=True, exist_ok=True)
    seconds, started = {}, time.monotonic()

    def lap(name):
        nonlocal started
        seconds[name] = round(time.monotonic() - started, 2)
        started = time.monotonic()

    with tempfile.TemporaryDirectory(prefix="likeness-demo-") as directory:
        base = prepare_base_directory(directory, {"likeness": ROOT})
        print("Starting ComfyUI")
        with ComfyServer(base, find_comfyui()) as server:
            lap("start")
            print(f"Reading {photograph.name}")
            read = read_photograph(server, photograph, options.out)  # first: it is the part that can go wrong
            lap("photograph")
            print("Running workflows/api/facelets_portrait.json on a drawn portrait")
            rows, portraits = draw_portraits(server, base)
            write_sheet(rows, options.out / "portraits.png")
            lap("portraits")
    report = {"portraits": portraits, **read, "seconds": seconds}
    (options.out / "report.json").write_text(json.dumps(report, indent=1) + "\n")

    def shown(judged):
        return "no face" if judged["score"] is None else f"{judged['score']:.3f} ({judged['percent']:.0f} %)"

    print("\nLikeness of the drawn pictures to the reference: cosine (chance of the same person)")
    for said in portraits:
        print(f"  {shown(said['likeness'])}, the prompt alone {shown(said['likeness_of_the_prompt_alone'])}")
    print(f"{len(read['faces'])} faces in {photograph.name}; likeness of each to the largest, itself first, by the")
    print("embedded encoder, which gives two people about 0.85:")
    print("  " + "  ".join(map(shown, read["likeness_of_each_face_to_the_largest"])))
    print(f"In {options.out}:")
    print("  portraits.png  a drawn person by prompt and pose, drawn by the tiny generator that ships")
    print("  faces.png      the photograph with every face that was found")
    print("  control.png    the pose of its largest face, as a landmark ControlNet sees it")
    print("  report.json    faces, scores and times")


if __name__ == "__main__":
    try:
        main()
    except (ComfyError, FileNotFoundError, TimeoutError) as error:
        sys.exit("The demo stopped. " + str(error).partition("\n  File")[0])  # a node's sentence without its traceback
    except OSError as error:
        sys.exit(f"The demo stopped: {error.strerror or error}.")
