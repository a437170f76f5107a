"""The drawn portraits that Facelets is trained and measured on: what they show is what was asked for."""

import re
from collections import Counter, defaultdict
from dataclasses import replace

import cv2
import numpy as np
import pytest
from facelets.world import (
    LOOKS,
    REGIONS,
    TRAITS,
    Identity,
    Look,
    Pose,
    caption,
    draw,
    sample_identity,
    sample_look,
    sample_pose,
)

AVERAGE = Identity(*[0.0] * len(TRAITS))
PLAIN = Look("brown", "short", "straight", "none", "red", "none", "none", "none", "brown", "neutral", "white", "flat")
WORN = {"hat": "hat", "glasses": "glasses", "facial_hair": "facial_hair", "earrings": "earrings"}  # attribute: region


def sample(seed):
    rng = np.random.default_rng(seed)
    return sample_identity(rng), sample_look(rng), sample_pose(rng)


def difference(one, other):
    """Largest difference of the three colours in each pixel."""
    return np.abs(one.image.astype(int) - other.image).max(2)


def showing(attribute):
    """A look in which this attribute shows."""
    return replace(PLAIN, hat="hat") if attribute == "hat_color" else PLAIN


def grown(mask, by=1):
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * by + 1, 2 * by + 1), np.uint8)).astype(bool)


# Pictures


def test_the_same_arguments_give_the_same_bytes():
    for seed in range(5):
        one, other = (draw(*sample(seed), labelled=True) for _ in range(2))
        for part in ("image", "landmarks", "labels"):
            assert getattr(one, part).tobytes() == getattr(other, part).tobytes()
        assert np.array_equal(draw(*sample(seed)).image, one.image)  # labels change nothing
    assert draw(*sample(0)).labels is None
    assert difference(draw(*sample(0)), draw(*sample(1))).mean() > 10


@pytest.mark.parametrize("size", [64, 128, 200])
def test_shapes_and_sizes(size):
    portrait, usual = draw(*sample(3), size=size, labelled=True), draw(*sample(3))
    assert portrait.image.shape == (size, size, 3) and portrait.image.dtype == np.uint8
    assert portrait.labels.shape == (size, size) and portrait.labels.dtype == np.uint8
    assert portrait.landmarks.shape == (5, 2) and portrait.landmarks.dtype == np.float32
    np.testing.assert_allclose((portrait.landmarks + 0.5) / size, (usual.landmarks + 0.5) / 128, atol=1e-5)


@pytest.mark.parametrize("attribute", LOOKS)
def test_every_value_of_an_attribute_changes_the_picture(attribute):
    looks = [replace(showing(attribute), **{attribute: value}) for value in LOOKS[attribute]]
    drawn = [draw(AVERAGE, look, Pose()) for look in looks]
    changed = [(difference(one, other) > 24).sum() for i, one in enumerate(drawn) for other in drawn[:i]]
    assert min(changed) >= 20


@pytest.mark.parametrize("trait", TRAITS)
def test_every_trait_changes_the_picture(trait):
    person = replace(AVERAGE, mole=1.0)
    low, middle, high = (draw(replace(person, **{trait: value}), PLAIN, Pose()) for value in (-1.0, 0.0, 1.0))
    assert (difference(low, high) > 8).sum() >= 8
    assert difference(low, middle).any() or difference(middle, high).any()


def test_there_are_enough_traits():
    assert len(TRAITS) >= 20 and len(set(TRAITS)) == len(TRAITS)
    person = sample(0)[0]
    assert person.vector.dtype == np.float32 and person.vector.shape == (len(TRAITS),)
    assert [getattr(person, trait) for trait in TRAITS] == pytest.approx(person.vector.tolist())


# Landmarks


