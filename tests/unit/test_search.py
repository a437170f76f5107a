"""How a picture is looked through: which views are taken, and that what they find lies where it is."""

import math

import photographs
import pytest
import torch
from likeness.core.faces.detect.search import MODES, search, turn_of, views
from likeness.core.faces.embedded import load_embedded
from likeness.core.faces.found import Faces, HostFace

# colours of the five landmarks of a drawn face, and where they lie in its box
COLOURS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]])
PLACES = torch.tensor([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]])
HEIGHT, WIDTH = 100, 140


def drawn(box, quarter_turns=0, height=HEIGHT, width=WIDTH):
    """A black picture [H, W, 3] with one face of five dots, the whole turned counter-clockwise; and its landmarks."""
    image = torch.zeros(height, width, 3)
    left, top, right, bottom = box
    points = (torch.tensor([left, top]) + PLACES * torch.tensor([right - left, bottom - top])).round().long()
    for (x, y), colour in zip(points.tolist(), COLOURS, strict=True):
        image[y - 1 : y + 2, x - 1 : x + 2] = colour
    image = torch.rot90(image, quarter_turns, (0, 1))
    for _ in range(quarter_turns):
        points, height, width = torch.stack([points[:, 1], width - 1 - points[:, 0]], 1), width, height
    return image, points.float()


class DotFinder:
    """Finds the dots of one face where that is upright, `smallest` to `largest` times the picture's shorter side from
    eye to eye, and away from the border. Remembers what it was shown."""

    def __init__(self, smallest=0.0, largest=1.0, most_turned=20.0, farthest=0.0):
        self.range, self.most_turned, self.farthest, self.shown = (smallest, largest), most_turned, farthest, []

    def __call__(self, image) -> Faces:
        self.shown.append(tuple(image.shape))
        per_image = [self.look(one.cpu()) for one in image]
        found = [face for face in per_image if face]
        numbers = [number for number, face in enumerate(per_image) if face]
        return Faces(
            torch.tensor([face.box for face in found], device=image.device).reshape(-1, 4),
            torch.tensor([face.landmarks for face in found], device=image.device).reshape(-1, 5, 2),
            torch.tensor([face.score for face in found], device=image.device),
            torch.tensor(numbers, dtype=torch.long, device=image.device),
            tuple(int(face is not None) for face in per_image), tuple(image.shape[1:3]), tuple(found),
        )  # fmt: skip

    def look(self, image):
        close = (image[:, :, None] - COLOURS).norm(dim=3) < 0.5
        if not close.any(0).any(0).all():
            return None
        points = torch.stack([dots.nonzero().float().mean(0).flip(0) for dots in close.unbind(2)])
        apart = float((points[1] - points[0]).norm()) / min(image.shape[:2])
        low, high = points.amin(0), points.amax(0)
        room = min(*low.tolist(), image.shape[1] - float(high[0]), image.shape[0] - float(high[1]))
        turn = turn_of(points.tolist())
        if not self.range[0] <= apart <= self.range[1] or abs(turn) > self.most_turned or room < self.farthest:
            return None
        box = (*(low + 0.5).tolist(), *(high + 0.5).tolist())
        return HostFace(box, tuple(map(tuple, points.tolist())), 0.9 + 0.1 * math.cos(math.radians(turn)))


def check(faces, number, points):
    """One face in image `number`, its landmarks and box where they are, on the device as on the host."""
    [place] = (faces.image_index == number).nonzero().flatten().tolist()
    torch.testing.assert_close(faces.landmarks[place].cpu(), points, atol=0.6, rtol=0)
    torch.testing.assert_close(torch.tensor(faces.on_host[place].landmarks), points, atol=0.6, rtol=0)
    box = torch.cat([points.amin(0), points.amax(0)]) + 0.5
    torch.testing.assert_close(faces.boxes[place].cpu(), box, atol=0.6, rtol=0)
    torch.testing.assert_close(torch.tensor(faces.on_host[place].box), box, atol=0.6, rtol=0)


@pytest.mark.parametrize("quarter_turns", range(4))
@pytest.mark.parametrize("number", range(len(views(HEIGHT, WIDTH))))
def test_every_view_maps_back(device, number, quarter_turns):
    """What any view shows of a face comes back to where it is, whatever way the face lies."""
    image, points = drawn((30, 20, 90, 85), quarter_turns)
    view = views(*image.shape[:2])[number]
    seen = DotFinder(most_turned=180).look(view.show(image[None])[0])
    matrix = torch.tensor(view.back(tuple(image.shape[:2])))
    back = torch.tensor(seen.landmarks).double() + 0.5
    torch.testing.assert_close((back @ matrix[:, :2].T + matrix[:, 2] - 0.5).float(), points, atol=0.6, rtol=0)


