"""Face quality on real photographs: each way to spoil one lowers its own part, step by step."""

import dataclasses
import math
import pickle
from importlib.metadata import distribution

import photographs
import pytest
import torch
from likeness.core.faces.align.alignment import FivePoints
from likeness.core.faces.align.boxes import Boxes
from likeness.core.faces.align.templates import DLIB_TEMPLATE
from likeness.core.faces.identity.quality import (
    Quality,
    face_quality,
    frontality,
    light,
    quality_of,
    sharpness,
)
from PIL import ImageFilter
from torch._subclasses.fake_tensor import FakeTensorMode

ARCFACE_TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
TEMPLATES = {150: DLIB_TEMPLATE, 112: ARCFACE_TEMPLATE}


@pytest.fixture(scope="module", params=["t1", "sample6"])
def photograph(request, seen):
    """A photograph and the faces on it that really are faces."""
    return photographs.picture(request.param), seen(request.param)[1].select("most confident", "0,1,2,3")


@pytest.fixture(params=TEMPLATES)
def measure(request):
    """Quality of faces on an altered picture that is `scale` times as large, for chips of 112 and of 150 pixels."""
    size = request.param

    def quality(picture, faces, scale=1.0):
        faces = dataclasses.replace(faces, landmarks=(faces.landmarks + 0.5) * scale - 0.5)
        return quality_of(photographs.as_image(picture), faces, FivePoints(TEMPLATES[size], size))

    return quality


def falls(steps):
    """Every face's value falls with every step."""
    values = torch.stack(steps)
    assert (values[1:] < values[:-1]).all(), values


def test_good_photographs_are_good(photograph, measure):
    quality = measure(*photograph)
    assert (quality.sharpness > 0.95).all() and (quality.light > 0.95).all() and (quality.size > 0.7).all()
    assert all(part.shape == (4,) and (part >= 0).all() and (part <= 1).all() for part in quality)
    assert (quality.weight > 0.6).all()


def test_blur_lowers_sharpness_and_nothing_else(photograph, measure):
    picture, faces = photograph
    plain = measure(picture, faces)
    width = (faces.boxes[:, 2] - faces.boxes[:, 0]).mean().item()
    blurred = [measure(picture.filter(ImageFilter.GaussianBlur(part * width)), faces) for part in (0.02, 0.04, 0.08)]
    falls([plain.sharpness, *(quality.sharpness for quality in blurred)])
    assert (blurred[-1].sharpness < 0.35).all() and (blurred[-1].weight < 0.35 * plain.weight).all()
    for name in ("score", "size", "frontality"):
        torch.testing.assert_close(getattr(blurred[-1], name), getattr(plain, name))


def test_shrinking_lowers_size_in_proportion(photograph, measure):
    picture, faces = photograph
    plain, steps = measure(picture, faces), []
    for scale in (0.5, 0.25, 0.125):
        small = picture.resize((round(picture.width * scale), round(picture.height * scale)))
        steps.append(measure(small, faces, scale))
        torch.testing.assert_close(steps[-1].frontality, plain.frontality, rtol=1e-4, atol=1e-4)
        if len(steps) > 2:
            torch.testing.assert_close(steps[-1].size, steps[-2].size / 2)
    falls([plain.size, *(quality.size for quality in steps[1:])])
    falls([plain.weight, *(quality.weight for quality in steps[1:])])
    # one lack of detail is not counted twice: nothing but the size is lost
    torch.testing.assert_close(
        steps[2].weight, steps[2].score * steps[2].size * steps[2].light * steps[2].frontality, rtol=1e-5, atol=0
    )


def test_darkness_lowers_light_and_not_sharpness(photograph, measure):
    picture, faces = photograph
    dark = [measure(picture.point([round(v * part) for v in range(256)] * 3), faces) for part in (0.3, 0.15, 0.07)]
    falls([measure(picture, faces).light, *(quality.light for quality in dark)])
    assert (dark[-1].light < 0.25).all() and (dark[0].sharpness > 0.8).all()


def test_burnt_out_faces_lack_light_too(photograph, measure):
    picture, faces = photograph
    bright = picture.point([min(255, 205 + round(v * 0.8)) for v in range(256)] * 3)
    assert (measure(bright, faces).light < 0.7).all()


def test_contrast_alone_does_not_make_a_face_sharper(photograph, measure):
    picture, faces = photograph
    flat = picture.point([round(80 + 0.4 * v) for v in range(256)] * 3)
    assert (measure(flat, faces).sharpness - measure(picture, faces).sharpness).abs().max() < 0.1


