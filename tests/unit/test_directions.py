"""Directions of StyleGAN's space: reading their files, and moving identities along them."""

import numpy as np
import pytest
import torch
from likeness.core.faces.identity.directions import edit, parse_layers, read_direction
from likeness.core.faces.identity.identity import combine_identity
from likeness.core.weights import WeightsError
from safetensors.torch import save_file


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def code(dim=9216, space="e4e-x:0"):
    return combine_identity(space, randn(2, dim, seed=9), torch.ones(2), "mean")[0]


@pytest.mark.parametrize("shape", [(512,), (1, 512), (18, 512), (1, 18, 512)], ids=str)
def test_every_published_form_is_read(tmp_path, shape):
    numbers = randn(*shape)
    np.save(tmp_path / "a.npy", numbers.double().numpy())
    torch.save(numbers.clone().requires_grad_(), tmp_path / "a.pt")
    save_file({"anything": numbers}, tmp_path / "a.safetensors")
    for name in ("a.npy", "a.pt", "a.safetensors"):
        assert torch.equal(read_direction(tmp_path / name), numbers.reshape(-1, 512)), name


def test_what_is_no_direction_is_refused(tmp_path):
    np.save(tmp_path / "object.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "words.npy", np.array(["a"] * 512))
    np.save(tmp_path / "short.npy", np.zeros((18, 511)))
    np.save(tmp_path / "turned.npy", np.zeros((512, 18)))
    np.save(tmp_path / "inf.npy", np.full(512, np.inf))
    whole = (tmp_path / "turned.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-100])
    (tmp_path / "huge.npy").write_bytes(whole.replace(b"(512, 18)", b"(9**9999)"))
    torch.save({"comp": torch.ones(80, 512), "mean": torch.ones(1, 512)}, tmp_path / "ganspace.pt")
    torch.save(torch.nn.Linear(1, 1), tmp_path / "code.pt")
    (tmp_path / "page.npy").write_text("<html>")
    for path in tmp_path.iterdir():
        with pytest.raises(WeightsError, match=rf"^{path.name} .*[;,] .*\.$"):
            read_direction(path)


def test_moving_is_adding_on_the_rows_alone():
    identity, direction = code(), randn(18, 512, seed=2)
    moved = edit(identity, direction, -1.5, parse_layers("0-3, 8"))
    for before, after in ((identity.vector, moved.vector), *zip(identity.vectors, moved.vectors, strict=True)):
        before, after = before.view(18, 512), after.view(18, 512)
        for row in range(18):
            expected = before[row] - 1.5 * direction[row] if row in (0, 1, 2, 3, 8) else before[row]
            torch.testing.assert_close(after[row], expected)
    one = edit(identity, direction[:1], 2.0, parse_layers("all"))
    torch.testing.assert_close(one.vector, identity.vector + 2 * direction[0].repeat(18))
    back = edit(edit(identity, direction, 3.0, [0, 1]), direction, -3.0, [0, 1])
    torch.testing.assert_close(back.vector, identity.vector, atol=1e-5, rtol=0)


def test_nothing_is_the_very_identity():
    identity = code()
    assert edit(identity, randn(1, 512), 0.0, [0]) is identity
    nobody, _ = combine_identity("e4e-x:0", torch.zeros(0, 9216), torch.zeros(0), "mean")
    assert edit(nobody, randn(1, 512), 1.0, [0]) is nobody


def test_another_space_is_refused():
    with pytest.raises(ValueError, match=r"codes of 9216 numbers, but this identity was made by dlib \(128 numbers\);"):
        edit(code(128, "dlib"), randn(1, 512), 1.0, [0])


@pytest.mark.parametrize("layers", ["", "18", "-1", "3-", "0-99999999999", "a", "0-7;8", "²"])
def test_layers_that_are_none(layers):
    with pytest.raises(ValueError, match=r'^The layers .* are not understood: write "all", or numbers from 0 to 17'):
        parse_layers(layers)


def test_layers_in_words():
    assert (
        parse_layers(" all ") == list(range(18)) and parse_layers("17") == [17] and parse_layers("5 - 7") == [5, 6, 7]
    )
