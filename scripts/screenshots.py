"""Pictures of the page's widgets for docs/screenshots, on drawn people: nothing is downloaded, nobody is photographed.

make screenshots [ARGS="NAME ... --out FOLDER"]
"""

import argparse
import io
import json
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from comfy_page import ComfyPage  # noqa: E402
from comfy_process import ComfyServer, find_comfyui, prepare_base  # noqa: E402
from PIL import Image  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

NEWEST = ROOT / "build/front-end/newest/comfyui_frontend_package/static"
PICTURES = ROOT / "docs/screenshots"
PEOPLE = ("a smiling woman with long red hair", "a man with short black hair", "a woman with blond hair, smiling")
MARGIN = 14  # pixels around a node


def portrait():
    return json.loads((ROOT / "workflows/facelets_portrait.json").read_text())


def row():
    """Three people, drawn as the example draws one, side by side before DetectFaces."""
    api = json.loads((ROOT / "workflows/api/facelets_portrait.json").read_text())
    graph = {key: api[key] for key in ("1", "3", "4")}  # Facelets, the negative prompt, the size
    sampler = api["5"]
    joined = None
    for place, words in enumerate(PEOPLE):
        graph[f"{90 + place}"] = {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": words}}
        inputs = {**sampler["inputs"], "positive": [f"{90 + place}", 0], "seed": place}
        graph[f"{100 + place}"] = {"class_type": "KSampler", "inputs": inputs}
        decode = {"samples": [f"{100 + place}", 0], "vae": ["1", 2]}
        graph[f"{110 + place}"] = {"class_type": "VAEDecode", "inputs": decode}
        picture = [f"{110 + place}", 0]
        if joined is not None:
            sides = {"image1": joined, "image2": picture, "direction": "right", "match_image_size": True}
            stitch = {**sides, "spacing_width": 0, "spacing_color": "white"}
            graph[f"{120 + place}"] = {"class_type": "ImageStitch", "inputs": stitch}
            picture = [f"{120 + place}", 0]
        joined = picture
    find = {"face_encoder": ["1", 5], "image": joined, "on_no_face": "error"}
    detect = {"order": "left to right", "index": "0,2", "mask_from": "box", "soft_edge": 0.0, "details": False}
    graph["130"] = {"class_type": "DetectFaces", "inputs": {**find, **detect}}
    return graph


def stand_alone(page, kind):
    """Put all other nodes behind the left edge of the page: the next one may lie over a node that has grown."""
    page.run(
        """(app, kind) => {
            const node = app.graph.nodes.find((node) => node.comfyClass === kind);
            for (const other of app.graph.nodes) {
                if (other !== node) other.pos = [node.pos[0] - 4000, other.pos[1]];
            }
            app.canvas.setDirty(true, true);
        }""",
        kind,
    )
    page.page.wait_for_timeout(500)


def keep(page, kind, path):
    """Cut a node out of the page and save it as JPEG."""
    stand_alone(page, kind)
    found = page.run(
        """(app, kind) => {
            const node = app.graph.nodes.find((node) => node.comfyClass === kind);
            const { scale, offset } = app.canvas.ds;
            const [left, top, width, height] = node.boundingRect;
            return [(left + offset[0]) * scale, (top + offset[1]) * scale, width * scale, height * scale];
        }""",
        kind,
    )
    canvas = page.page.locator("#graph-canvas").bounding_box()
    clip = {
        "x": found[0] + canvas["x"] - MARGIN,
        "y": found[1] + canvas["y"] - MARGIN,
        "width": found[2] + 2 * MARGIN,
        "height": found[3] + 2 * MARGIN,
    }
    pixels = page.page.screenshot(clip=clip)
    Image.open(io.BytesIO(pixels)).convert("RGB").save(path, quality=88)
    print(path, flush=True)


def pose(page):
    """The landmarks of the drawn face, its head raised and turned by hand."""
    page.load(portrait())
    page.queue()
    page.look_at("LandmarkControl", down=-120)
    nose = page.pose.locator(".likeness-handle").nth(2)
    nose.focus()
    for key in ("ArrowLeft",) * 6 + ("ArrowUp",) * 3:
        page.page.keyboard.press(key)
    page.page.wait_for_timeout(500)


def picker(page):
    page.load_api(row())
    page.run("(app) => app.graph.nodes.forEach((node, place) => { node.pos = [500 * place, 100]; })")
    page.queue()
    page.look_at("DetectFaces", down=-120)
    page.page.wait_for_timeout(500)


# name: front end, Vue nodes, colours, what to do, the node to show
SHOTS = {
    "pose_editor": (NEWEST, True, "dark", pose, "LandmarkControl"),
    "pose_editor_light": (NEWEST, True, "light", pose, "LandmarkControl"),
    "pose_editor_classic": (None, False, "dark", pose, "LandmarkControl"),
    "face_picker": (NEWEST, True, "dark", picker, "DetectFaces"),
    "face_picker_light": (NEWEST, True, "light", picker, "DetectFaces"),
    "face_picker_classic": (None, False, "dark", picker, "DetectFaces"),
}


def main(names, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for front_end in (NEWEST, None):
        wanted = [name for name in names if SHOTS[name][0] == front_end]
        if not wanted:
            continue
        arguments = [] if front_end is None else ["--front-end-root", str(front_end)]
        with tempfile.TemporaryDirectory(prefix="likeness-screenshots-") as base:
            with ComfyServer(prepare_base(base), find_comfyui(), extra_args=arguments) as server:
                with sync_playwright() as playwright:
                    path = shutil.which("chromium")
                    browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
                    for name in wanted:
                        _, vue, colours, act, kind = SHOTS[name]
                        server.free()
                        view = {"width": 1500, "height": 1700}
                        context = browser.new_context(viewport=view, device_scale_factor=1.5)
                        page = ComfyPage(context.new_page(), server, vue, colours)
                        page.page.wait_for_timeout(2000)
                        act(page)
                        keep(page, kind, folder / f"{name}.jpg")
                        context.close()
                    browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SHOTS)}; without any all of them")
    parser.add_argument("--out", type=Path, default=PICTURES, metavar="FOLDER")
    given = parser.parse_args()
    if unknown := set(given.names) - SHOTS.keys():
        parser.error(f"there is no picture {min(unknown)}")
    main(given.names or list(SHOTS), given.out)
