"""Face encoders from ComfyUI's model folders: what is offered, what is loaded, and what is said when it can't be."""

import json
import os
import shutil
from dataclasses import replace

import host_cases
import onnx
import onnx_files
import photographs
import pytest
import torch
from descriptor_files import adaface, e4e, facenet, transface
from likeness.core.faces.spaces import is_space, space_of
from likeness.core.host.comfyui import managed
from likeness.core.host.faces import encoder_files
from node_cases import ComfyError, face, outputs
from onnx import helper


@pytest.fixture
def packs(pack):
    """models/insightface/models, gone again afterwards."""
    folder = pack.base / "models/insightface/models"
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    shutil.rmtree(pack.base / "models/insightface")


@pytest.fixture
def buffalo(packs):
    """A pack in a folder of its own name inside of one, as InsightFace's archives unpack."""
    return onnx_files.pack(packs / "buffalo_l" / "buffalo_l", "r50", "10g")


def test_packs_are_offered_and_nothing_else(buffalo, packs):
    (packs / "empty").mkdir()
    (packs / "readme.txt").write_text("hello")
    assert encoder_files.encoder_names()[:2] == ["embedded", "insightface/buffalo_l"]
    assert encoder_files.detector_names() == ["auto", "mtcnn", "insightface/buffalo_l"]


def test_a_pack_brings_its_detector_and_its_own_space(buffalo):
    module = encoder_files.load_module("insightface/buffalo_l", "auto")
    assert type(module.detector).__name__ == "SCRFD" and module.dim == 512 and module.alignment.side == 112
    assert module.space.startswith("buffalo_l-w600k_r50:") and not module.alignment.antialias
    other = encoder_files.load_module("insightface/buffalo_l", "mtcnn")
    assert type(other.detector).__name__ == "Verified" and other.space == module.space
    crossed = encoder_files.load_module("embedded", "insightface/buffalo_l")
    assert type(crossed.detector).__name__ == "SCRFD" and crossed.space == "dlib-resnet34-128"
    assert not any(parameter.requires_grad for parameter in module.parameters()) and not module.training


def test_a_pack_without_a_detector_gets_mtcnn(buffalo):
    (buffalo / "det_10g.onnx").unlink()
    assert type(encoder_files.load_module("insightface/buffalo_l", "auto").detector).__name__ == "Verified"


def test_the_same_file_makes_the_same_space_under_any_name(buffalo, packs):
    space = encoder_files.load_module("insightface/buffalo_l", "mtcnn").space
    (buffalo / "w600k_r50.onnx").rename(buffalo / "z.onnx")
    renamed = encoder_files.load_module("insightface/buffalo_l", "mtcnn").space
    assert space.partition(":")[2] == renamed.partition(":")[2] and space != renamed


def test_the_whole_way_through_the_nodes(pack, buffalo):
    image = photographs.as_image(photographs.picture("sample1"))
    (encoder,) = outputs(pack, "LoadFaceEncoder", encoder="insightface/buffalo_l", detector="mtcnn", min_confidence=0.9)
    identity, report = outputs(
        pack, "EncodeIdentity", face_encoder=encoder, image=image, combine="mean", face_index="0", on_no_face="error"
    )
    assert identity.vector.shape == (512,) and identity.space == encoder.space and identity.space in report
    assert identity.vector.isfinite().all() and identity.vector.abs().max() > 0


@pytest.fixture
def singles(pack):
    """models/face_encoders, gone again afterwards."""
    folder = pack.base / "models/face_encoders"
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def seen():
    """A photograph, and the three faces that the detector of a pack without one finds on it."""
    image = photographs.as_image(photographs.picture("sample1"))
    faces = encoder_files.load_module("embedded", "auto").detect(image, 0.9)
    assert faces.total == 3
    return image, faces


