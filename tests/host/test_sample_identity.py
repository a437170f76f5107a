"""SampleIdentity as a node: lists in, lists out, one sentence when it can't be done."""

import pytest
import torch
import torch.nn.functional as F
from host_cases import identity, randn
from likeness.core.faces.identity.identity import combine_identity
from node_cases import Sink, outputs, run_node, sentence


class GivenList:
    """A node that hands out a list, as one made of several LoadIdentity does."""

    values: list = []
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_IS_LIST = ("LIKENESS_IDENTITY",), "give", "test", (True,)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def give(self):
        return (self.values,)


def crowd(count=12, space="dlib-resnet34-128", seed=0):
    """One identity made of so many people."""
    vectors = 0.1 + 0.1 * randn(count, 128, seed=seed)
    made, _ = combine_identity(space, vectors, torch.ones(count), "mean")
    return made


def sampled(pack, identities, **inputs):
    return outputs(pack, "SampleIdentity", identities=identities, **{"seed": 1, "max_similarity": 0.0, **inputs})


def test_one_person_and_several(pack):
    [person] = sampled(pack, crowd(), count=1)
    [people] = sampled(pack, crowd(), count=4)
    assert person.count == 1 and person.space == "dlib-resnet34-128" and len(people) == 4
    assert torch.equal(people[0].vector, person.vector)
    cosines = F.normalize(torch.stack([one.vector for one in people]), dim=1)
    assert (cosines @ cosines.T).fill_diagonal_(-1).max() <= 0.94  # the space's own
    [again] = sampled(pack, crowd(), count=4)
    assert all(torch.equal(one.vector, other.vector) for one, other in zip(people, again, strict=True))


def test_nodes_behind_run_once_for_each(pack):
    Sink.runs = 0
    run_node(pack, "SampleIdentity", identities=crowd(), seed=1, max_similarity=0.0, count=5)
    assert Sink.runs == 5


def through_lists(pack, identities, **inputs):
    """A list of identities into one node and its list into a second one, which sees all of them at once."""
    GivenList.values = identities
    pack.nodes["GivenList"], pack.nodes["Sink"] = GivenList, Sink
    widgets = {"seed": 3, "max_similarity": 0.99, **inputs}
    try:
        result = pack.run_graph(
            {
                "given": {"class_type": "GivenList", "inputs": {}},
                "first": {"class_type": "SampleIdentity", "inputs": {"identities": ["given", 0], **widgets}},
                "second": {"class_type": "SampleIdentity", "inputs": {"identities": ["first", 0], **widgets}},
                "sink": {"class_type": "Sink", "inputs": {"value": ["second", 0]}},
            }
        )
    finally:
        del pack.nodes["GivenList"], pack.nodes["Sink"]
    return result.values("first")[0], result.values("second")[0]


def test_a_list_is_one_set(pack):
    people = [identity(seed) for seed in range(8)]
    first, second = through_lists(pack, people, count=6)
    assert len(first) == len(second) == 6
    vectors = [torch.stack([one.vector for one in some]).double() for some in (people, first, second)]
    for members, drawn in zip(vectors, vectors[1:], strict=False):
        joined = torch.cat([members, drawn]) - members.mean(0)
        length = members.norm(dim=1).mean()
        torch.testing.assert_close(drawn.norm(dim=1), length.expand(6), atol=1e-4, rtol=1e-4)
        assert torch.linalg.matrix_rank(joined, atol=1e-4) <= len(members)  # their span, and the mean for the length


def test_what_is_sampled_can_be_saved_and_loaded(pack):
    [person] = sampled(pack, crowd(), count=1)
    [saved] = run_node(pack, "SaveIdentity", identity=person, filename_prefix="identities/nobody").outputs["node"][
        "identities"
    ]
    [loaded] = outputs(pack, "LoadIdentity", identity_file=f"identities/{saved['filename']} [output]")
    assert torch.equal(loaded.vector, person.vector) and loaded.count == 1


@pytest.mark.parametrize(
    ("count", "expected"), [(2, "SampleIdentity needs a set of 3 faces or more, but got 2"), (4, "Only ")]
)
def test_one_sentence(pack, count, expected):
    inputs = {"seed": 1, "max_similarity": 0.05, "count": 2}
    assert sentence(pack, "SampleIdentity", identities=crowd(count), **inputs).startswith(expected)
