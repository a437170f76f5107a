"""What several files of unit tests look at, computed once in a process."""

import photographs
import pytest
import torch


@pytest.fixture(scope="session")
def labelled(device):
    """Every labelled face that the embedded encoder finds (photographs.labelled_faces)."""
    from likeness.core.faces.embedded import load_embedded

    encoder = load_embedded(device=device)
    return photographs.labelled_faces(lambda image: encoder.detect(image.to(device)))


@pytest.fixture(scope="session")
def vectors(labelled, device):
    """One descriptor per labelled face [N, 128]."""
    from likeness.core.faces.embedded import load_embedded

    encoder, of_picture = load_embedded(device=device), {}
    for name, alteration, _, (image, faces), _ in labelled:
        if (name, alteration) not in of_picture:
            of_picture[name, alteration] = encoder.embed(image.to(device), faces).cpu()
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
