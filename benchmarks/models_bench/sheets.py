"""A sheet for a prompt, which is printed on it: people side by side under the names of their files, their photograph
and each condition below."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageOps
from ruler.report.sheets import FONT, wrapped

from .work import Person, Picture

_SIDE, _LABEL, _GAP, _LINE = 192, 150, 4, 20  # pixels
_PEOPLE = 8  # on a sheet


def write_sheet(people: list[Person], groups: dict[str, list[Picture]], prompt: int, path: Path):
    """Write a JPEG of prompt number `prompt`, of the first seed. A picture that was not made is left grey."""
    shown = people[:_PEOPLE]
    files = {(name, one.person): one.file for name, some in groups.items() for one in some
             if one.prompt == prompt and one.seed == 1}  # fmt: skip
    text = next(one.text for some in groups.values() for one in some if one.prompt == prompt)
    rows = {"photograph": [person.photograph for person in shown]}
    rows |= {name: [files.get((name, person.name)) for person in shown] for name in groups}
    width = _LABEL + len(shown) * (_SIDE + _GAP)
    lines = wrapped(text, width - 2 * _GAP)
    top = _GAP + _LINE * (len(lines) + 1)
    sheet = Image.new("RGB", (width, top + len(rows) * (_SIDE + _GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((_GAP, _GAP + number * _LINE), line, "black", FONT)
    for column, person in enumerate(shown):
        at = (_LABEL + column * (_SIDE + _GAP), top - _LINE)
        draw.text(at, _cut(person.photograph.name, _SIDE), "black", FONT)
    for row, (name, pictures) in enumerate(rows.items()):
        y = top + row * (_SIDE + _GAP)
        draw.text((_GAP, y + _SIDE // 2), name, "black", FONT)
        for column, file in enumerate(pictures):
            sheet.paste(_thumbnail(file), (_LABEL + column * (_SIDE + _GAP), y))
    sheet.save(path, quality=90)


def _thumbnail(file):
    if file is None:
        return Image.new("RGB", (_SIDE, _SIDE), "lightgrey")
    with Image.open(file) as picture:
        return ImageOps.pad(ImageOps.exif_transpose(picture).convert("RGB"), (_SIDE, _SIDE), color="white")


def _cut(text, width):
    return next(text[:end] for end in range(len(text), -1, -1) if FONT.getlength(text[:end]) <= width)
