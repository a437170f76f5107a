"""State dicts that are whole files and wrong inside, and pickles and archives with large claims."""

import io
import json
import pickle
import random
import struct
import zipfile

import torch

from . import whole

LARGE = 10**10
_NAN = float("nan")


def tensors(state: dict[str, torch.Tensor], rng: random.Random) -> dict:
    """A tensor of another shape or type, missing, doubled, swapped, infinite, under another name, or no tensor."""
    changed = dict(state)
    keys = list(state)
    key, other = rng.choice(keys), rng.choice(keys)
    tensor = changed[key]
    way = rng.randrange(10)
    if way == 0:
        del changed[key]
    elif way == 1:
        changed[f"{key}2"] = tensor.clone()
    elif way == 2:
        changed[key] = state[other].clone()
    elif way == 3:
        shape = [rng.choice((size, size + 1, max(1, size // 2), 0)) for size in tensor.shape] or [3]
        changed[key] = torch.ones(shape)
    elif way == 4:
        changed[key] = tensor.flatten() if tensor.ndim > 1 else tensor.reshape(1, -1)
    elif way == 5:
        changed[key] = tensor.to(rng.choice((torch.int64, torch.bool, torch.float64, torch.int8, torch.bfloat16,
                                             torch.float8_e4m3fn)))  # fmt: skip
    elif way == 6:
        changed[key] = torch.full_like(
            tensor, rng.choice((_NAN, float("inf"), 6e4)) if tensor.is_floating_point() else 7
        )
    elif way == 7:
        for gone in keys[rng.randrange(len(keys)) :]:
            del changed[gone]
    elif way == 8:
        stem = key.rpartition(".")[0] or key
        for name in [name for name in keys if name.startswith(stem)]:
            del changed[name]
    else:
        changed = {f"{rng.choice(('module.', 'model.', 'x.'))}{name}" if rng.random() < 0.9 else name: value
                   for name, value in changed.items()}  # fmt: skip
    return changed


def safetensors_header(state, rng) -> bytes:
    """A header that claims sizes, places and types that are not there, up to 10 GB and beyond."""
    data = whole.as_safetensors(state)
    length = struct.unpack("<Q", data[:8])[0]
    way = rng.randrange(8)
    if way == 0:
        claimed = rng.choice((length + 1, length - 1, 10**6, 10**8, 10**8 + 1, LARGE, 2**62, 2**64 - 1, 0, 2))
        return struct.pack("<Q", claimed) + data[8:]
    header = json.loads(data[8 : 8 + length])
    keys = [key for key in header if key != "__metadata__"]
    entry = header[rng.choice(keys)]
    absurd = rng.choice((-1, 0, 3, 2**31, LARGE, 2**62, 2**64 - 1, 1e30, "7", None))
    if way == 1:
        entry["shape"] = rng.choice(([LARGE], [2**32, 2**32], [absurd], [], [1] * 1000, "x", None))
    elif way == 2:
        entry["data_offsets"] = rng.choice(([0, LARGE], [absurd, 4], [LARGE, 0], [2**63, 2**63 + 4], [], [0]))
    elif way == 3:
        entry["dtype"] = rng.choice(("F64", "F4", "U64", "I64", "BOOL", "", "float32", 7))
    elif way == 4:
        entry["shape"], entry["data_offsets"] = [LARGE // 4], [0, LARGE]
    elif way == 5:
        header = {
            "__metadata__": {"a": "b" * 1_000_000},
            **{key: value for key, value in header.items() if key in keys},
        }
    elif way == 6:
        header |= {f"n{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(200_000)}
    else:
        text = rng.choice(
            ("[" * 100_000, "{" * 100_000, '{"a":' * 50_000, '{"a' + "\\n" * 200 + '":1}', "{}", '{"a":{}}')
        )
        return struct.pack("<Q", len(text) + 1) + b"{" + text.encode() + data[8 + length :]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def archive(state, rng) -> bytes:
    """A checkpoint whose zip entries are compressed, of other sizes than they say, missing, doubled or many."""
    data = whole.as_zip(state)
    source = zipfile.ZipFile(io.BytesIO(data))
    names, file = source.namelist(), io.BytesIO()
    chosen = rng.choice([name for name in names if "/data/" in name])
    way = rng.randrange(7)
    method = zipfile.ZIP_DEFLATED if way in (0, 1) else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", method) as target:
        for name in names:
            if way == 0 and name == chosen:
                target.writestr(name, bytes(rng.choice((10**6, 3 * 10**8))))
            elif way == 1 and name.endswith("data.pkl"):
                target.writestr(name, source.read(name) + bytes(3 * 10**8))
            elif way == 2 and name == chosen:
                continue
            elif way == 3 and name == chosen:
                target.writestr(name, source.read(name)[: rng.randrange(8)])
            else:
                target.writestr(name, source.read(name))
        for number in range(50_000 if way == 4 else 0):
            target.writestr(f"n{number}", b"")
    if way < 5:
        return file.getvalue()
    # sizes in the list at the end, and in the entry's own header: "PK\1\2" with sizes at 20 and 24, "PK\3\4" at 18, 22
    changed = bytearray(file.getvalue())
    marks = [place for place in range(len(changed) - 4) if changed[place : place + 4] == b"PK\1\2"] if way == 5 else []
    for place in [rng.choice(marks)] if marks else []:
        size = rng.choice((0, 1, 2**20, 2**31, 2**32 - 2, 2**32 - 1))
        for at in rng.choice(((20,), (24,), (20, 24), (42,))):
            changed[place + at : place + at + 4] = struct.pack("<I", size)
    if way == 6:
        end = changed.rfind(b"PK\5\6")
        at = rng.choice((8, 10, 12, 16))
        changed[end + at : end + at + 2] = rng.choice((b"\0\0", b"\xff\xff", b"\1\0"))
    return bytes(changed)


def _mark(content: bytes, old: bytes, new: bytes, rng) -> bytes:
    places = [place for place in range(len(content)) if content.startswith(old, place)]
    place = rng.choice(places) if places else 0
    return content[:place] + new + content[place + len(old) * bool(places) :]


def storage_claims(state, rng) -> bytes:
    """A pickle whose storages or shapes are larger than the file, up to 10 GB and beyond."""
    key = "a" * 30
    huge = rng.choice((10**6, 2**31 - 1, LARGE, 2**40, 2**62))
    old_style = rng.random() < 0.5
    data = (whole.as_old_pickle if old_style else whole.as_zip)({key: torch.arange(119.0), "b": torch.ones(3)})
    long = pickle.dumps(huge, 2)[2:-1]
    if old_style:
        return _mark(data, b"K\x77", long, rng)
    source, file = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("data.pkl"):
                content = _mark(content, b"K\x77", long, rng)
                if rng.random() < 0.5:
                    content = content.replace(b"K\x77", long)
            target.writestr(name, content)
    return file.getvalue()


def _in_archive(pickled: bytes) -> bytes:
    source, file = zipfile.ZipFile(io.BytesIO(whole.as_zip({"a": torch.ones(2)}))), io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        for name in source.namelist():
            target.writestr(name, pickled if name.endswith("data.pkl") else source.read(name))
    return file.getvalue()


def pickle_bomb(state, rng) -> bytes:
    """Pickles of few bytes that take for ever or fill the stack: nested tuples as a key, deep nesting, many things."""
    way = rng.randrange(7)
    if way == 0:  # a key whose hash takes 2^60 steps
        body = b"}K\x01q\0" + b"h\0\x86q\0" * 60 + b"K\x01s"
    elif way == 1:  # a key as deep as no stack
        body = b"}K\x01" + b"\x85" * 2_000_000 + b"K\x01s"
    elif way == 2:  # dictionaries in dictionaries
        body = b"}X\x01\0\0\0a" * 300_000 + b"K\x01" + b"s" * 300_000
    elif way == 3:  # millions of numbers
        body = b"}X\x01\0\0\0a](" + b"K\x01" * 3_000_000 + b"es"
    elif way == 4:  # a dictionary that holds itself
        body = b"}q\0X\x01\0\0\0ah\0s"
    elif way == 5:  # a long number and a long text, both of which say they are longer
        body = b"}X\xff\xff\xff\x7fabc" if rng.random() < 0.5 else b"}\x8b\xff\xff\xff\x7fabc"
    else:  # a function call
        body = b"cbuiltins\neval\n(X\x03\0\0\x001+1tR"
    pickled = b"\x80\x02" + body + b"."
    return pickled if rng.random() < 0.5 else _in_archive(pickled)


DAMAGE = {
    "safetensors header": safetensors_header,
    "zip archive": archive,
    "claimed storage": storage_claims,
    "pickle bomb": pickle_bomb,
}
