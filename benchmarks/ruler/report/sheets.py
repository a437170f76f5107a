"""Contact sheets: people from left to right, each with the prompt on top; below it the reference and the pictures."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_CELL, _GAP = 128, 6  # pixels
_LABEL = 175  # pixels: the names of the rows
FONT = ImageFont.load_default(size=13)
_LINE = 16  # pixels


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most so many pixels; a word by itself may be wider."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and FONT.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def contact_sheet(prompts: list[str], rows: dict[str, list[np.ndarray]], path: Path):
    """Write a PNG: a prompt on top of each column, rows of pictures uint8 [128, 128, 3] with names on the left."""
    step = _CELL + _GAP
    columns = [wrapped(prompt, _CELL) for prompt in prompts]
    top = _GAP + _LINE * max(map(len, columns)) + _GAP
    sheet = Image.new("RGB", (_LABEL + len(prompts) * step, top + len(rows) * step), "white")
    pen = ImageDraw.Draw(sheet)
    for column, lines in enumerate(columns):
        first = top - _GAP - _LINE * len(lines)  # the last line stands right above the pictures
        for number, line in enumerate(lines):
            pen.text((_LABEL + column * step, first + number * _LINE), line, "black", font=FONT)
    for number, (name, pictures) in enumerate(rows.items()):
        y = top + number * step
        pen.text((_GAP, y + _CELL // 2), name, "black", font=FONT, anchor="lm")
        for column, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (_LABEL + column * step, y))
    sheet.save(path)
