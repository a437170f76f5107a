"""Loading one file the way that an artist's click does, with a tiny forward, and judging what comes of it."""

from dataclasses import dataclass
from pathlib import Path

import torch
from likeness.core.faces.describe.descriptors import load_descriptor
from likeness.core.faces.detect.scrfd import load_scrfd
from likeness.core.faces.found import Faces
from likeness.core.faces.onnx import onnx_roles as roles
from likeness.core.faces.onnx.details import load_details
from likeness.core.faces.onnx.onnx_embedder import load_embedder
from likeness.core.faces.onnx.packs import read_pack
from likeness.core.faces.spaces import space_of
from likeness.core.weights import WeightsError, read_weights
from likeness.core.weights.digest import digest_of

from . import whole

LOADED, REFUSED, FAILED = "loaded", "refused", "failed"
_LONGEST = 400  # characters of a sentence that an artist should read
_NO_MEMORY = ("can't allocate memory", "bad_alloc", "bad allocation", "not enough memory")


@dataclass(frozen=True)
class Outcome:
    """What became of a file: LOADED, REFUSED or FAILED, and the sentence or what went wrong."""

    result: str
    text: str = ""


def load_and_run(path: Path, role: str) -> None:
    """Load a file as whatever it should be and use it once; AssertionError if what comes out is of a wrong shape."""
    {whole.RECOGNISER: _recogniser, whole.DETECTOR: _detector, whole.DETAILS: _details, whole.WEIGHTS: _weights}[role](
        path
    )


def tried(path: Path, role: str) -> Outcome:
    """What becomes of an encoder's file: a WeightsError with one sentence, or one that works; else it has FAILED."""
    return outcome_of(lambda: load_and_run(path, role), WeightsError, path.name)


def outcome_of(load, refusals, name: str) -> Outcome:
    """What becomes of a call that reads the file `name`: it returns, or it raises one of `refusals` with one sentence.

    Anything else has FAILED.
    """
    try:
        load()
    except refusals as error:
        return _judged(error, name)
    except BaseException as error:
        place = error.__traceback__
        while place.tb_next is not None:
            place = place.tb_next
        where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}"
        return Outcome(FAILED, f"{type(error).__name__} at {where}: {str(error)[:200]}")
    return Outcome(LOADED)


def _judged(error: Exception, name: str) -> Outcome:
    text = str(error)
    wrong = []
    if not text.endswith("."):
        wrong.append("no full stop")
    if name not in text:
        wrong.append("no file named")
    if len(text) > _LONGEST or not text.isprintable():
        wrong.append("too long or unprintable")
    if "Traceback" in text or "Error" in text:
        wrong.append("an exception in it")
    cause = error
    while cause is not None:
        if isinstance(cause, MemoryError) or any(words in str(cause) for words in _NO_MEMORY):
            wrong.append("memory ran out")
        cause = cause.__cause__ or cause.__context__
    return Outcome(FAILED, f"{', '.join(wrong)}: {text[:300]!r}") if wrong else Outcome(REFUSED, text)


def _recogniser(path):
    pack = read_pack("insightface/fuzzed", [path])
    model = pack.needed(roles.EMBEDDER, "add the pack's recogniser, such as w600k_r50.onnx or glintr100.onnx")
    embedder = load_embedder(model, operations=torch.nn).eval()
    space_of(digest_of(path), path.stem)
    found = embedder(_picture(2, *embedder.size).movedim(-1, 1))
    assert found.shape == (2, embedder.dim) and found.dtype == torch.float32, f"descriptors of {list(found.shape)}"


def _detector(path):
    pack = read_pack("insightface/fuzzed", [path])
    detector = load_scrfd(pack.needed(roles.DETECTOR, "choose another detector"), operations=torch.nn).eval()
    found = detector(_picture(2, 96, 128))
    places = found.scores.shape[1]
    shapes = ((2, places, 4), (2, places, 5, 2), (2, places), (2, places))
    assert tuple(tuple(part.shape) for part in found) == shapes, "candidates of odd shapes"


def _details(path):
    pack = read_pack("insightface/fuzzed", [path])
    models = [*pack.models.get(roles.LANDMARKS, []), *pack.models.get(roles.ATTRIBUTES, [])]
    if not models:
        raise pack.problems[0] if pack.problems else WeightsError(f"{path.name} knows nothing of faces.")
    details = load_details(models, operations=torch.nn).eval()
    boxes = torch.tensor([[10.0, 20, 60, 90], [-5, 0, 40, 40]])
    faces = Faces(boxes, torch.zeros(2, 5, 2), torch.ones(2), torch.tensor([0, 1]), (1, 1), (96, 128), ())
    found = details(_picture(2, 96, 128), faces)
    shapes = {"landmarks106": (2, 106, 2), "landmarks68": (2, 68, 3), "pose": (2, 3), "male": (2,), "age": (2,)}
    known = {name: getattr(found, name) for name in shapes if getattr(found, name) is not None}
    assert known and all(tuple(value.shape) == shapes[name] for name, value in known.items()), "details of odd shapes"


def _weights(path):
    descriptor = load_descriptor(read_weights(path), operations=torch.nn)
    found = descriptor.module(_picture(1, descriptor.alignment.side, descriptor.alignment.side).movedim(-1, 1))
    assert found.shape == (1, descriptor.dim) and found.dtype == torch.float32, f"descriptors of {list(found.shape)}"


def _picture(*size):
    return torch.rand(*size, 3, generator=torch.Generator().manual_seed(0))
