"""Damage that knows nothing of the file's format."""

import random

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"  # noqa: E501
PAGE = b"<!DOCTYPE html>\n<html><head><title>404</title></head><body>Not found</body></html>\n"
STRANGERS = (
    LFS, PAGE, b"\xef\xbb\xbf<html>", b"", b"\0", b"\x80\x02", b"\x80\x04", b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 18,
    b"\x08", b"\x08\x08", b"\x08\x08:\x00", b'\2\0\0\0\0\0\0\0{}', b'{"access denied": true}', b"GIF89a" + b"\0" * 500,
    b"Repository not found", b"\xff" * 5000, b"\0" * 5000, b"\x08\x07" * 5000, b"{" * 5000,
)  # fmt: skip


def _start(rng: random.Random, size: int) -> int:
    """A place in a file, half of the time among what describes its tensors: the first or last few thousand bytes."""
    way = rng.randrange(4)
    if way == 0:
        return rng.randrange(min(size, 4096))
    return size - 1 - rng.randrange(min(size, 65536)) if way == 1 else rng.randrange(size)


def cut(data: bytes, rng: random.Random) -> bytes:
    """The beginning of a file."""
    return data[: _start(rng, len(data))]


def flip(data: bytes, rng: random.Random) -> bytes:
    """One, a few or many bits turned."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 3, 10, 100, 10_000))):
        changed[_start(rng, len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def zeros(data: bytes, rng: random.Random) -> bytes:
    """A stretch of zeros, as downloads in parts leave them."""
    changed = bytearray(data)
    start = _start(rng, len(data))
    end = min(len(data), start + rng.choice((1, 8, 512, 4096, 100_000)))
    changed[start:end] = bytes(end - start)
    return bytes(changed)


def noise(data: bytes, rng: random.Random) -> bytes:
    """A stretch of noise."""
    changed = bytearray(data)
    start = _start(rng, len(data))
    end = min(len(data), start + rng.choice((1, 8, 64, 4096)))
    changed[start:end] = rng.randbytes(end - start)
    return bytes(changed)


def moved(data: bytes, rng: random.Random) -> bytes:
    """A stretch left out, doubled, or put in from elsewhere."""
    start, other = _start(rng, len(data)), _start(rng, len(data))
    length = rng.choice((1, 7, 512, 4096))
    part = data[other : other + length]
    way = rng.randrange(3)
    if way == 0:
        return data[:start] + data[start + length :]
    return data[:start] + (data[start : start + length] if way == 1 else part) + data[start:]


DAMAGE = {"cut off": cut, "bits turned": flip, "zeros": zeros, "noise": noise, "bytes moved": moved}
