"""The pose editor on LandmarkControl: what hands and keys do to the JSON that the node reads."""

import json

import numpy as np
import pytest
from graphs import ROOT
from likeness.core.faces.points.landmark_json import parse_landmarks

KIND, INPUT = "LandmarkControl", "landmarks"
LEFT_EYE, NOSE = 0, 2


@pytest.fixture(scope="module")
def found(page):
    """The landmarks that a run of the Facelets workflow finds, and the size of the picture that they are in."""
    page.load(portrait())
    page.look_at(KIND)
    assert page.pose.get_by_role("status").text_content() == "No run yet: a neutral face"
    page.server.free()  # what it has from another page's run is not in this one's history
    page.page.wait_for_timeout(2000)
    [shown] = page.queue()["outputs"][node_id(page)]["likeness_faces"]
    return np.array(shown["faces"][0]["landmarks"]), shown["size"]


@pytest.fixture
def editor(comfy, found):
    """The page after that run, with nothing posed."""
    comfy.set_value(KIND, INPUT, "")
    comfy.look_at(KIND)
    assert comfy.pose.get_by_role("status").text_content() == "As in the photograph"
    return comfy


def test_a_run_from_the_cache_shows_the_face_too(comfy, found):
    comfy.load(portrait())
    assert comfy.pose.get_by_role("status").text_content() == "No run yet: a neutral face"
    comfy.queue()
    comfy.look_at(KIND)
    assert comfy.pose.get_by_role("status").text_content() == "As in the photograph"


def portrait():
    return json.loads((ROOT / "workflows/facelets_portrait.json").read_text())


def node_id(page):
    return str(page.run("(app) => app.graph.nodes.find((node) => node.type === 'LandmarkControl').id"))


def handles(page):
    return page.pose.locator(".likeness-handle")


def posed(page):
    """What Python makes of the node's JSON: the first face, and the size it was written for."""
    faces, size = parse_landmarks(page.value(KIND, INPUT))
    return faces[0], list(size)


def drag(page, locator, right, down, position=None):
    box = locator.bounding_box()
    x, y = position or (box["width"] / 2, box["height"] / 2)
    mouse = page.page.mouse
    mouse.move(box["x"] + x, box["y"] + y)
    mouse.down()
    mouse.move(box["x"] + x + right / 2, box["y"] + y + down / 2)
    mouse.move(box["x"] + x + right, box["y"] + y + down)
    mouse.up()


def pixel(page, size):
    """Pixels of the picture to one of the screen."""
    return size[0] / page.pose.locator(".likeness-stage").bounding_box()["width"]


def center(points):
    return points.mean(axis=0)


def test_dragging_a_handle_moves_that_point_alone(editor, found):
    points, size = found
    assert editor.value(KIND, INPUT) == ""
    places = [float(handle.evaluate("(e) => parseFloat(e.style.left)")) for handle in handles(editor).all()]
    assert places == pytest.approx(100 * points[:, 0] / size[0], abs=1e-3)
    drag(editor, handles(editor).nth(NOSE), 30, -20)
    moved, written_for = posed(editor)
    assert written_for == size
    assert moved[NOSE] - points[NOSE] == pytest.approx(np.array([30, -20]) * pixel(editor, size), abs=0.3)
    others = [place for place in range(5) if place != NOSE]
    assert moved[others] == pytest.approx(points[others], abs=0.006)


def test_a_mere_click_is_no_pose(editor):
    handles(editor).nth(NOSE).click()
    assert editor.value(KIND, INPUT) == ""


def test_a_handle_stays_inside_the_picture(editor, found):
    drag(editor, handles(editor).nth(LEFT_EYE), -700, -30)
    assert posed(editor)[0][LEFT_EYE][0] == 0


def test_dragging_the_background_moves_all(editor, found):
    points, size = found
    drag(editor, editor.pose.locator(".likeness-whole"), 25, 15, position=(12, 12))
    change = posed(editor)[0] - points
    assert change == pytest.approx(np.tile(np.array([25, 15]) * pixel(editor, size), (5, 1)), abs=0.3)


def test_keys_move_undo_and_redo_without_undoing_the_graph(editor, found):
    points, _ = found
    editor.run("(app) => { app.graph.nodes.find((node) => node.type === 'LandmarkControl').untouched = true; }")
    keyboard = editor.page.keyboard
    handles(editor).nth(NOSE).focus()
    keyboard.press("ArrowRight")
    assert posed(editor)[0][NOSE] - points[NOSE] == pytest.approx([1, 0], abs=0.006)
    first = editor.value(KIND, INPUT)
    keyboard.press("Shift+ArrowDown")
    assert posed(editor)[0][NOSE] - points[NOSE] == pytest.approx([1, 10], abs=0.02)
    second = editor.value(KIND, INPUT)
    keyboard.press("Control+z")
    assert editor.value(KIND, INPUT) == first
    keyboard.press("Control+y")
    assert editor.value(KIND, INPUT) == second
    keyboard.press("Control+z")
    keyboard.press("Control+z")
    assert editor.value(KIND, INPUT) == ""
    keyboard.press("Control+Shift+z")
    assert editor.value(KIND, INPUT) == first
    editor.page.wait_for_timeout(500)
    assert editor.run("(app) => app.graph.nodes.find((node) => node.type === 'LandmarkControl').untouched")
    keyboard.press("Tab")
    assert editor.page.evaluate("() => document.activeElement.title") == "left mouth corner"