@pytest.mark.parametrize("quarter_turns", range(4))
def test_auto_finds_turned_faces(device, quarter_turns):
    image, points = drawn((30, 20, 90, 85), quarter_turns)
    find = DotFinder()
    faces = search(find, image[None].to(device))
    assert faces.counts == (1,) and faces.image_size == tuple(image.shape[:2])
    check(faces, 0, points)
    assert len(find.shown) == (1 if quarter_turns == 0 else len(find.shown)) and len(find.shown) <= 6
    # the first eye is the left one of the face set upright
    assert turn_of(faces.on_host[0].landmarks) == pytest.approx([0, -90, 180, 90][quarter_turns], abs=5) or (
        quarter_turns == 2 and abs(turn_of(faces.on_host[0].landmarks)) > 175
    )


def test_auto_looks_with_a_border_and_enlarged(device):
    image, points = drawn((5, 5, 135, 95))
    check(search(DotFinder(largest=0.3), image[None].to(device)), 0, points)  # too large for the first look
    check(search(DotFinder(farthest=30), image[None].to(device)), 0, points)  # too near the border
    image, points = drawn((40, 40, 70, 70))
    find = DotFinder(smallest=0.05)

    def pixels(picture):  # a detector that wants so many pixels, as they all do
        return find(picture) if min(picture.shape[1:3]) > 150 and picture.shape[1] == 200 else none(picture)

    check(search(pixels, image[None].to(device)), 0, points)


def none(image):
    return DotFinder(smallest=2.0)(image)


def test_auto_looks_again_only_where_nothing_was_found(device):
    """Four pictures: upright, nothing, upside down, too near the border. One look each way, over those that need it."""
    upright, points = drawn((30, 20, 90, 85))
    inverted, turned_points = drawn((40, 10, 100, 80), 2)
    large, large_points = drawn((3, 3, 135, 97))
    batch = torch.stack([upright, torch.zeros_like(upright), inverted, large]).to(device)
    find = DotFinder(largest=0.4)
    faces = search(find, batch)
    assert faces.counts == (1, 0, 1, 1)
    for number, expected in ((0, points), (2, turned_points), (3, large_points)):
        check(faces, number, expected)
    assert [shape[0] for shape in find.shown] == [4, 3, 2, 2, 2, 1, 1, 1, 1]
    once = DotFinder()
    assert search(once, upright[None].repeat(3, 1, 1, 1).to(device)).counts == (1, 1, 1)
    assert once.shown == [(3, HEIGHT, WIDTH, 3)]


def test_a_face_on_its_side_is_looked_at_upright(device):
    """A detector that sees faces at any turn: the first look finds it lying, the second the right way up."""
    image, points = drawn((30, 20, 90, 85), 3)
    find = DotFinder(most_turned=180)
    faces = search(find, image[None].to(device))
    check(faces, 0, points)
    assert [shape[1:3] for shape in find.shown] == [(140, 100), (100, 140)]
    assert faces.on_host[0].score == pytest.approx(1, abs=1e-3)  # the upright look's


def test_thorough_takes_each_face_once(device):
    image, points = drawn((30, 20, 90, 85))
    find = DotFinder(most_turned=180)
    faces = search(find, image[None].repeat(2, 1, 1, 1).to(device), "thorough")
    assert len(find.shown) == len(views(HEIGHT, WIDTH)) and faces.counts == (1, 1)
    for number in (0, 1):
        check(faces, number, points)
        assert faces.on_host[number].score == pytest.approx(1, abs=1e-3)


def test_plain_looks_once_and_other_words_are_refused(device):
    image, _ = drawn((30, 20, 90, 85), 1)
    find = DotFinder()
    assert search(find, image[None].to(device), "plain").counts == (0,) and len(find.shown) == 1
    with pytest.raises(ValueError, match="expected one of auto, thorough, plain"):
        search(find, image[None].to(device), "everything")
    assert MODES[0] == "auto"


def test_small_faces_are_as_if_they_were_not_there(device):
    image, points = drawn((30, 20, 90, 85))
    longer = float((points.amax(0) - points.amin(0)).max())
    assert search(DotFinder(), image[None].to(device), min_size=int(longer) - 2).counts == (1,)
    find = DotFinder()
    assert search(find, image[None].to(device), min_size=int(longer) + 2).counts == (0,)
    assert len(find.shown) == len(views(HEIGHT, WIDTH))


def test_pictures_of_any_size(device):
    for height, width in ((1, 1), (3, 900), (20, 20), (750, 1000)):
        faces = search(none, torch.rand(1, height, width, 3, device=device), "thorough")
        assert faces.counts == (0,) and faces.boxes.shape == (0, 4)


def test_the_plain_look_is_the_detectors(device):
    """Nothing is changed where the first look finds faces: the same numbers to the last bit."""
    encoder = load_embedded(device=device)
    image = photographs.as_image(photographs.picture("t1").resize((640, 443))).to(device)
    one, other = encoder.detect(image), search(encoder.detect, image)
    assert one.on_host == other.on_host and one.counts == other.counts
    assert torch.equal(one.boxes, other.boxes) and torch.equal(one.landmarks, other.landmarks)
