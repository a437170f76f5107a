"""Reading one file the way that a node or the command line does, and using what comes out once, by role."""

import json
import shutil
import tempfile
from pathlib import Path

import onnx_files
import torch
from likeness.cli import batch, check, models, names, problems, table
from likeness.cli import graph as graphs
from likeness.core.adapters import FaceInput, load_adapter, load_router
from likeness.core.faces.identity import directions
from likeness.core.faces.identity.identity import Identity, agreement, outliers, same_person
from likeness.core.faces.identity.identity_file import load_identity, save_identity
from likeness.core.faces.onnx.own_encoder import load_own
from likeness.core.faces.points.draw import draw_keypoints
from likeness.core.faces.points.landmark_json import landmarks_to_json, parse_landmarks
from likeness.core.faces.points.pose import place
from likeness.core.faces.regions.parser import load_parser
from likeness.core.vision.eva import load_eva
from likeness.core.vision.siglip import load_siglip
from likeness.core.weights import WeightFile, WeightsError, kind_of, read_weights

from . import files, trial, whole

_OPTIONS = batch.Options(["http://127.0.0.1:1"], patience=0.0)


def _adapter(path):
    file = read_weights(path)
    try:
        models._adapter(path)
    finally:
        module = load_adapter(file, dtype=torch.float32)
    spec = module.spec
    assert spec.about(path.name, module.lora).startswith(spec.title)
    if spec.look is None and spec.face_dim and spec.site_widths:
        with torch.no_grad():
            tokens = torch.cat([module.project(FaceInput(torch.ones(1, spec.face_dim) * scale)) for scale in (0, 1)])
            assert tokens.shape == (2, spec.tokens, spec.token_dim), f"tokens of {list(tokens.shape)}"
            assert len(module.sites(tokens)) == len(spec.site_widths)


def _router(path):
    spec = load_adapter(WeightFile("whole.bin", files.adapter("uniportrait"))).spec
    router = load_router(read_weights(path), spec)
    assert len(router.faceid_adapter) == len(spec.site_widths)


def _identity(path):
    found = load_identity(path)
    assert agreement(found.vectors).shape == found.scores.shape
    outliers(found.vectors, same_person(found.space))
    save_identity(found, path.with_suffix(".again"))
    again = load_identity(path.with_suffix(".again"))
    path.with_suffix(".again").unlink()
    assert torch.equal(found.vectors, again.vectors) and (found.space, found.combine) == (again.space, again.combine)


def _direction(path):
    models._direction(path)
    code = torch.zeros(18 * 512)
    person = Identity("e4e", code, code[None], torch.ones(1), "mean")
    moved = directions.edit(person, directions.read_direction(path), 1.0, [0, 17])
    assert moved.vector.isfinite().all() and moved.vector.shape == code.shape


def _parser(path):
    models._weights(path)
    file = read_weights(path)
    with torch.no_grad():
        found = load_parser(file.tensors, file.name).network(torch.zeros(1, 3, 64, 64))
    assert found.shape[1] == 19


def _eva(path):
    file = read_weights(path)
    kind_of(file.tensors)
    seen, hidden = load_eva(file.tensors, file.name, dtype=torch.float32).features(torch.zeros(1, 3, 336, 336))
    assert seen.shape == (1, 768) and len(hidden) == 5


def _siglip(path):
    file = read_weights(path)
    module = load_siglip(file.tensors, 64, 64, file.name, dtype=torch.float32)
    seen, (hidden,) = module.features(torch.zeros(1, 3, 64, 64))
    assert seen.shape == (1, 64) and hidden.shape == (1, 16, 64)


def _description(path):
    shutil.copy(onnx_files.file("mbf", width=4), path.with_suffix(".onnx"))
    found = load_own(path.with_suffix(".onnx"))
    with torch.no_grad():
        vectors = found.module(torch.rand(1, 3, *found.module.size))
    assert vectors.shape == (1, found.dim)


def _landmarks(path):
    text = path.read_bytes().decode("utf-8", "replace")
    faces, size = parse_landmarks(text)
    placed = place(faces, size or (64, 64), (64, 64), 0.1, -0.1, 1.5, 30.0)
    picture = draw_keypoints(placed, 64, 64)
    assert picture.shape == (64, 64, 3) and json.loads(landmarks_to_json(placed, 64, 64))["size"] == [64, 64]


def _table(path):
    for row in table.read(path):
        assert names.names_a_folder(row.key) and Path(row.key).name == row.key, row.key
        json.dumps(row.cells, allow_nan=False)


def _workflow(path):
    graph = graphs.load(path)
    check.check(path, None, path)
    for name in ("1", "Draw", "2.seed"):
        try:
            graphs.find(graph, name)
        except problems.Usage:
            pass
    planned = graphs.input_of(graph, json.loads(files.OBJECT_INFO), "Draw.seed").takes("3")
    assert graphs.apply(graph, [planned], path.parent).digest


def _page(path):
    known = path.with_name("known.json")
    known.write_text(files.WORKFLOW)
    assert set(check.check(known, None, path)) == {"nodes", "models", "inputs", "missing"}


def _batch(name):
    def run(path):
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            out = Path(folder)
            for key in files.ROWS:
                (out / key).mkdir()
                (out / key / "2-draw-1.png").write_bytes(files.PICTURE)
            (out / batch.MANIFEST).write_text(files.manifest())
            shutil.copy(path, out / name)
            try:
                counts = batch.run_jobs(files.jobs(), out, _OPTIONS)
                assert counts["rows"] == len(files.ROWS)
            except problems.Lost:
                pass  # rows of lines that count for nothing are for a server, and there is none

    return run


# role -> (what is done with a file, what a refusal is, whether it has to name the file)
ROLES = {
    "adapter": (_adapter, WeightsError, True),
    "router": (_router, WeightsError, True),
    "identity": (_identity, WeightsError, True),
    "direction": (_direction, WeightsError, True),
    "parser": (_parser, WeightsError, True),
    "eva": (_eva, WeightsError, True),
    "siglip": (_siglip, WeightsError, True),
    "descriptor": (lambda path: trial.load_and_run(path, whole.WEIGHTS), WeightsError, True),
    "description": (_description, WeightsError, False),
    "landmarks": (_landmarks, ValueError, False),
    "table": (_table, problems.Usage, True),
    "workflow": (_workflow, problems.Usage, False),
    "page": (_page, problems.Usage, False),
    "manifest": (_batch(batch.MANIFEST), problems.Problem, False),
    "queued": (_batch(batch.QUEUED), problems.Problem, False),
}


def load_and_run(path: Path, role: str) -> None:
    """Read a file as what it should be and use it once; AssertionError if what comes out is wrong."""
    ROLES[role][0](path)


def tried(path: Path, role: str) -> trial.Outcome:
    """What becomes of a file; of ValueError no sub-class but WeightsError is a refusal: those come from elsewhere."""
    use, refusals, is_named = ROLES[role]
    return trial.outcome_of(lambda: use(path), refusals, path.name if is_named else "")
