"""Damaged files of every reader but the face encoders', by number: the same number and seed, the same bytes."""

import io
import random
from pathlib import Path

import numpy as np
import torch

from . import files, in_bytes, in_parquet, in_states, in_text, uses, whole
from .cases import Case

tried, load_and_run = uses.tried, uses.load_and_run

# which of a hundred cases are of which sort
_SHARES = {"weights": 38, "parser": 2, "eva": 3, "identity": 10, "direction": 8, "description": 5, "landmarks": 10,
           "csv": 6, "jsonl": 5, "parquet": 5, "workflow": 4, "page": 1, "manifest": 2, "queued": 1}  # fmt: skip
_TEXTS = {
    "description": ("mine.json", lambda: files.DESCRIPTION, (in_text.json_values, in_text.json_text)),
    "landmarks": ("pose.json", lambda: files.LANDMARKS, (in_text.json_values, in_text.json_text)),
    "csv": ("table.csv", lambda: files.CSV, (in_text.table_text,)),
    "jsonl": ("table.jsonl", lambda: files.JSONL, (in_text.json_lines, in_text.table_text)),
    "workflow": ("workflow.json", lambda: files.WORKFLOW, (in_text.json_values, in_text.json_text)),
    "page": ("page.json", lambda: files.PAGE, (in_text.json_values,)),
    "manifest": ("lines.jsonl", files.manifest, (in_text.json_lines,)),
    "queued": ("lines.jsonl", files.queued, (in_text.json_lines,)),
}
_ROLES = {"csv": "table", "jsonl": "table", "parquet": "table"}


def case(number: int, seed: int = 0) -> Case:
    """The case of a number."""
    rng = random.Random(f"{seed} {number}")
    [sort] = rng.choices(list(_SHARES), list(_SHARES.values()))
    if sort in _TEXTS:
        return _text(sort, rng)
    return {"parquet": _parquet, "identity": _identity, "direction": _direction}.get(sort, _weights)(sort, rng)


def _text(sort, rng):
    name, intact, ways = _TEXTS[sort]
    way = rng.choice([*ways, *ways, "bytes", "stranger"])
    if way == "bytes":
        damage = rng.choice(list(in_bytes.DAMAGE))
        make = lambda: in_bytes.DAMAGE[damage](intact().encode(), rng)  # noqa: E731
    elif way == "stranger":
        damage, make = "a stranger", lambda: rng.choice(in_bytes.STRANGERS)
    else:
        damage, make = way.__name__.replace("_", " "), lambda: way(intact().encode(), rng)
    return Case(f"{sort}: {damage}", name, _ROLES.get(sort, sort), make)


def _parquet(sort, rng):
    way = rng.choice(("odd types", "odd types", "bomb", *in_bytes.DAMAGE, "a stranger"))
    if way in in_bytes.DAMAGE:
        make = lambda: in_bytes.DAMAGE[way](in_parquet.whole(), rng)  # noqa: E731
    elif way == "a stranger":
        make = lambda: rng.choice(in_bytes.STRANGERS)  # noqa: E731
    else:
        make = lambda: (in_parquet.bomb if way == "bomb" else in_parquet.odd)(rng)  # noqa: E731
    return Case(f"parquet: {way}", "table.parquet", "table", make)


def _identity(sort, rng):
    way = rng.choice((*in_bytes.DAMAGE, "tensors", "description"))
    if way in in_bytes.DAMAGE:
        return Case(f"identity: {way}", "anna.safetensors", sort, lambda: in_bytes.DAMAGE[way](files.identity(), rng))
    return Case(f"identity: {way}", "anna.safetensors", sort, lambda: _changed_identity(way, rng))


def _changed_identity(way, rng):
    """Tensors or metadata that don't belong to an identity, in a file that is whole."""
    import safetensors.torch

    with io.BytesIO(files.identity()) as file:
        tensors = safetensors.torch.load(file.getvalue())
    metadata = {"format": "likeness.identity.1", "encoder": "dlib-resnet34-128", "combine": "mean", "dim": "128"}
    if way == "tensors":
        tensors = in_states.tensors(tensors, rng)
    else:
        key = rng.choice(list(metadata))
        metadata[key] = rng.choice([text for text in in_text.TEXTS if text != "\ud800"])
        if rng.random() < 0.3:
            del metadata[key]
    return safetensors.torch.save({key: tensor.clone().contiguous() for key, tensor in tensors.items()}, metadata)


