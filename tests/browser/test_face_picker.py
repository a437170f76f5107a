"""The face picker on DetectFaces and EncodeIdentity, over the photograph of six people."""

import pytest
from graphs import group_photograph


@pytest.fixture(scope="module")
def ran(page):
    """The page with two nodes that have looked at the photograph."""
    picture = page.server.upload_image(group_photograph())
    encoder = {"encoder": "embedded", "detector": "auto", "min_confidence": 0.9, "search": "plain", "min_size": 0}
    both = {"face_encoder": ["1", 0], "image": ["2", 0], "on_no_face": "error"}
    detect = {**both, "order": "largest", "index": "all", "mask_from": "box", "soft_edge": 0.0, "details": False}
    page.load_api(
        {
            "1": {"class_type": "LoadFaceEncoder", "inputs": encoder},
            "2": {"class_type": "LoadImage", "inputs": {"image": picture}},
            "3": {"class_type": "DetectFaces", "inputs": detect},
            "4": {"class_type": "EncodeIdentity", "inputs": {**both, "combine": "mean", "face_index": "0"}},
            "5": {"class_type": "PreviewAny", "inputs": {"source": ["4", 1]}},
        }
    )
    page.run("(app) => app.graph.nodes.forEach((node, place) => { node.pos = [450 * place, 100]; })")
    assert page.page.locator(".likeness-picker").locator("visible=true").count() == 0
    page.queue()
    return page


@pytest.fixture
def picker(comfy, ran):
    comfy.set_value("DetectFaces", "order", "largest")
    comfy.set_value("DetectFaces", "index", "all")
    comfy.set_value("EncodeIdentity", "face_index", "0")
    return comfy


def box(picker, number):
    return picker.locator(f'.likeness-face[data-number="{number}"]')


def pressed(picker):
    return sorted(int(face.get_attribute("data-number")) for face in picker.locator('[aria-pressed="true"]').all())


def test_a_click_means_this_one_and_a_second_one_all(picker):
    picker.look_at("DetectFaces")
    faces = picker.picker("index")
    assert faces.locator(".likeness-face").count() == 6 and pressed(faces) == [0, 1, 2, 3, 4, 5]
    box(faces, 2).click()
    assert picker.value("DetectFaces", "index") == "2" and pressed(faces) == [2]
    box(faces, 4).click()
    assert faces.get_by_role("status").text_content() == "4 of 6 faces"
    box(faces, 4).click()
    assert picker.value("DetectFaces", "index") == "all" and pressed(faces) == [0, 1, 2, 3, 4, 5]
    box(faces, 2).click()
    faces.get_by_role("button", name="Choose all faces").click()
    assert picker.value("DetectFaces", "index") == "all"


@pytest.mark.parametrize("key", ["Shift", "Control"])
def test_with_a_key_a_click_adds_and_takes_away(picker, key):
    picker.look_at("DetectFaces")
    faces = picker.picker("index")
    box(faces, 2).click(modifiers=[key])
    assert picker.value("DetectFaces", "index") == "0,1,3,4,5" and pressed(faces) == [0, 1, 3, 4, 5]
    box(faces, 4).click(modifiers=[key])
    assert faces.get_by_role("status").text_content() == "0, 1, 3, 5 of 6 faces"
    box(faces, 2).click(modifiers=[key])
    box(faces, 4).click(modifiers=[key])
    assert picker.value("DetectFaces", "index") == "all"


def test_one_face_stays_chosen(picker):
    picker.look_at("DetectFaces")
    picker.set_value("DetectFaces", "index", "3")
    faces = picker.picker("index")
    assert pressed(faces) == [3]
    box(faces, 3).click(modifiers=["Shift"])
    assert picker.value("DetectFaces", "index") == "3"


def test_enter_and_space_choose_too(picker):
    picker.look_at("DetectFaces")
    faces = picker.picker("index")
    box(faces, 1).focus()
    picker.page.keyboard.press("Enter")
    assert picker.value("DetectFaces", "index") == "1"
    picker.page.keyboard.press("Tab")
    picker.page.keyboard.press("Space")
    assert picker.value("DetectFaces", "index") == "2"


def test_the_numbers_are_those_of_the_order_that_is_set(picker):
    picker.look_at("DetectFaces")
    faces = picker.picker("index")
    picker.set_value("DetectFaces", "order", "left to right")
    boxes = [box(faces, number).bounding_box() for number in range(6)]
    middles = [found["x"] + found["width"] / 2 for found in boxes]
    assert middles == sorted(middles)
    picker.set_value("DetectFaces", "order", "largest")
    boxes = [box(faces, number).bounding_box() for number in range(6)]
    areas = [found["width"] * found["height"] for found in boxes]
    assert areas == sorted(areas, reverse=True)


def test_where_one_person_is_meant_a_second_click_goes_back_to_the_largest(picker):
    picker.look_at("EncodeIdentity")
    faces = picker.picker("face_index")
    assert pressed(faces) == [0]
    box(faces, 3).click()
    assert picker.value("EncodeIdentity", "face_index") == "3"
    box(faces, 1).click(modifiers=["Shift"])
    assert picker.value("EncodeIdentity", "face_index") == "1,3"
    for _ in range(2):
        box(faces, 1).click()
    assert picker.value("EncodeIdentity", "face_index") == "0" and pressed(faces) == [0]


def test_what_was_picked_is_what_the_node_takes(picker):
    picker.look_at("DetectFaces")
    faces = picker.picker("index")
    before = box(faces, 5).bounding_box()
    box(faces, 5).click()
    [described] = picker.queue()["outputs"]["3"]["faces"]
    [face] = described["faces"]
    assert pressed(faces) == [5] and faces.locator(".likeness-face").count() == 6
    assert box(faces, 5).bounding_box() == before  # nothing has jumped
    shown = faces.locator(".likeness-stage").bounding_box()
    width = (face["box"][2] - face["box"][0]) * shown["width"] / 1280
    assert before["width"] == pytest.approx(width, abs=1.5)