@pytest.mark.parametrize("seed", range(4))
def test_landmarks_lie_on_what_they_mark(seed):
    rng = np.random.default_rng(seed)
    for _ in range(30):
        portrait = draw(sample_identity(rng), sample_look(rng), sample_pose(rng), labelled=True)
        columns, rows = np.round(portrait.landmarks).astype(int).T
        assert ((portrait.landmarks > 20) & (portrait.landmarks < 118)).all()
        marked = [REGIONS[label] for label in portrait.labels[rows, columns]]
        assert set(marked[:2]) <= {"eyes", "glasses"} and marked[2] in ("skin", "glasses", "facial_hair")
        mouth = grown(portrait.region("mouth") | portrait.region("facial_hair"), 2)
        assert mouth[rows[3:], columns[3:]].all()
        left_eye, right_eye, nose, left_corner, right_corner = portrait.landmarks
        assert left_eye[0] < right_eye[0] and left_corner[0] < right_corner[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < max(left_corner[1], right_corner[1])


def test_the_pose_moves_the_landmarks():
    def landmarks(**pose):
        return draw(AVERAGE, PLAIN, Pose(**pose)).landmarks + 0.5  # from pixel centres to edges

    def turned(points, pose):
        """Points of the plain pose, turned clockwise around the head's centre, scaled and moved."""
        cos, sin = np.cos(pose.roll), np.sin(pose.roll)
        off = points - np.array([Pose().x, Pose().y]) * 128
        return pose.scale * off @ np.array([[cos, sin], [-sin, cos]]) + np.array([pose.x, pose.y]) * 128

    plain = landmarks()
    pose = Pose(0.45, 0.56, 0.85, 0.3, 0.0)
    np.testing.assert_allclose(landmarks(x=0.45, y=0.56, scale=0.85, roll=0.3), turned(plain, pose), atol=1e-3)
    for yaw in (0.2, 0.4):
        right, left = landmarks(yaw=yaw), landmarks(yaw=-yaw)
        assert (right[:, 0] > plain[:, 0] - 1e-3).all() and np.allclose(right[:, 1], plain[:, 1], atol=1e-3)
        mirrored = (left * (-1, 1) + (128, 0))[[1, 0, 2, 4, 3]]  # the average face is symmetric
        np.testing.assert_allclose(right, mirrored, atol=1e-3)
        middle = right[:2, 0].mean()
        assert right[2, 0] - middle > 5 * yaw and right[1, 0] - right[0, 0] < plain[1, 0] - plain[0, 0]


# Regions


@pytest.mark.parametrize("seed", range(3))
def test_regions_are_there_exactly_when_the_look_has_them(seed):
    rng = np.random.default_rng(10 + seed)
    for _ in range(30):
        look = sample_look(rng)
        portrait = draw(sample_identity(rng), look, sample_pose(rng), labelled=True)
        assert portrait.labels.max() < len(REGIONS)
        for region in ("background", "clothes", "skin", "mouth"):
            assert portrait.region(region).sum() > 10, region
        assert portrait.region("eyes").any() or look.glasses == "sunglasses"
        for attribute, region in WORN.items():
            assert portrait.region(region).any() == (getattr(look, attribute) != "none"), attribute
        assert portrait.region("hair").any() == (look.hair_length != "bald")


@pytest.mark.parametrize(
    ("attribute", "regions"),
    [
        ("background", {"background"}),
        ("hat_color", {"hat"}),
        ("eye_color", {"eyes"}),
        ("hair_color", {"hair", "brows", "facial_hair"}),
    ],
)
def test_an_attribute_changes_its_own_region_and_no_other(attribute, regions):
    rng = np.random.default_rng(5)
    for _ in range(15):
        person, pose = sample_identity(rng), sample_pose(rng)
        look = replace(sample_look(rng), glasses="none", style="flat")  # ink lines belong to no region
        one, other = (
            draw(person, replace(look, **{attribute: value}), pose, labelled=True) for value in LOOKS[attribute][1:3]
        )
        assert np.array_equal(one.labels, other.labels)
        region = np.any([one.region(name) for name in regions], 0)
        changed = difference(one, other) > 24
        assert not (changed & ~grown(region, 2)).any()
        if attribute == "background":
            assert changed[region].mean() > 0.99


# Captions


PHRASES = {
    "hat": r"(?:(?:wearing )?a (?P<hat_color>\w+ )?(?P<hat>hat|beanie))",
    "no hat": r"no hat|without a hat",
    "no glasses": r"no glasses|without glasses",
    "glasses": r"(?:wearing |with |dark )?(?P<glasses>(?:sun)?glasses)",
    "no beard": r"clean-shaven|no beard",
    "facial hair": r"(?:with )?(?:a )?(?P<facial_hair>beard|moustache)(?:ed)?",
    "no earrings": r"no earrings",
    "earrings": r"(?:wearing |gold )?(?P<earrings>earrings)",
    "bald": r"(?:with a )?bald(?: head)?|no hair",
    "hair": r"(?:with )?(?P<hair>[\w -]+) hair",
    "eyes": r"(?:with )?(?P<eye_color>\w+) eyes",
    "background": r"(?:on an? |in front of an? )?(?P<background>\w+) (?:background|wall)",
    "expression": r"(?:with a |an? |looking )?(?P<expression>neutral|serious|smil|laughing|sad|surprised)[\w ]*",
    "subject": r"(?:an? )?(?P<style>ink(?:ed)?|(?:soft )?pastel|flat|simple)? ?(?:portrait|drawing|picture)(?: of .+)?",
}
ABSENT = {"no hat": ("hat", "none"), "no glasses": ("glasses", "none"), "no beard": ("facial_hair", "none"),
          "no earrings": ("earrings", "none"), "bald": ("hair_length", "bald")}  # fmt: skip
WORDS = {"serious": "neutral", "smil": "smiling", "inked": "ink", "soft pastel": "pastel", "simple": "flat"}


def claims(text):
    """What a caption says, as {attribute: value}, and the phrases that say nothing."""
    said, fillers = {}, []
    for phrase in text.split(", "):
        read = [(kind, match) for kind, pattern in PHRASES.items() if (match := re.fullmatch(pattern, phrase))]
        if not read:
            fillers.append(phrase)
            continue
        kind, match = read[0]
        words = {name: value.strip() for name, value in match.groupdict().items() if value}
        for word in words.pop("hair", "").split():
            [name] = [key for key in ("hair_color", "hair_length", "hair_curl") if word in LOOKS[key]]
            words[name] = word
        words |= [ABSENT[kind]] if kind in ABSENT else []
        for name, word in words.items():
            assert name not in said, text
            said[name] = WORDS.get(word, word)
    return said, fillers


def test_a_full_caption_names_everything_that_shows():
    rng = np.random.default_rng(0)
    for number in range(400):
        look, absent = sample_look(rng), number % 2
        said, fillers = claims(caption(look, rng, keep=1.0, absent=float(absent)))
        shown = {name: getattr(look, name) for name in LOOKS if look.says(name)}
        if not absent:
            shown = {name: value for name, value in shown.items() if value != "none"}
        assert shown.items() - said.items() <= {("style", "flat")}  # a plain portrait may go without saying
        assert said.items() <= shown.items() and len(fillers) <= 2


def test_a_bare_caption_names_nothing():
    rng = np.random.default_rng(1)
    for _ in range(200):
        said, _ = claims(caption(sample_look(rng), rng, keep=0.0))
        assert said == {}


def test_no_caption_contradicts_its_look():
    rng, named, spoken = np.random.default_rng(2), Counter(), defaultdict(set)
    for _ in range(3000):
        look = sample_look(rng)
        text = caption(look, rng)
        said, fillers = claims(text)
        assert len(fillers) <= 2 and not re.search(r"  |,,|\ba [aeiou]|\ban [^aeiou]", text), text
        for name, value in said.items():
            assert look.says(name) and getattr(look, name) == value, text
            spoken[name].add(value)
        named.update(name for name in said if said[name] != "none")
    assert {name: spoken[name] for name in LOOKS} == {name: set(values) for name, values in LOOKS.items()}
    for name in ("hair_length", "expression", "background"):
        assert 0.7 < named[name] / 3000 < 0.8


# Sampling


def test_sampling_is_reproducible():
    one, other = np.random.default_rng(7), np.random.default_rng(7)
    for make in (sample_identity, sample_look, sample_pose):
        first = make(one)
        assert first == make(other) and first != make(one)
        make(other)
    look = sample_look(np.random.default_rng(1))
    assert caption(look, one) == caption(look, other)


def test_sampling_covers_every_value():
    rng = np.random.default_rng(3)
    looks = [sample_look(rng) for _ in range(600)]
    for name, values in LOOKS.items():
        counts = Counter(getattr(look, name) for look in looks)
        assert set(counts) == set(values) and min(counts.values()) > 20
    vectors = np.stack([sample_identity(rng).vector for _ in range(600)])
    assert (vectors.min(0) < -0.95).all() and (vectors.max(0) > 0.95).all() and np.abs(vectors.mean(0)).max() < 0.1
    together = np.corrcoef(vectors.T) - np.eye(len(TRAITS))
    assert np.abs(together).max() < 0.2  # traits are independent of each other
    poses = [sample_pose(rng) for _ in range(200)]
    for name, width in {"x": 0.14, "y": 0.08, "scale": 0.25, "roll": 0.4, "yaw": 0.7}.items():
        spread = [getattr(pose, name) for pose in poses]
        assert max(spread) - min(spread) > width