def _direction(sort, rng):
    values = files.direction(rng.choice((1, 18)))
    way = rng.choice(("npy", "npy header", "pt", "safetensors", "odd array"))
    ending = {"pt": "pt", "safetensors": "safetensors"}.get(way, "npy")
    return Case(f"direction: {way}", f"smile.{ending}", sort, lambda: _changed_direction(way, values, rng))


def _changed_direction(way, values, rng):
    damage = in_bytes.DAMAGE[rng.choice(list(in_bytes.DAMAGE))]
    if way == "pt":
        return damage(whole.as_zip(torch.from_numpy(values)), rng)
    if way == "safetensors":
        return damage(whole.as_safetensors({"direction": torch.from_numpy(values)}), rng)
    if way == "odd array":
        kind = rng.choice((np.object_, np.complex64, "U5", "M8[s]", np.float16, np.int64, "V7", np.bool_, ">f8"))
        shape = rng.choice(((512,), (18, 512), (1, 512), (0,), (), (512, 18), (1, 18, 512), (3, 512)))
        values = np.zeros(shape, kind)
    elif rng.random() < 0.2:
        values = np.where(rng.random() < 0.5, np.nan, np.inf) * values
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    data = file.getvalue()
    if way == "npy header":
        claim = rng.choice(
            ("(10000000000,)", "(-1,)", "(2**40,)", "(1,)*99", "()", "(512,512,512,512)", "None", "[512]")
        )
        data = data.replace(b"(512,)", claim.encode()).replace(b"(18, 512)", claim.encode())
        return data if rng.random() < 0.5 else damage(data[:128], rng) + data[128:]
    return damage(data, rng) if way == "npy" else data


def _weights(sort, rng):
    """An adapter, a router or a network, whole but for its bytes, its tensors or what it claims."""
    name = sort
    if sort == "weights":
        name = rng.choice([*files.ADAPTERS, "router", "siglip", "e4e", "transface"])
    role = {"e4e": "descriptor", "transface": "descriptor"}.get(name, name if name in uses.ROLES else "adapter")
    container = rng.choice(list(whole.CONTAINERS))
    ending = "safetensors" if container == "safetensors" else "bin"
    way = rng.choice((*in_bytes.DAMAGE, "tensors", "tensors", "tensors", "mixed", "intact", *in_states.DAMAGE))
    if way in in_states.DAMAGE:
        ending = "safetensors" if way == "safetensors header" else "bin"
        return Case(f"{role}: {way}", f"damaged.{ending}", role, lambda: in_states.DAMAGE[way](_small(), rng))
    return Case(f"{role}: {way}", f"damaged.{ending}", role, lambda: _changed_weights(name, container, way, rng))


def _changed_weights(name, container, way, rng):
    state, write = _state(name), whole.CONTAINERS[container]
    if way in in_bytes.DAMAGE:
        return in_bytes.DAMAGE[way](write(state), rng)
    if way == "tensors":
        for _ in range(rng.choice((1, 1, 2, 4))):
            state = in_states.tensors(state, rng) if state else state
    if way == "mixed":
        state = {**state, **_state(rng.choice([*files.ADAPTERS, "router"]))}
    return write(state)


def _state(name):
    if name == "router":
        return files.router()
    return files.adapter(name) if name in files.ADAPTERS else files.network(name)


def _small():
    return {key: tensor for key, tensor in files.adapter("wplus").items() if "wplus_adapter" in key}


def warm(folder: Path) -> None:
    """Use one intact file of every role, so that what is loaded once counts for no case."""
    for sort, (name, make, _) in _TEXTS.items():
        _used(folder / name, make().encode(), _ROLES.get(sort, sort))
    _used(folder / "table.parquet", in_parquet.whole(), "table")
    _used(folder / "anna.safetensors", files.identity(), "identity")
    for name, role in (("instantid", "adapter"), ("router", "router"), ("parser", "parser"), ("eva", "eva"),
                       ("siglip", "siglip"), ("e4e", "descriptor"), ("transface", "descriptor")):  # fmt: skip
        _used(folder / "warm.bin", whole.as_zip(_state(name)), role)


def _used(path, data, role):
    path.write_bytes(data)
    outcome = tried(path, role)
    assert outcome.result != "failed", f"{role}: {outcome.text}"
    path.unlink()
