"""What several files of unit tests look at, computed once in a process."""

import functools

import photographs
import pytest
import torch


@pytest.fixture(scope="session")
def embedded(device):
    """The face encoder that ships with the pack. It is everybody's: tests change nothing in it."""
    from likeness.core.faces.embedded import load_embedded

    return load_embedded(device=device)


@pytest.fixture(scope="session")
def seen(embedded, device):
    """Photograph's name -> (IMAGE, the Faces that the embedded encoder finds on it): each is searched once."""

    @functools.cache
    def seen(name):
        image = photographs.as_image(photographs.picture(name)).to(device)
        return image, embedded.detect(image)

    return seen


@pytest.fixture(scope="session")
def labelled(embedded, seen, device):
    """Every labelled face that the embedded encoder finds (photographs.labelled_faces)."""

    def detect(image, name, alteration):
        return seen(name)[1] if alteration == "as it is" else embedded.detect(image.to(device))

    return photographs.labelled_faces(detect)


@pytest.fixture(scope="session")
def vectors(embedded, labelled, device):
    """One descriptor per labelled face [N, 128]."""
    of_picture = {}
    for name, alteration, _, (image, faces), _ in labelled:
        if (name, alteration) not in of_picture:
            of_picture[name, alteration] = embedded.embed(image.to(device), faces).cpu()
    return torch.stack([of_picture[name, alteration][place] for name, alteration, _, _, place in labelled])


@pytest.fixture
def tried_file(tmp_path):
    """Of a function (path, role) the same one for (name, bytes, role)."""

    def of(tried):
        def outcome(name, data, role):
            path = tmp_path / name
            path.write_bytes(data)
            return tried(path, role)

        return outcome

    return of
