"""New people from a set: Gaussian sampling in the span of its embeddings, with rejection of look-alikes.

The recipe of Vec2Face (Wu et al. 2024): mean and covariance of the set, samples of that Gaussian, and a sample is kept
only if its cosine to everybody kept before stays under a threshold; here to everybody in the set as well.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .identity import SAME_PERSON, Identity

ENOUGH = 3  # two members span a line, on which everybody is a mixture of the two
_ARCFACE_LIKE = 0.4  # Vec2Face's threshold
_BATCH = 512
_LEAST_TRIES, _TRIES_EACH = 4096, 256
_ALIKE = 1e-4  # of the set's typical length


def sample_identities(identities: Sequence[Identity], seed: int, max_similarity: float, count: int) -> list[Identity]:
    """`count` new people, each an identity with one vector, on the device of the given ones.

    The set are the vectors of several identities, or all those that one alone was made of; identities without a face
    don't count. `max_similarity`: the cosine up to which two are two people; 0 takes the space's own. One seed gives
    the same people on every device. ValueError with one sentence where the set is too small or too much alike, its
    members are of different spaces, or not enough people were found.
    """
    space, members = population(identities)
    limit = max_similarity or SAME_PERSON.get(space, _ARCFACE_LIKE)
    device = members.device
    members = members.double().cpu()  # host read: which sample is kept is a decision, and the same one everywhere
    vectors = _sample(members, torch.Generator().manual_seed(seed), limit, count).float().to(device)
    scores = torch.ones(1, device=device)
    # Copies: a file of an identity can't hold one tensor under two names.
    return [Identity(space, one.clone(), one[None].clone(), scores, "mean") for one in vectors]


def population(identities: Sequence[Identity]) -> tuple[str, torch.Tensor]:
    """The space of a set and its members [N,D], un-normalised; ValueError when there is no such set."""
    found = [one for one in identities if not one.is_empty]
    spaces = sorted({one.space for one in found})
    if len(spaces) > 1:
        raise ValueError(
            f"The identities were made by different encoders ({', '.join(spaces)}); encode all photographs with one."
        )
    if len(found) == 1:
        members = found[0].vectors
    else:
        members = torch.stack([one.vector for one in found]) if found else torch.zeros(0, 0)
    if len(members) < ENOUGH:
        raise ValueError(
            f"SampleIdentity needs a set of {ENOUGH} faces or more, but got {len(members)}; connect more identities as "
            "a list, or one identity made of photographs of many people."
        )
    return spaces[0], members


def draw_people(members: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Samples [count,D] of the Gaussian with the mean and the covariance of members [N,D].

    mean + w (members - mean) / sqrt(N - 1), w standard normal [N]: this has the very covariance, stays in the set's
    span, and needs no decomposition, whose signs would differ between devices.
    """
    mean = members.mean(0)
    weights = torch.randn(count, len(members), generator=generator, dtype=members.dtype)
    return mean + weights @ (members - mean) / (len(members) - 1) ** 0.5


def _sample(members, generator, limit, count):
    """`count` of the drawn vectors with the set's mean length, [count,D], none of which resembles another."""
    length = members.norm(dim=1).mean()
    if (members - members.mean(0)).norm(dim=1).max() <= _ALIKE * length:
        raise ValueError(
            f"All {len(members)} faces of the set are the same, so there is nothing to sample between; connect "
            "different people."
        )
    known, kept = F.normalize(members, dim=1), []
    tries = max(_LEAST_TRIES, _TRIES_EACH * count)
    for _ in range(0, tries, _BATCH):
        drawn = F.normalize(draw_people(members, _BATCH, generator), dim=1)
        drawn = drawn[(drawn @ known.T).amax(1) <= limit]
        alike = drawn @ drawn.T > limit
        free = torch.ones(len(drawn), dtype=torch.bool)
        for index in range(len(drawn)):
            if free[index]:
                kept.append(drawn[index])
                free &= ~alike[index]
                if len(kept) == count:
                    return torch.stack(kept) * length
        known = torch.cat([F.normalize(members, dim=1), *(one[None] for one in kept)])
    raise ValueError(
        f"Only {len(kept)} of {count} new people were found among {tries} samples whose similarity to the set and to "
        f"each other stays under {limit:g}; raise max_similarity, lower count, or give a set of more different people."
    )
