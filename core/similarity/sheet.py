"""What a likeness gate did, as pictures: a contact sheet sorted by score, and the spread of the scores."""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from .gate import Verdict, label

MOST = 24  # pictures on a sheet; with more, the best of them and a plot of all scores
COLUMNS = 6
THUMB, FRAME, GAP, TEXT = 176, 5, 8, 26  # pixels: a picture's longer side, the frame around it, between cells, a line
BACKGROUND, INK, FAINT = (32, 32, 32), (235, 235, 235), (150, 150, 150)
COLOURS = {"accepted": (40, 190, 80), "rejected": (220, 60, 50), "skipped": FAINT}
PLOT_SIZE = (COLUMNS * (THUMB + 2 * FRAME + GAP) + GAP, 320)
_FONT_SIZE = 16
_BINS = 32


def ranked(verdicts: list[Verdict]) -> list[Verdict]:
    """Most alike first, pictures without a score last, equal ones in their order."""
    return sorted(verdicts, key=lambda verdict: math.inf if verdict.score is None else -verdict.score)


def contact_sheet(
    image: torch.Tensor, verdicts: list[Verdict], percents: list[float | None], threshold: float
) -> torch.Tensor:
    """The best MOST of images [B,H,W,3] with number, score and percentage under each -> [1,H',W',3] in 0..1.

    `percents` are those of the verdicts, None where unknown. Frames: green accepted, red rejected, grey unjudged.
    """
    shown = ranked(verdicts)[:MOST]
    places = [verdict.index for verdict in shown]
    pixels = (
        (image[places].float().nan_to_num(0.0).clamp(0, 1) * 255).round().byte().cpu().numpy()
    )  # host read: a picture to look at
    columns, rows = min(COLUMNS, len(shown)), math.ceil(len(shown) / COLUMNS)
    wide, high = _thumb_size(image.shape[2], image.shape[1])
    cell = wide + 2 * FRAME + GAP, high + 2 * FRAME + TEXT + GAP
    font = ImageFont.load_default(size=_FONT_SIZE)
    heading = _heading(verdicts, len(shown), threshold)
    width = max(columns * cell[0] + GAP, math.ceil(font.getlength(heading)) + 2 * GAP)
    sheet = Image.new("RGB", (width, TEXT + GAP + rows * cell[1]), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, GAP), heading, font=font, fill=INK)
    for place, (verdict, picture) in enumerate(zip(shown, pixels, strict=True)):
        x, y = GAP + place % COLUMNS * cell[0], TEXT + GAP + place // COLUMNS * cell[1]
        frame = (x, y, x + wide + 2 * FRAME - 1, y + high + 2 * FRAME - 1)
        pen.rectangle(frame, fill=COLOURS[verdict.outcome])
        sheet.paste(Image.fromarray(picture).resize((wide, high), Image.Resampling.BICUBIC), (x + FRAME, y + FRAME))
        pen.text((x, frame[3] + 4), label(verdict, percents[verdict.index]), font=font, fill=INK)
    return _as_image(sheet)


def score_plot(verdicts: list[Verdict], threshold: float) -> torch.Tensor:
    """How many pictures have which score, and where the threshold cuts -> [1,320,W,3] in 0..1.

    Each bar is one step of the scores, counted from the threshold, so that none lies on both sides of it.
    """
    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    plot = Image.new("RGB", PLOT_SIZE, BACKGROUND)
    pen, font = ImageDraw.Draw(plot), ImageFont.load_default(size=_FONT_SIZE)
    if not scores:
        pen.text((GAP, GAP), "No picture has a score.", font=font, fill=INK)
        return _as_image(plot)
    step = max(max(scores) - min(scores), 1e-3) / _BINS
    bins = [math.floor((score - threshold) / step) for score in scores]
    first, count = min(bins), max(bins) - min(bins) + 1
    heights = np.bincount(np.array(bins) - first, minlength=count)
    left, right, top, bottom = 2 * GAP, PLOT_SIZE[0] - 2 * GAP, 2 * TEXT + GAP, PLOT_SIZE[1] - TEXT - GAP
    bar = (right - left) / count

    def x_of(score):
        return left + ((score - threshold) / step - first) * bar

    for place, height in enumerate(heights):
        if height:
            colour = COLOURS["accepted" if first + place >= 0 else "rejected"]
            edges = left + place * bar, left + (place + 1) * bar - 1
            pen.rectangle((edges[0], bottom - height / heights.max() * (bottom - top), edges[1], bottom), fill=colour)
    pen.line((left, bottom, right, bottom), fill=FAINT)
    pen.text((GAP, GAP), f"scores of {len(scores)} pictures, at most {heights.max()} in a bar", font=font, fill=INK)
    low, high = f"{min(scores):.3f}", f"{max(scores):.3f}"
    pen.text((left, bottom + 4), low, font=font, fill=INK)
    pen.text((right - font.getlength(high), bottom + 4), high, font=font, fill=INK)
    x, words = x_of(threshold), f"threshold {threshold:.3f}"
    if left <= x <= right:
        pen.line((x, TEXT + GAP, x, bottom), fill=INK, width=2)
        pen.text((min(x + 4, right - font.getlength(words)), TEXT + GAP), words, font=font, fill=INK)
    else:
        where = "below" if x < left else "above"
        pen.text((left, TEXT + GAP), f"{words} lies {where} all scores", font=font, fill=FAINT)
    return _as_image(plot)


def _thumb_size(width, height):
    scale = THUMB / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _heading(verdicts, shown, threshold):
    outcomes = [verdict.outcome for verdict in verdicts]
    counts = (f"{outcomes.count(one)} {one}" for one in COLOURS if one in outcomes)
    part = "" if shown == len(verdicts) else f"the best {shown} of {len(verdicts)}, "
    return f"{part}threshold {threshold:.3f}: " + ", ".join(counts)


def _as_image(picture):
    return torch.from_numpy(np.asarray(picture).copy())[None].float() / 255
