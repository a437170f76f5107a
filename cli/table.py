"""A table of prompts: CSV, JSON Lines or Parquet, one row each, with a key that names its folder."""

import csv
import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .names import LETTERS, alike, composed, names_a_folder
from .problems import Usage, shown

# Far above any table of prompts: what a small Parquet file may grow to.
_ROWS, _BYTES, _AT_ONCE = 1_000_000, 2**28, 64


@dataclass(frozen=True)
class Row:
    """A row's key and its cells that have a value; an empty one leaves what the workflow says."""

    key: str
    cells: dict


def read(path: Path, key_column: str = "key") -> list[Row]:
    """The rows of a table. The key is the cell in `key_column`; without that column rows are numbered from 00001.

    Usage, with the number of the row, for keys that come twice or can't name a folder.
    """
    readers = {".csv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise Usage(f"{path} is no table; give a .csv, .jsonl or .parquet file.")
    try:
        records = reader(path)
    except OSError as error:
        raise Usage(f"{path} can't be read ({error.strerror or shown(error)}); give the path of a table.") from error
    except UnicodeDecodeError as error:
        raise Usage(f"{path} is not UTF-8 text; save it as UTF-8.") from error
    if not records:
        raise Usage(f"{path} has no rows.")
    numbered = not any(key_column in record for record in records)
    rows, seen = [], {}
    for number, record in enumerate(records, 1):
        key = f"{number:05}" if numbered else _key(record.get(key_column), f"Row {number} of {path.name}")
        if alike(key) in seen:
            raise Usage(f"Rows {seen[alike(key)]} and {number} of {path.name} have one key, {key!r}; make it two.")
        seen[alike(key)] = number
        cells = {name: value for name, value in record.items() if value is not None and name != key_column}
        for name, value in cells.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise Usage(
                    f"Row {number} of {path.name} has {value} in {shown(name, 60)!r}, which is no number to work with."
                )
        rows.append(Row(key, cells))
    return rows


def columns_of(rows: list[Row]) -> list[str]:
    """The names of all columns, in order."""
    return list(dict.fromkeys(name for row in rows for name in row.cells))


def _key(value, where):
    text = "" if value is None else composed(str(value))
    if not text:
        raise Usage(f"{where} has no key, which names its folder; give every row one, or leave the column away.")
    if not names_a_folder(text):
        raise Usage(
            f"{where} has the key {shown(text, 60)!r}, which names its folder: use up to {LETTERS} letters, digits, "
            "dots, dashes and underscores, without a dot at either end, no .jsonl or .part, and no name that Windows "
            "keeps for itself (CON, NUL, COM1, ...)."
        )
    return text


def _csv(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True)
        try:
            head = next(lines, [])
            twice = {name for name, times in Counter(head).items() if times > 1}
            if twice:
                raise Usage(f"{path} has the column {shown(min(twice), 60)!r} twice; name each differently.")
            records = []
            for cells in lines:
                if cells and len(cells) != len(head):
                    raise Usage(f"Line {lines.line_num} of {path} has {len(cells)} cells under {len(head)} columns.")
                if cells:
                    records.append({name: cell if cell != "" else None for name, cell in zip(head, cells, strict=True)})
        except csv.Error as error:
            raise Usage(f"Line {lines.line_num} of {path} is no CSV ({error}); save the table again.") from error
    return records


def _jsonl(path):
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Usage(f"Line {number} of {path} is no JSON ({shown(error, 100)}).") from error
        if not isinstance(record, dict) or any(isinstance(value, dict | list) for value in record.values()):
            raise Usage(f"Line {number} of {path} must be an object of texts, numbers and switches.")
        records.append(record)
    return records


def _parquet(path):
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise Usage(
            "Parquet tables need the package pyarrow; install it with pip install pyarrow, or save the table as CSV."
        ) from error
    try:
        with ParquetFile(path) as file:
            if file.metadata.num_rows > _ROWS:
                raise Usage(f"{path} has {file.metadata.num_rows:,} rows, and {_ROWS:,} are the most; split it.")
            records, size = [], 0
            # few at a time: a small file may hold one long text, or one row, a million times
            for batch in file.iter_batches(_AT_ONCE):
                size += batch.nbytes
                if size > _BYTES:
                    raise Usage(f"{path} holds more than {_BYTES:,} bytes of values; split it, or save it as CSV.")
                records += batch.to_pylist()
    except ArrowException as error:
        raise Usage(f"{path} is no Parquet table ({shown(error, 100)}).") from error
    # dates and spans of time that Python has no object for
    except (ValueError, OverflowError) as error:
        raise Usage(f"{path} holds values that can't be read ({shown(error, 100)}); save it as CSV.") from error
    plain = (str, int, float, bool, type(None))
    # dates, decimals and the like go by their text, lists and structures nowhere
    return [{name: value if isinstance(value, plain) else str(value) for name, value in one.items()} for one in records]
