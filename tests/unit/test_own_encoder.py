"""Descriptors of the artist's own: what the JSON file may say, and what it does to the pixels."""

import json
import shutil

import onnx_files
import pytest
import torch
from likeness.core.faces.align.templates import arcface_template
from likeness.core.faces.align.windows import face_window, person_window
from likeness.core.faces.found import Faces, HostFace
from likeness.core.faces.onnx.own_encoder import load_own, read_description
from likeness.core.weights import WeightsError


def own(tmp_path, kind="r50", **description):
    path = tmp_path / "mine.onnx"
    shutil.copy(onnx_files.file(kind, width=4), path)
    path.with_suffix(".json").unlink(missing_ok=True)
    if description:
        path.with_suffix(".json").write_text(json.dumps(description))
    return path


def chips(count=2):
    return torch.rand(count, 3, 112, 112, generator=torch.Generator().manual_seed(1))


def test_without_a_description_it_is_fed_as_arcface(tmp_path):
    found = load_own(own(tmp_path))
    embedder = found.module
    assert found.alignment.template == arcface_template(112) and embedder.size == (112, 112)
    assert not found.alignment.antialias
    expected = embedder.graph((chips() * 255 - 127.5) / 127.5)
    torch.testing.assert_close(embedder(chips()), expected)


def test_graphs_that_normalise_by_themselves_get_plain_pixels(tmp_path):
    embedder = load_own(own(tmp_path, "sface")).module
    torch.testing.assert_close(embedder(chips()), embedder.graph(chips() * 255))


def test_mean_deviation_and_colour_order_are_heeded(tmp_path):
    embedder = load_own(own(tmp_path, mean=[10, 20, 30], std=[2, 4, 8], color_order="BGR")).module
    pixels = chips().flip(1) * 255
    mean, deviation = torch.tensor([10.0, 20, 30])[:, None, None], torch.tensor([2.0, 4, 8])[:, None, None]
    torch.testing.assert_close(embedder(chips()), embedder.graph((pixels - mean) / deviation))


def test_half_precision_is_a_wish_of_the_description(tmp_path):
    for wanted in (True, False):
        found = load_own(own(tmp_path, half_precision=wanted), half_precision=torch.bfloat16)
        assert found.module.graph.dtype == (torch.bfloat16 if wanted else torch.float32)


@pytest.mark.parametrize(("content", "expected"), [
    ("{", "is not JSON"),
    ("[1]", "the whole file must be an object"),
    ('{"meen": 3}', "the key 'meen' must be one of input_size, mean"),
    ('{"input_size": 4}', "input_size must be a side or"),
    ('{"input_size": [112]}', None),
    ('{"input_size": [112, 112, 3]}', "input_size must be a side or"),
    ('{"mean": "a"}', "mean must be a number or three"),
    ('{"std": 0}', "std must be a number or three, in units of 0 to 255, over 0"),
    ('{"std": [1, 2]}', "std must be a number or three"),
    ('{"mean": NaN}', "mean must be a number or three"),
    ('{"color_order": "GBR"}', "color_order must be RGB or BGR"),
    ('{"template": "eyes"}', "template must be arcface, box, person, or five"),
    ('{"template": [[1, 2], [3, 4]]}', "template must be arcface"),
    ('{"half_precision": 1}', "half_precision must be true or false"),
])  # fmt: skip
def test_a_wrong_description_is_said_in_one_sentence(tmp_path, content, expected):
    path = tmp_path / "mine.json"
    path.write_text(content)
    if expected is None:
        read_description(path)
        return
    with pytest.raises(WeightsError) as caught:
        read_description(path)
    text = str(caught.value)
    assert text.startswith("mine.json ") and expected in text and text.endswith("correct it.") and "\n" not in text


def test_sizes_that_contradict_the_file_or_the_template_are_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"mine\.json .*input_size must be \[112, 112\], which mine\.onnx itself"):
        load_own(own(tmp_path, input_size=128))
    with pytest.raises(WeightsError, match=r'mine\.onnx takes pictures of 96 x 96 .*write "template" into mine\.json'):
        load_own(own(tmp_path, "genderage"))


def a_face(box, size):
    points = torch.zeros(1, 5, 2)
    return Faces(torch.tensor([box]), points, torch.ones(1), torch.zeros(1, dtype=torch.long), (1,), size,
                 (HostFace(box, ((0.0, 0.0),) * 5, 1.0),))  # fmt: skip


def test_windows_show_the_part_of_the_picture_that_they_say():
    image = torch.zeros(1, 400, 300, 3)
    image[:, 100:140, 120:150] = 1  # the box
    faces = a_face((120.0, 100.0, 150.0, 140.0), (400, 300))
    face = face_window((130, 130)).chips(image, faces, None)
    assert face.shape == (1, 3, 130, 130)
    # 1.3 boxes high: the box is 100 of 130 pixels, from 15 on; its width 75, in the middle
    rows, columns = (face[0, 0] > 0.5).nonzero().aminmax(dim=0)
    assert (rows - torch.tensor([15, 27])).abs().max() <= 1 and (columns - torch.tensor([114, 101])).abs().max() <= 1
    person = person_window((256, 128)).chips(image, faces, None)
    assert person.shape == (1, 3, 256, 128)
    top, bottom = (person[0, 0] > 0.5).nonzero()[:, 0].aminmax()
    assert abs(top - 256 * 0.4 / 7.9) <= 1.5 and abs(bottom - top - 256 / 7.9) <= 2