def test_single_files_are_told_apart_by_their_content(singles, seen):
    torch.save(facenet()[1], singles / "a.pt")
    torch.save({"state_dict": adaface(18)[1]}, singles / "b.ckpt")
    shutil.copy(onnx_files.file("sface", width=4), singles / "c.onnx")
    code = dict(e4e()[1])
    torch.save({"latent_avg": code.pop("latent_avg"), "state_dict": code, "opts": {}}, singles / "d.pt")
    torch.save(transface()[1], singles / "e.pt")
    os.utime(singles)
    kinds = (("a.pt", "facenet-a:", 512, 160), ("b.ckpt", "adaface-b:", 512, 112), ("c.onnx", "onnx-c:", 128, 112),
             ("d.pt", "e4e-d:", 18 * 24, 256), ("e.pt", "transface-e:", 144 * 64, 112))  # fmt: skip
    assert encoder_files.encoder_names() == ["embedded", *(f"face_encoders/{name}" for name, *_ in kinds)]
    for name, space, dim, size in kinds:
        module = encoder_files.load_module(f"face_encoders/{name}", "auto")
        assert (module.space.startswith(space), module.dim, module.alignment.side) == (True, dim, size), name
        vectors = module.embed(*seen)
        assert type(module.detector).__name__ == "Verified"
        assert vectors.shape == (3, dim) and vectors.isfinite().all()


def test_an_encoder_of_the_artists_own_goes_by_its_description(pack, singles, seen):
    """Person re-identification, say: windows that are taller than wide, around where the body is."""
    picture = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 3, 256, 128))
    vector = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("GlobalAveragePool", ["x"], ["y"])], "g", [picture], [vector])
    onnx.save(helper.make_model(graph), singles / "reid.onnx")
    (singles / "reid.json").write_text('{"template": "person", "mean": 0, "std": 255}')
    os.utime(singles)
    module = encoder_files.load_module("face_encoders/reid.onnx", "auto")
    assert module.align(*seen).shape == (3, 3, 256, 128)
    torch.testing.assert_close(module.embed(*seen), module.align(*seen).mean((2, 3)), atol=1e-4, rtol=0)
    before = encoder_files.encoder_fingerprint(["face_encoders/reid.onnx"])
    (singles / "reid.json").write_text('{"template": "eyes"}')
    assert encoder_files.encoder_fingerprint(["face_encoders/reid.onnx"]) != before
    assert "reid.json describes an encoder wrongly: template must be arcface, box, person" in refused(
        pack, encoder="face_encoders/reid.onnx"
    )


def test_what_is_no_descriptor_is_named(pack, singles):
    torch.save({"image_proj": {"latents": torch.zeros(1, 16, 8)}}, singles / "a.pt")
    shutil.copy(onnx_files.file("scrfd_500m", width=4), singles / "b.onnx")
    (singles / "c.onnx").write_text("<html>")
    os.utime(singles)
    assert "a.pt is a projection without its adapter, and a face descriptor must be" in refused(
        pack, encoder="face_encoders/a.pt"
    )
    assert "b.onnx gives [392, 1] and [98, 1]" in refused(pack, encoder="face_encoders/b.onnx")
    assert "c.onnx is a web page, not weights" in refused(pack, encoder="face_encoders/c.onnx")


def test_details_come_from_the_pack(buffalo):
    details = encoder_files.load_details_module("insightface/buffalo_l")
    assert sorted(details.graphs) == ["68 landmarks in space", "gender and age", "landmarks of 106 points"]
    assert encoder_files.load_details_module("embedded") is None
    for name in ("1k3d68", "2d106det", "genderage"):
        (buffalo / f"{name}.onnx").unlink()
    assert encoder_files.load_details_module("insightface/buffalo_l") is None


def refused(pack, **chosen):
    chosen = {"encoder": "embedded", "detector": "auto", "min_confidence": 0.5, **chosen}
    with pytest.raises(ComfyError) as caught:
        outputs(pack, "LoadFaceEncoder", **chosen)
    return str(caught.value)


