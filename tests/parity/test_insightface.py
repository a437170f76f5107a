"""The whole chain against insightface's own FaceAnalysis, on the same files and photographs."""

import functools

import numpy as np
import onnx_files
import photographs
import pytest
import torch
from insightface.app import FaceAnalysis
from likeness.core.faces.align.alignment import arcface
from likeness.core.faces.align.templates import arcface_template
from likeness.core.faces.align.transforms import similarity_transform, transform_points
from likeness.core.faces.detect.scrfd import load_scrfd
from likeness.core.faces.encoder import FaceEncoder
from likeness.core.faces.onnx import onnx_roles as roles
from likeness.core.faces.onnx.details import load_details
from likeness.core.faces.onnx.onnx_embedder import load_embedder
from likeness.core.faces.onnx.packs import read_pack

PACKS = [("r50", "10g"), ("r100", "10g"), ("mbf", "500m")]
SEEN = [(*PACKS[0], "t1"), (*PACKS[0], "sample3"), (*PACKS[1], "t1"), (*PACKS[2], "sample1")]


@functools.lru_cache(maxsize=1)
def both(folder, recogniser, detector):
    """insightface's FaceAnalysis, our encoder and our details of one pack."""
    pack_folder = onnx_files.pack(folder / "pack", recogniser, detector)
    theirs = FaceAnalysis(name=str(pack_folder), providers=["CPUExecutionProvider"])
    theirs.prepare(ctx_id=-1)
    pack = read_pack("pack", list(pack_folder.iterdir()))
    embedder = load_embedder(pack.first(roles.EMBEDDER))
    encoder = FaceEncoder(load_scrfd(pack.first(roles.DETECTOR)), embedder, "pack", embedder.dim, arcface(112))
    details = load_details(pack.models[roles.LANDMARKS] + pack.models[roles.ATTRIBUTES])
    return theirs, encoder.eval(), details


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("packs")


@pytest.mark.parametrize(("recogniser", "detector"), PACKS)
def test_insightface_takes_the_files_for_what_they_are(folder, recogniser, detector):
    theirs, _, _ = both(folder / f"{recogniser}-{detector}", recogniser, detector)
    files = {task: model.model_file.rsplit("/", 1)[-1] for task, model in theirs.models.items()}
    assert files == {
        "detection": f"scrfd_{detector}_bnkps.onnx" if recogniser == "r100" else f"det_{detector}.onnx",
        "recognition": {"r50": "w600k_r50", "mbf": "w600k_mbf", "r100": "glintr100"}[recogniser] + ".onnx",
        "landmark_2d_106": "2d106det.onnx",
        "landmark_3d_68": "1k3d68.onnx",
        "genderage": "genderage.onnx",
    }
    scales = {task: (model.input_mean, model.input_std) for task, model in theirs.models.items()}
    assert scales.pop("detection") == (127.5, 128) and scales.pop("recognition") == (127.5, 127.5)
    assert set(scales.values()) == {(0, 1)}  # their graphs begin with the normalisation


@pytest.mark.parametrize(("recogniser", "detector", "name"), SEEN)
def test_same_boxes_alignment_vectors_and_details(folder, recogniser, detector, name):
    theirs, encoder, details = both(folder / f"{recogniser}-{detector}", recogniser, detector)
    picture = photographs.picture(name)
    expected = theirs.get(np.array(picture)[..., ::-1].copy())
    image = photographs.as_image(picture)
    faces, vectors = encoder(image)
    assert faces.total == len(expected) >= len(photographs.people()[name]["faces"]) - 1
    found = details(image, faces)
    for place, box in enumerate(faces.boxes):
        face = min(expected, key=lambda face: np.abs(face.bbox - box.numpy()).sum())
        assert np.abs(face.bbox - box.numpy()).max() < 0.01
        assert np.abs(face.kps - faces.landmarks[place].numpy()).max() < 0.01
        assert abs(face.det_score - float(faces.scores[place])) < 1e-4
        # where the corners of the chip come from in the picture, and so all of it
        corners = torch.tensor([[[0.0, 0], [111, 0], [0, 111], [111, 111]]])
        template = torch.tensor(arcface_template(112))
        ours = similarity_transform(template[None], faces.landmarks[place])
        reference = similarity_transform(template[None], torch.tensor(face.kps))
        assert (transform_points(ours, corners) - transform_points(reference, corners)).abs().max() < 0.5
        assert torch.cosine_similarity(vectors[place], torch.tensor(face.embedding), 0) > 0.999
        # random networks make much of the last bit of their crops, which cv2 rounds
        size = float(max(box[2] - box[0], box[3] - box[1]))
        assert np.abs(found.landmarks106[place].numpy() - face.landmark_2d_106).max() < 0.02 * size
        assert np.abs(found.landmarks68[place].numpy() - face.landmark_3d_68).max() < 0.02 * size
        assert np.abs(found.pose[place].numpy() - face.pose).max() < 1
        assert int(found.male[place]) == face.gender and abs(float(found.age[place]) - face.age) < 1
