"""How the pictures of the help pages are laid out: strips, tables of scores, and nodes with their wires."""

import math
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

PICTURES = Path(__file__).resolve().parent.parent / "web/docs/images"
CELL, GAP, LINE = 168, 8, 22  # pixels
BACKGROUND, INK, FAINT, GOOD = (28, 28, 30), (235, 235, 235), (150, 150, 150), (40, 150, 80)
WIRE = (120, 170, 250)
NODE, APART, ROW = 190, 70, 20  # pixels: a node's width, between nodes, a socket's line
_FONT = ImageFont.load_default(size=15)


def as_picture(value) -> Image.Image:
    """An IMAGE [1,H,W,3] or [H,W,3], a MASK [1,H,W] or [H,W], or a PIL picture."""
    if isinstance(value, Image.Image):
        return value
    pixels = value[0] if value.ndim == 4 or (value.ndim == 3 and value.shape[-1] > 4) else value
    pixels = pixels if pixels.ndim == 3 else pixels[..., None].expand(-1, -1, 3)
    return Image.fromarray((pixels.float().clamp(0, 1) * 255).round().to(torch.uint8).numpy())


def strip(*rows, heading="") -> Image.Image:
    """Rows of (picture, words below it), all of one height; wide ones are as wide as they need."""
    cells = [[(fitted(as_picture(value)), label) for value, label in row] for row in rows]
    width = max(sum(cell.width + GAP for cell, _ in row) for row in cells) + GAP
    top = LINE + GAP if heading else 0
    sheet = Image.new("RGB", (width, top + len(cells) * (CELL + LINE + GAP) + GAP), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, GAP), heading, font=_FONT, fill=INK)
    for number, row in enumerate(cells):
        x, y = GAP, top + GAP + number * (CELL + LINE + GAP)
        for cell, label in row:
            sheet.paste(cell, (x, y))
            pen.text((x, y + CELL + 2), label, font=_FONT, fill=INK)
            x += cell.width + GAP
    return sheet


def table(rows, columns, scores) -> Image.Image:
    """Pictures at the left and on top, and how alike they are where they meet; the best of each row is green."""
    step = CELL // 2 + GAP
    small = [[fitted(as_picture(value), CELL // 2) for value in side] for side in (rows, columns)]
    sheet = Image.new("RGB", ((len(columns) + 1) * step + GAP, (len(rows) + 1) * step + GAP), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    for number, picture in enumerate(small[1], 1):
        sheet.paste(picture, (GAP + number * step, GAP))
    for number, (picture, row) in enumerate(zip(small[0], scores, strict=True), 1):
        y = GAP + number * step
        sheet.paste(picture, (GAP, y))
        for place, score in enumerate(row, 1):
            x = GAP + place * step
            fill = GOOD if score == max(row) else (60, 60, 64)
            pen.rectangle((x, y, x + CELL // 2 - 1, y + CELL // 2 - 1), fill=fill)
            pen.text((x + CELL // 4, y + CELL // 4), f"{score:.2f}", font=_FONT, fill=INK, anchor="mm")
    return sheet


def wiring(nodes, wires) -> Image.Image:
    """Nodes from left to right, {title: (inputs, outputs)}, and wires (title, output, title, input) between them."""
    highest = max(len(inputs) + len(outputs) for inputs, outputs in nodes.values())
    width = len(nodes) * (NODE + APART) - APART + 2 * GAP
    sheet = Image.new("RGB", (width, (highest + 1) * ROW + 3 * GAP), BACKGROUND)
    pen, ends = ImageDraw.Draw(sheet), {}
    for number, (title, (inputs, outputs)) in enumerate(nodes.items()):
        x, y = GAP + number * (NODE + APART), GAP
        bottom = y + (len(inputs) + len(outputs) + 1) * ROW + GAP
        pen.rectangle((x, y, x + NODE, bottom), fill=(52, 52, 56), outline=FAINT)
        pen.text((x + 6, y + 2), title, font=_FONT, fill=INK)
        sides = [(label, "out") for label in outputs] + [(label, "in") for label in inputs]
        for row, (label, side) in enumerate(sides, 1):
            middle, end, inward = y + row * ROW + ROW // 2 + 4, *((x + NODE, -10) if side == "out" else (x, 10))
            pen.ellipse((end - 4, middle - 4, end + 4, middle + 4), fill=WIRE)
            pen.text((end + inward, middle), label, font=_FONT, fill=INK, anchor="rm" if side == "out" else "lm")
            ends[title, side, label] = end, middle
    for from_node, output, to_node, taken in wires:
        pen.line(_bow(ends[from_node, "out", output], ends[to_node, "in", taken]), fill=WIRE, width=3)
    return sheet


def _bow(start, end):
    (x0, y0), (x1, y1) = start, end
    steps = [step / 24 for step in range(25)]
    return [(x0 + (x1 - x0) * t, y0 + (y1 - y0) * (1 - math.cos(math.pi * t)) / 2) for t in steps]


def fitted(picture: Image.Image, height: int = CELL) -> Image.Image:
    """As high as this, as wide as it then has to be."""
    width = max(1, round(picture.width * height / picture.height))
    return picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
