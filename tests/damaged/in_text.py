"""Damage to JSON and tables that knows what they are: odd values, lost and doubled keys, depth, size, letters."""

import json
import random

NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64, -(10**30), 10**400, 0.1, -0.0, 1e308, 5e-324, float("nan"), float("inf"),
           float("-inf"))  # fmt: skip
TEXTS = ("", " ", "\0", "a\0b", "..", "../../etc/passwd", "/etc/passwd", "C:\\x", "\\\\host\\share", "NaN", "true",
         "-1", "名前", "\u202eevil", "\ud800", "x" * 100_000, "a\r\nb", "\x1b[31m", "{}", "%s%n", "null")  # fmt: skip
VALUES = (*NUMBERS, *TEXTS, None, True, False, [], {}, [[]], [None], {"": None}, [0] * 1000, {"a": {"b": ["c"]}})


def json_values(data: bytes, rng: random.Random) -> bytes:
    """One to three places in the tree hold something else, are gone, or are there twice; a key is called otherwise."""
    tree = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        place, key = rng.choice(_places(tree) or [(None, None)])
        if place is None:
            tree = rng.choice(VALUES)
            break
        way = rng.randrange(6)
        if way <= 2:
            place[key] = rng.choice(VALUES)
        elif way == 3:
            del place[key]
        elif isinstance(place, list):
            place.insert(key, place[key])
        else:
            place[rng.choice(TEXTS)] = place[key] if way == 4 else rng.choice(VALUES)
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def _places(tree) -> list[tuple]:
    """(container, key or index) of every value in a tree."""
    found, pending = [], [tree]
    for one in pending:
        inside = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        for key, value in inside:
            found.append((one, key))
            pending.append(value)
    return found


def json_text(data: bytes, rng: random.Random) -> bytes:
    """What JSON readers stumble over: depth, numbers without end, other encodings, keys that come twice."""
    way = rng.randrange(9)
    if way == 0:
        depth = rng.choice((100, 1000, 100_000))
        return rng.choice((b"[" * depth, b'{"a":' * depth, b"[" * depth + b"]" * depth))
    if way == 1:
        return rng.choice((b"1" * 100_000, b"-" + b"9" * 5000, b"1e" + b"9" * 50, b"0." + b"0" * 100_000 + b"1"))
    if way == 2:
        return data.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-32", "utf-8-sig", "utf-16-be")))
    if way == 3:
        return rng.choice((b"\xff\xfe", b"\xef\xbb\xbf", b"\0\0\0")) + data
    if way == 4:
        return data + rng.choice((b"}", b",", b"\0" * 4096, data, b"// no"))
    if way == 5:
        return data.replace(b'"', rng.choice((b"'", b"", b'\\"', b"\xc3")))
    if way == 6:
        return b"{" + b",".join(b'"faces":%d' % number for number in range(200_000)) + b"}"
    if way == 7:
        return b"[" + b"0," * 1_000_000 + b"0]"
    return b'"' + rng.choice((b"\\ud800", b"\\u0000", b"\xed\xa0\x80", b"x" * 10_000_000)) + b'"'


def table_text(data: bytes, rng: random.Random) -> bytes:
    """What CSV and JSON Lines stumble over: quotes, null bytes, width, length, encodings, line ends."""
    way = rng.randrange(10)
    if way == 0:
        return data.replace(b"\n", rng.choice((b"\r", b"\r\n", b"\n\n", b"\0", b"\x0b", b"\xe2\x80\xa8")))
    if way == 1:
        return data + rng.choice((b'"', b'"' + b"x" * 300_000, b"\0", b",,,,,,,,,\n", b"\xff\n", b"{\n"))
    if way == 2:
        return b",".join(b"c%d" % number for number in range(100_000)) + b"\n"
    if way == 3:
        return b",".join([b"same"] * rng.choice((2, 100_000))) + b"\n1,2\n"
    if way == 4:
        return data.decode().encode(rng.choice(("utf-16", "latin-1", "utf-8-sig", "utf-32")), "replace")
    if way == 5:
        return b"key,a\n" + b"".join(b"%d,1\n" % (number % rng.choice((10, 10**9))) for number in range(100_000))
    if way == 6:
        return b"," * 1_000_000 + b"\n" + b"," * 1_000_000
    if way == 7:
        return b"key\n" + rng.choice(TEXTS).encode("utf-8", "surrogatepass") + b"\n"
    if way == 8:
        return b"\n" * 1_000_000
    lines = data.split(b"\n")
    return b"\n".join(rng.choice(lines) for _ in range(50))


def json_lines(data: bytes, rng: random.Random) -> bytes:
    """`json_values` or `json_text` in one line of several."""
    lines = data.rstrip(b"\n").split(b"\n")
    place = rng.randrange(len(lines))
    damage = json_values if rng.random() < 0.7 else json_text
    lines[place] = damage(lines[place], rng)
    return b"\n".join(lines) + b"\n"