def test_the_report_tells_what_the_pack_knows(pack, buffalo):
    image = face("A")
    known = {"number", "box", "landmarks", "confidence"}
    details = {"pose", "landmarks_106", "landmarks_68", "age", "gender"}
    cases = (("insightface/buffalo_l", True, known | details), ("embedded", True, known | {"pose"}),
             ("insightface/buffalo_l", False, known))  # fmt: skip
    for name, wanted, expected in cases:
        (encoder,) = outputs(pack, "LoadFaceEncoder", encoder=name, detector="mtcnn", min_confidence=0.9)
        report = outputs(pack, "DetectFaces", face_encoder=encoder, image=image, order="largest", index="all",
                         on_no_face="error", details=wanted)[4]  # fmt: skip
        assert len(encoder.get_models()) == (2 if expected >= details else 1)  # the rest is read when it is asked for
        [told] = json.loads(report)["images"][0]["faces"]
        assert set(told) == expected
        if wanted:
            assert set(told["pose"]) == {"pitch", "yaw", "roll"}
        if expected >= details:
            assert len(told["landmarks_106"]) == 106 and len(told["landmarks_68"][0]) == 3
            assert told["gender"] in ("male", "female") and isinstance(told["age"], int)


def test_what_is_missing_or_damaged_is_said(pack, buffalo):
    assert "encoder is 'insightface/antelopev2', but must be one of: embedded, insightface/buffalo_l" in refused(
        pack, encoder="insightface/antelopev2"
    )
    whole = (buffalo / "w600k_r50.onnx").read_bytes()
    (buffalo / "w600k_r50.onnx").write_bytes(whole[: len(whole) // 2])
    assert "w600k_r50.onnx is no whole ONNX model" in refused(pack, encoder="insightface/buffalo_l")
    (buffalo / "w600k_r50.onnx").unlink()
    text = refused(pack, encoder="insightface/buffalo_l")
    assert "The pack insightface/buffalo_l has no recogniser; add the pack's recogniser" in text
    assert "det_10g.onnx (a face detector)" in text


def test_a_damaged_file_that_is_not_needed_does_no_harm(buffalo):
    (buffalo / "1k3d68.onnx").write_bytes(b"nothing")
    assert encoder_files.load_module("insightface/buffalo_l", "auto").dim == 512


def test_a_replaced_file_is_read_again(buffalo):
    names = ("insightface/buffalo_l", "auto")
    before = encoder_files.encoder_fingerprint(names)
    assert before == encoder_files.encoder_fingerprint(names)
    with (buffalo / "w600k_r50.onnx").open("ab") as file:
        file.write(b"\0")
    assert encoder_files.encoder_fingerprint(names) != before
    assert encoder_files.encoder_fingerprint(("embedded", "auto")) == ""


def test_adapters_take_the_encoder_by_its_name():
    """A published file is known by its content; another export of it is believed its folder's and its own name."""
    published = "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf"
    assert space_of(published, "whatever-x") == "antelopev2-glintr100"
    assert is_space("antelopev2-glintr100", "antelopev2-glintr100")
    assert is_space(space_of("ab" * 32, "antelopev2-glintr100"), "antelopev2-glintr100")
    assert not is_space(space_of("ab" * 32, "auraface-glintr100"), "antelopev2-glintr100")


def test_an_adapter_is_applied_with_faces_of_its_encoder_only():
    from tiny.unet import unet

    loaded = host_cases.adapter()
    loaded = replace(loaded, spec=replace(loaded.spec, face_space="antelopev2-glintr100"))
    model, text = unet("sdxl"), host_cases.conditioning()
    for space, fits in (("antelopev2-glintr100", True), ("antelopev2-glintr100:0123abcd", True),
                        ("auraface-glintr100:0123abcd", False), ("dlib-resnet34-128", False)):  # fmt: skip
        person = host_cases.identity(space=space)
        if fits:
            assert host_cases.apply(model, text, text, loaded, person)[0] is not model
            continue
        with pytest.raises(ValueError, match=f"takes faces from antelopev2-glintr100 .* was made by {space}"):
            host_cases.apply(model, text, text, loaded, person)


def test_half_precision_only_where_it_is_fast(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert managed.half_precision() is torch.bfloat16
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert managed.half_precision() is torch.float32
