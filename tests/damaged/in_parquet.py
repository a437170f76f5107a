"""Parquet tables: whole ones with every type there is, and small files that are gigabytes once they are read."""

import datetime
import decimal
import functools
import io
import random

import pyarrow as pa
import pyarrow.parquet as parquet


def _bytes(table: pa.Table, **options) -> bytes:
    file = io.BytesIO()
    parquet.write_table(table, file, **options)
    return file.getvalue()


@functools.cache
def whole() -> bytes:
    """A table as an artist would make it."""
    return _bytes(pa.table({"key": ["a", "b", "c"], "1.seed": [1, 2, 3], "note": ["x", None, "名前"]}))


COLUMNS = (
    lambda: pa.array([b"\xff\0", None, b""]),
    lambda: pa.array([float("nan"), float("inf"), 1.0]),
    lambda: pa.array([2**63 - 1, -(2**63), None]),
    lambda: pa.array([2**64 - 1, 0, None], pa.uint64()),
    lambda: pa.array([10**14, -(10**14), None], pa.timestamp("s")),
    lambda: pa.array([1, 2**62, None], pa.timestamp("ns")),
    lambda: pa.array([1, 2, None], pa.timestamp("us", tz="Nowhere/Land")),
    lambda: pa.array([2**31 - 1, -(2**31), None], pa.date32()),
    lambda: pa.array([1, 2**40, None], pa.time64("ns")),
    lambda: pa.array([2**62, 1, None], pa.duration("ns")),
    lambda: pa.array([decimal.Decimal("1e30"), decimal.Decimal("-0.5"), None], pa.decimal128(38, 7)),
    lambda: pa.array([[1], None, []]),
    lambda: pa.array([{"a": {"b": 1}}, None, {"a": None}]),
    lambda: pa.array([datetime.date(1, 1, 1), None, datetime.date(9999, 12, 31)]),
    lambda: pa.array(["a", "a", None]).dictionary_encode(),
    lambda: pa.nulls(3),
    lambda: pa.array([True, False, None]),
    lambda: pa.array(["\ud7ff", "\0", "x" * 1_000_000]),
    lambda: pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"),
                                                   pa.py_buffer(b"\xff\xfe\xc3")]),
    lambda: pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    lambda: pa.array([1.5, None, 2], pa.float16()),
)  # fmt: skip


def odd(rng: random.Random) -> bytes:
    """Columns of any type, under odd names, some of them twice."""
    columns = [rng.choice(COLUMNS)() for _ in range(rng.choice((1, 2, 5)))]
    names = [rng.choice(("key", "1.seed", "", ".", "a", "名前", "\0", "x" * 10_000)) for _ in columns]
    return _bytes(pa.Table.from_arrays(columns, names=names))


@functools.cache
def _constant() -> bytes:
    return _bytes(pa.table({"a": pa.nulls(20_000_000, pa.int8()).fill_null(1)}))


@functools.cache
def _long_texts() -> bytes:
    texts = pa.DictionaryArray.from_arrays(pa.nulls(20_000, pa.int32()).fill_null(0), pa.array(["x" * 1_000_000]))
    return _bytes(pa.table({"a": texts}), store_schema=False, compression="zstd")


@functools.cache
def _one_text() -> bytes:
    return _bytes(pa.table({"a": ["x" * 280_000_000]}), compression="zstd")


@functools.cache
def _wide() -> bytes:
    return _bytes(pa.table({f"c{number}": [1] for number in range(5000)}))


def bomb(rng: random.Random) -> bytes:
    """20 million rows, a long text in 20,000 rows, one text of 280 MB, 5,000 columns; all in files under a megabyte."""
    return rng.choice((_constant, _long_texts, _one_text, _wide))()
