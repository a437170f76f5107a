"""Contact sheets and plots: sizes, order, colours, words, and that nothing in them is left to chance."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from likeness.core.similarity import contact_sheet, judge, score_plot
from likeness.core.similarity import sheet as drawing
from PIL import Image, ImageDraw, ImageFont

GREEN, RED, GREY = (drawing.COLOURS[outcome] for outcome in ("accepted", "rejected", "skipped"))


def flat(count, height=96, width=64):
    """Pictures of one grey each, the number of the picture times eight."""
    return (torch.arange(count)[:, None, None, None] * 8.0 / 255).expand(count, height, width, 3)


def verdicts(scores, threshold=0.5):
    known = [score for score in scores if score is not None]
    return judge(known, tuple(int(score is not None) for score in scores), threshold, "skip")


def drawn(scores, percents=None, threshold=0.5, **size):
    sheet = contact_sheet(
        flat(len(scores), **size), verdicts(scores, threshold), percents or [None] * len(scores), threshold
    )
    return np.rint(sheet[0].numpy() * 255).astype(np.uint8)


def cells(count, wide, high):
    """The upper left corner of each cell's frame."""
    across, down = wide + 2 * drawing.FRAME + drawing.GAP, high + 2 * drawing.FRAME + drawing.TEXT + drawing.GAP
    return [
        (drawing.GAP + i % 6 * across, drawing.TEXT + drawing.GAP + i // 6 * down) for i in range(count)
    ]  # fmt: skip


def written(line, ink=drawing.INK):
    """A line as pixels, by PIL alone."""
    font = ImageFont.load_default(size=16)
    plate = Image.new("RGB", (900, 22), drawing.BACKGROUND)
    ImageDraw.Draw(plate).text((0, 0), line, font=font, fill=ink)
    return np.asarray(plate)[:, : int(font.getlength(line))]


def test_most_alike_first_with_a_frame_by_the_threshold():
    scores = [0.2, 0.9, None, 0.5, 0.7]
    sheet = drawn(scores)
    wide, high = 117, 176
    for (x, y), (index, colour) in zip(
        cells(5, wide, high), [(1, GREEN), (4, GREEN), (3, GREEN), (0, RED), (2, GREY)], strict=True
    ):
        assert tuple(sheet[y, x]) == colour and tuple(sheet[y + high + 9, x + wide + 9]) == colour
        assert (sheet[y + 5 : y + 5 + high, x + 5 : x + 5 + wide] == index * 8).all()
        assert tuple(sheet[y + high + 11, x]) == drawing.BACKGROUND


@pytest.mark.parametrize("count, columns, rows", [(1, 1, 1), (5, 5, 1), (6, 6, 1), (7, 6, 2), (24, 6, 4), (60, 6, 4)])
def test_sizes(count, columns, rows):
    sheet = drawn(list(np.linspace(0.9, 0.1, count)), height=64, width=96)
    wide, high = 176, 117
    assert sheet.shape[0] == 34 + rows * (high + 10 + 26 + 8)
    assert sheet.shape[1] >= columns * (wide + 18) + 8 and (columns < 3 or sheet.shape[1] == columns * (wide + 18) + 8)


def test_number_score_and_percentage_are_written_below():
    sheet = drawn([0.1234, 0.98765, None], [12.3, 99.9, None])
    lines = ["#1  0.988  100 %", "#0  0.123  12 %", "#2  no face"]
    for (x, y), line in zip(cells(3, 117, 176), lines, strict=True):
        expected = written(line)
        assert expected.max() > 200
        got = sheet[y + 176 + 9 + 4 :][:22, x : x + expected.shape[1]]
        assert np.array_equal(got, expected), line


def test_the_heading_counts():
    expected = written("the best 24 of 30, threshold 0.500: 15 accepted, 14 rejected, 1 skipped"[:24])
    sheet = drawn([*np.linspace(0.9, 0.51, 15), *np.linspace(0.4, 0.1, 14), None])
    assert np.array_equal(sheet[8:30, 8 : 8 + expected.shape[1]], expected)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-1, 1)), min_size=1, max_size=40), st.floats(-1, 1))
def test_any_scores_give_the_same_pictures_twice(scores, threshold):
    first, second = (drawn(scores, threshold=threshold, height=16, width=16) for _ in range(2))
    assert np.array_equal(first, second)
    plots = [score_plot(verdicts(scores, threshold), threshold) for _ in range(2)]
    assert torch.equal(*plots) and plots[0].shape == (1, 320, 6 * 194 + 8, 3)


def test_pictures_in_half_precision_out_of_range_or_without_numbers():
    image = flat(3).half().clone()
    image[0], image[1] = torch.nan, torch.inf
    sheet = contact_sheet(image, verdicts([0.9, 0.8, 0.7]), [None] * 3, 0.5)
    assert sheet.dtype == torch.float32 and sheet.isfinite().all() and sheet.min() >= 0 and sheet.max() <= 1


def bars(scores, threshold):
    """The plot's columns by colour: how many pixels of a bar each has."""
    plot = np.rint(score_plot(verdicts(scores, threshold), threshold)[0].numpy() * 255).astype(np.uint8)
    return [(plot[60:286] == np.array(colour)).all(-1).sum(0) for colour in (GREEN, RED)]


def test_bars_of_the_plot_are_as_high_as_there_are_pictures():
    green, red = bars([0.1] * 10 + [0.8] * 20 + [0.9] * 5, 0.5)
    assert red.max() == pytest.approx(green.max() / 2, abs=2)
    assert green[-40:].max() == pytest.approx(green.max() / 4, abs=2)
    assert red.nonzero()[0].max() < green.nonzero()[0].min()  # no bar lies on both sides


def test_a_threshold_that_no_score_comes_near_is_said():
    plot = score_plot(verdicts([0.9, 0.95, 0.97], 0.0), 0.0)
    expected = written("threshold 0.000 lies below all scores", drawing.FAINT)
    got = np.rint(plot[0].numpy() * 255).astype(np.uint8)[34:56, 16 : 16 + expected.shape[1]]
    assert np.array_equal(got, expected)
    assert bars([0.9, 0.95, 0.97], 0.0)[1].max() == 0
    assert bars([0.9, 0.95, 0.97], 1.0)[0].max() == 0
