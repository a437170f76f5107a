"""The face parser in ComfyUI: found in models/face_parsing by what a file holds, read once, and never in the way."""

import logging
import os
import shutil

import pytest
import torch
from likeness.core.faces.regions.parser import load_parser
from likeness.core.host.faces import parser as parser_module
from parser_files import pictures, reference
from safetensors.torch import save_file
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode


@pytest.fixture(scope="module")
def published():
    return reference()


@pytest.fixture(scope="module")
def expected(published):
    """The same parser without ComfyUI."""
    return load_parser(published.state_dict())


@pytest.fixture
def folder(pack):
    folder = pack.base / "models/face_parsing"
    folder.mkdir(exist_ok=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def reads(monkeypatch):
    """The names of the files that are read."""
    names = []

    def read(path):
        names.append(os.path.basename(path))
        return original(path)

    original = parser_module.read_weights
    monkeypatch.setattr(parser_module, "read_weights", read)
    return names


def write(published, path):
    """As the published file is: from before PyTorch's zip files."""
    torch.save(published.state_dict(), path, _use_new_zipfile_serialization=False)
    os.utime(path.parent)  # a file that comes within the same tick of the clock would not be seen


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_without_a_folder_or_a_file_there_is_none(pack, caplog):
    folder = pack.base / "models/face_parsing"
    shutil.rmtree(folder, ignore_errors=True)  # other tests may leave it, without files
    assert parser_module.find_parser() is None
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    try:
        assert parser_module.find_parser() is None and not said(caplog)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["79999_iter.pth", "any.safetensors"])
def test_a_file_is_found_by_what_it_holds(published, expected, folder, name):
    import comfy.model_management as mm

    write(published, folder / name)
    parser = parser_module.find_parser()
    assert parser.file_name == name and parser.patcher.model_size() > 52e6
    image, some = pictures(1, 120, 90), ((17, 18), (16, 12))
    torch.testing.assert_close(parser.probabilities(image, *some), expected.probabilities(image, *some))
    assert torch.equal(parser.labels(image), expected.labels(image))
    assert any(held.model is parser.patcher for held in mm.current_loaded_models)


def test_it_is_read_once_until_the_file_changes(published, expected, folder, reads):
    path = folder / "a.pth"
    write(published, path)
    with torch.inference_mode():  # as nodes run
        first = parser_module.find_parser()
    assert all(parser_module.find_parser() is first for _ in range(3)) and reads == ["a.pth"]
    image = pictures(1, 64, 64)
    assert torch.equal(first.labels(image), expected.labels(image))
    write(reference(seed=1), path)
    second = parser_module.find_parser()
    assert second is not first and reads == ["a.pth"] * 2
    del first
    assert parser_module.find_parser() is second  # what the old one's end does is nothing to the new one
    assert not torch.equal(second.labels(image), expected.labels(image))
    path.unlink()
    os.utime(folder)
    assert parser_module.find_parser() is None


def test_a_broken_file_is_warned_about_once_and_passed_over(published, folder, reads, caplog):
    broken = folder / "a.pth"
    write(published, broken)
    broken.write_bytes(broken.read_bytes()[:-5000])
    for _ in range(2):
        assert parser_module.find_parser() is None
    [text] = said(caplog)
    assert text.startswith("Likeness: a.pth is damaged or cut off") and text.endswith("fetch it again.")
    write(published, folder / "b.pth")
    write(published, folder / "c.pth")
    assert parser_module.find_parser().file_name == "b.pth" and reads == ["a.pth", "a.pth", "b.pth"]
    write(published, broken)  # the artist fetches it again under the same name
    assert parser_module.find_parser().file_name == "a.pth"


def test_another_packs_model_in_the_same_folder(folder, caplog):
    """A SegFormer for faces is kept there by a pack for face parsing, beside its configuration."""
    save_file({"segformer.encoder.patch_embeddings.0.proj.weight": torch.ones(2)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    os.utime(folder)
    assert parser_module.find_parser() is None
    [text] = said(caplog)
    assert "model.safetensors is a SegFormer, and a face parser must be a BiSeNet with 19 classes; choose" in text


def test_a_file_that_is_gone(folder, caplog):
    (folder / "a.pth").symlink_to(folder / "nowhere.pth")
    os.utime(folder)
    assert parser_module.find_parser() is None


def test_batches_and_pictures_of_other_kinds(published, expected, folder):
    write(published, folder / "a.pth")
    parser = parser_module.find_parser()
    image = pictures(5, 48, 64)
    labels = parser.labels(image, (16, 16))
    assert torch.equal(labels, torch.cat([expected.labels(one, (16, 16)) for one in image.split(1)]))
    alpha = torch.cat([image, torch.rand(5, 48, 64, 1)], 3)
    assert torch.equal(parser.labels(alpha, (16, 16)), labels)
    grey = image[..., :1]
    assert torch.equal(parser.labels(grey[:1], (16, 16)), expected.labels(grey[:1].expand(-1, -1, -1, 3), (16, 16)))
    wild = image[:1].clone()
    wild[0, 0, 0], wild[0, 0, 1] = float("nan"), 7.0
    assert parser.probabilities(wild, (17,), (8, 8)).isfinite().all()
    with pytest.raises(ValueError, match="An IMAGE has the shape"):
        parser.labels(image[0])


def test_weights_left_on_the_host_follow_the_picture_and_nothing_is_read_back(published, folder):
    """As with --lowvram, where layers stay on the offload device until they are needed."""
    write(published, folder / "a.pth")
    module = parser_module.find_parser().patcher.model
    with FakeTensorMode(allow_non_fake_inputs=True):
        image = torch.empty(2, 64, 48, 3, device="cuda")
        labels, soft = module.labels(image), module.probabilities(image, (17, 6), (16, 12))
        assert labels.device.type == soft.device.type == "cuda" and soft.shape == (2, 2, 16, 12)
        with pytest.raises(DataDependentOutputException):  # what a read would raise
            labels.sum().item()