@pytest.mark.parametrize("size", TEMPLATES)
def test_a_turned_head_is_less_frontal_by_its_cosine(size):
    """insightface's mean face in three dimensions, turned: the truth is the angle."""
    with open(distribution("insightface").locate_file("insightface/data/objects/meanshape_68.pkl"), "rb") as file:
        points = torch.tensor(pickle.load(file), dtype=torch.float32)
    head = torch.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])
    template = TEMPLATES[size]

    def seen_from(yaw, pitch, roll=0.0):
        a, b, c = (math.radians(angle) for angle in (yaw, pitch, roll))
        turn = torch.tensor([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
        nod = torch.tensor([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
        lean = torch.tensor([[math.cos(c), -math.sin(c)], [math.sin(c), math.cos(c)]])
        return (head @ (nod @ turn).T)[:, :2] @ lean.T * 80 + 200

    # the pitch at which the mean face looks as the template does
    pitches = torch.arange(-40, 41)
    straight = pitches[frontality(torch.stack([seen_from(0, pitch) for pitch in pitches]), template).argmax()].item()
    assert frontality(seen_from(0, straight)[None], template) > 0.995
    for way in (1, -1):
        angles = (0, 15, 30, 45, 60, 75)
        turned = torch.stack([seen_from(way * angle, straight) for angle in angles])
        values = frontality(turned, template)
        falls(list(values[:, None]))
        for angle, value in zip(angles, values.tolist(), strict=True):
            assert value == pytest.approx(math.cos(math.radians(angle)), abs=0.1)
        nods = torch.stack([seen_from(0, straight + way * angle) for angle in (0, 15, 30, 45)])
        falls(list(frontality(nods, template)[:, None]))
    leaning = torch.stack([seen_from(25, straight, roll) for roll in (0, 40, 90, 180)])
    values = frontality(leaning, template)
    torch.testing.assert_close(values, values[:1].expand(4), rtol=1e-4, atol=1e-4)


def test_who_looks_away_on_a_photograph_is_less_frontal(seen):
    _, faces = seen("t1")
    known = {face["person"]: face["box"] for face in photographs.people()["t1"]["faces"]}
    values = dict.fromkeys(known)
    for value, face in zip(frontality(faces.landmarks, DLIB_TEMPLATE).tolist(), faces.on_host, strict=True):
        for person, box in known.items():
            if photographs.overlap(box, face.box) > 0.5:
                values[person] = value
    assert min(values, key=values.get) == "C" and values["C"] < 0.75 < values["E"] < 0.85 < values["B"]


def test_an_encoder_without_a_template_measures_by_dlibs(photograph):
    picture, faces = photograph
    image = photographs.as_image(picture)
    plain, other = (quality_of(image, faces, one) for one in (Boxes(150), FivePoints(DLIB_TEMPLATE, 150)))
    assert all(torch.equal(*parts) for parts in zip(plain, other, strict=True))
    assert (quality_of(image, faces, Boxes(300)).size < plain.size + 1e-6).all()


def test_the_weight_takes_the_lesser_of_size_and_sharpness():
    parts = [torch.tensor([value]) for value in (0.9, 0.5, 0.4, 0.8, 0.7)]
    torch.testing.assert_close(Quality(*parts).weight, torch.tensor([0.9 * 0.4 * 0.8 * 0.7]))


def test_nothing_there_is_no_light_and_finite():
    for value in (0.0, 0.5, 1.0):
        luma = torch.full((2, 40, 40), value)
        assert (light(luma) == 0).all() and (sharpness(luma) <= 0.5).all()
    assert frontality(torch.zeros(1, 5, 2), DLIB_TEMPLATE).isfinite().all()
    assert frontality(torch.zeros(0, 5, 2), DLIB_TEMPLATE).shape == (0,)


def test_quality_reads_nothing_from_the_device():
    with FakeTensorMode():
        chips, matrices = torch.empty(3, 3, 150, 150, device="cuda"), torch.empty(3, 2, 3, device="cuda")
        landmarks, scores = torch.empty(3, 5, 2, device="cuda"), torch.empty(3, device="cuda")
        quality = face_quality(chips, matrices, landmarks, scores, DLIB_TEMPLATE)
        assert {part.device.type for part in (*quality, quality.weight)} == {"cuda"}
        assert {part.shape for part in (*quality, quality.weight)} == {(3,)}


def test_noise_is_not_called_blurred_but_blurred_noise_is():
    noise = torch.rand(1, 100, 100, generator=torch.Generator().manual_seed(0))
    assert sharpness(noise) == 1
    assert sharpness(torch.nn.functional.interpolate(noise[None, :, :7, :7], (100, 100), mode="bicubic")[0]) < 0.4
