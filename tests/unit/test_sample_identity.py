"""New people from a set: the Gaussian, the rejection, and what is said when it can't be done."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from likeness.core.faces.identity.identity import Identity
from likeness.core.faces.identity.sample_identity import draw_people, population, sample_identities


def crowd(count=24, dim=128, spread=1.0, seed=0, centre=0.3):
    """Vectors of a crowd with some directions wider than others."""
    generator = torch.Generator().manual_seed(seed)
    widths = torch.linspace(1.5, 0.5, dim)
    return centre + spread * widths * torch.randn(count, dim, generator=generator)


def alone(vectors, space="a space"):
    """One identity made of these vectors."""
    return Identity(space, vectors.mean(0), vectors, torch.ones(len(vectors)), "mean")


def people(vectors, space="a space"):
    """One identity for each vector; each is made of two others whose mean it is."""
    return [
        Identity(space, one, torch.stack([one - 0.1, one + 0.1]), torch.ones(2), "mean") for one in vectors.unbind()
    ]


def test_samples_have_the_mean_and_covariance_of_the_set():
    members = crowd(9, 6).double()
    drawn = draw_people(members, 200_000, torch.Generator().manual_seed(1))
    deviation = members.var(0).sqrt()
    assert ((drawn.mean(0) - members.mean(0)).abs() < 0.02 * deviation).all()
    expected = torch.from_numpy(np.cov(members.numpy().T))
    torch.testing.assert_close(torch.cov(drawn.T), expected, atol=0.02 * float(expected.abs().max()), rtol=0.02)


def test_samples_stay_in_the_span_of_the_set():
    members = crowd(5, 40).double()
    drawn = draw_people(members, 30, torch.Generator().manual_seed(1)) - members.mean(0)
    assert torch.linalg.matrix_rank(torch.cat([members - members.mean(0), drawn]), atol=1e-9) == 4


@pytest.mark.parametrize("limit", [0.45, 0.6, 0.9])
def test_nobody_resembles_anybody(limit):
    members = crowd()
    found = torch.stack([one.vector for one in sample_identities([alone(members)], 3, limit, 12)])
    everybody = F.normalize(torch.cat([members, found]).double(), dim=1)
    cosines = everybody[24:] @ everybody.T
    cosines[:, 24:].fill_diagonal_(-1)
    assert cosines.max() <= limit + 1e-6
    loose = torch.stack([one.vector for one in sample_identities([alone(members)], 3, 1.0, 12)])
    loose = F.normalize(loose, dim=1)
    assert ((loose @ loose.T).fill_diagonal_(-1).max() > 0.35) or limit > 0.35  # so there was something to reject


def test_they_are_identities_of_the_sets_length_and_space():
    members = crowd(dim=64)
    for one in sample_identities([alone(members)], 0, 0.9, 5):
        assert (one.space, one.count, one.dim, one.combine) == ("a space", 1, 64, "mean") and not one.is_empty
        torch.testing.assert_close(one.vector.norm(), members.norm(dim=1).mean(), atol=1e-4, rtol=1e-4)
        assert torch.equal(one.vectors[0], one.vector) and one.vector.dtype == torch.float32


def test_a_seed_gives_the_same_people_and_leaves_the_global_state_alone():
    state = torch.random.get_rng_state()
    one, again, other = (sample_identities([alone(crowd())], seed, 0.8, 4) for seed in (7, 7, 8))
    assert all(torch.equal(a.vector, b.vector) for a, b in zip(one, again, strict=True))
    assert not any(torch.equal(a.vector, b.vector) for a, b in zip(one, other, strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)
    more = sample_identities([alone(crowd())], 7, 0.8, 9)
    assert all(torch.equal(a.vector, b.vector) for a, b in zip(one, more, strict=False))  # a larger count goes on


def test_who_is_in_the_set():
    members = crowd()
    assert torch.equal(population([alone(members)])[1], members)
    assert torch.equal(population(people(members))[1], members)
    nobody = Identity("a space", torch.zeros(128), torch.zeros(0, 128), torch.zeros(0), "mean")
    assert torch.equal(population([nobody, *people(members), nobody])[1], members)
    assert torch.equal(population([nobody, alone(members)])[1], members)


def test_the_limit_of_a_space_is_its_own():
    """0.94 in dlib's, where strangers have 0.8 and more; 0.4 where nobody knows."""
    members = crowd(centre=3.0)  # all cosines are high
    automatic = sample_identities([alone(members, "dlib-resnet34-128")], 1, 0.0, 3)
    named = sample_identities([alone(members, "dlib-resnet34-128")], 1, 0.94, 3)
    assert all(torch.equal(a.vector, b.vector) for a, b in zip(automatic, named, strict=True))
    with pytest.raises(ValueError, match=r"under 0\.4; raise max_similarity"):
        sample_identities([alone(members)], 1, 0.0, 3)


@pytest.mark.parametrize("given", [[], [alone(crowd(1))], [alone(crowd(2))], people(crowd(2))], ids=len)
def test_too_small_a_set(given):
    with pytest.raises(ValueError) as caught:
        sample_identities(given, 0, 0.5, 1)
    count = given[0].count if len(given) == 1 else len(given)
    assert str(caught.value) == (
        f"SampleIdentity needs a set of 3 faces or more, but got {count}; connect more identities as a list, or one "
        "identity made of photographs of many people."
    )


def test_a_set_of_one_face_over_and_over():
    with pytest.raises(ValueError) as caught:
        sample_identities([alone(crowd(1).expand(5, -1))], 0, 1.0, 1)
    assert str(caught.value) == (
        "All 5 faces of the set are the same, so there is nothing to sample between; connect different people."
    )


def test_different_spaces():
    with pytest.raises(ValueError) as caught:
        sample_identities([alone(crowd(), "one"), alone(crowd(), "two")], 0, 0.5, 1)
    assert str(caught.value) == (
        "The identities were made by different encoders (one, two); encode all photographs with one."
    )


def test_not_enough_people():
    """Of three people in a plane there are only so many that differ."""
    with pytest.raises(ValueError) as caught:
        sample_identities([alone(crowd(3, 16, centre=0.0))], 0, 0.5, 40)
    text = str(caught.value)
    assert text.startswith("Only ") and " of 40 new people were found among 10240 samples" in text
    assert text.endswith("raise max_similarity, lower count, or give a set of more different people.")