def test_buttons_scale_turn_mirror_and_reset(editor, found):
    points, _ = found
    middle = center(points)

    def press(name):
        editor.pose.get_by_role("button", name=name).click()
        return posed(editor)[0] - middle

    assert press("Larger") == pytest.approx((points - middle) * 1.05, abs=0.01)
    assert press("Smaller") == pytest.approx(points - middle, abs=0.02)
    turn = np.radians(5)
    clockwise = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    assert press("Turn right") == pytest.approx((points - middle) @ clockwise, abs=0.02)
    assert press("Turn left") == pytest.approx(points - middle, abs=0.03)
    assert press("Mirror") == pytest.approx(((points - middle) * [-1, 1])[[1, 0, 2, 4, 3]], abs=0.03)
    assert posed(editor)[0][0][0] < posed(editor)[0][1][0]  # the left eye is still the left one
    editor.pose.get_by_role("button", name="Back to the photograph").click()
    assert editor.value(KIND, INPUT) == ""
    editor.pose.get_by_role("button", name="Undo").click()
    assert editor.value(KIND, INPUT) != ""


def test_the_wheel_scales_with_the_focus_and_zooms_the_canvas_without(editor, found):
    points, _ = found
    zoom = editor.run("(app) => app.canvas.ds.scale")
    editor.pose.locator(".likeness-stage").hover()
    handles(editor).nth(NOSE).focus()
    editor.page.mouse.wheel(0, -100)
    editor.page.wait_for_timeout(300)
    assert np.ptp(posed(editor)[0], axis=0) == pytest.approx(np.ptp(points, axis=0) * 1.05, abs=0.02)
    assert editor.run("(app) => app.canvas.ds.scale") == zoom
    written = editor.value(KIND, INPUT)
    editor.page.evaluate("() => document.activeElement.blur()")
    editor.page.mouse.wheel(0, -100)
    editor.page.wait_for_timeout(300)
    assert editor.value(KIND, INPUT) == written
    assert editor.run("(app) => app.canvas.ds.scale") > zoom


@pytest.mark.parametrize(
    "text, expected",
    [
        ('{"size": [200, 100], "faces": [[[10, 20], [50, 20], [30, 30], [15, 50], [45, 50]]]}', "Posed by hand"),
        ("[[10, 20], [50, 20], [30, 30], [15, 50], [45, 50]]", "Posed by hand"),
        ('{"faces": [[[10, 20]]]}', "landmarks is not the JSON of a pose"),
        ("left", "landmarks is not the JSON of a pose"),
    ],
)
def test_typed_landmarks_are_shown(editor, text, expected):
    editor.set_value(KIND, INPUT, text)
    assert editor.pose.get_by_role("status").text_content() == expected
    good = expected == "Posed by hand"
    assert handles(editor).count() == (5 if good else 0)
    if good:
        handles(editor).nth(NOSE).focus()
        editor.page.keyboard.press("ArrowRight")
        moved, size = parse_landmarks(editor.value(KIND, INPUT))
        assert moved[0].tolist() == [[10, 20], [50, 20], [31, 30], [15, 50], [45, 50]]
        assert size == parse_landmarks(text)[1]


def test_what_a_run_has_shown_comes_back_with_the_workflow(editor):
    """As after the page was loaded anew: the server has everything, and runs nothing again."""
    editor.load(editor.run("(app) => app.graph.serialize()"))
    editor.page.wait_for_timeout(1000)
    assert editor.pose.get_by_role("status").text_content() == "As in the photograph"
    assert handles(editor).count() == 5


def test_it_lives_and_dies_with_its_node(comfy, found):
    """Saved and opened, copied, removed, and opened again: the pose is the widget's, each editor its own node's."""
    comfy.load(portrait())
    text = json.dumps({"size": [128, 128], "faces": [[[40, 50], [80, 50], [60, 70], [45, 90], [75, 90]]]})
    comfy.set_value(KIND, INPUT, text)
    comfy.load(comfy.run("(app) => app.graph.serialize()"))
    comfy.look_at(KIND)
    assert comfy.value(KIND, INPUT) == text and handles(comfy).count() == 5
    copied = """(app) => {
        const node = app.graph.nodes.find((node) => node.type === "LandmarkControl");
        app.canvas.copyToClipboard([node]);
        app.canvas.pasteFromClipboard({ position: [node.pos[0] + 400, node.pos[1]] });
        return app.graph.nodes.filter((node) => node.type === "LandmarkControl").length;
    }"""
    assert comfy.run(copied) == 2
    comfy.page.wait_for_timeout(700)
    assert comfy.pose.count() == 2
    comfy.pose.first.locator(".likeness-handle").nth(NOSE).focus()
    comfy.page.keyboard.press("ArrowRight")
    values = comfy.run(
        "(app) => app.graph.nodes.filter(n => n.type === 'LandmarkControl')"
        ".map(n => n.widgets.find(w => w.name === 'landmarks').value)"
    )
    assert len(set(values)) == 2 and text in values
    comfy.run("(app) => app.graph.nodes.filter(n => n.type === 'LandmarkControl').forEach(n => app.graph.remove(n))")
    comfy.page.wait_for_timeout(700)
    assert comfy.page.locator(".likeness-pose").count() == 0
