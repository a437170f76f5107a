"""Wrong adapter files, some hundreds of them: cut, mixed, odd; each is refused in one clear sentence, none loads."""

import random

import pytest
import torch
from likeness.core.adapters import FAMILIES, describe_adapter, load_adapter
from likeness.core.weights import WeightFile, WeightsError, read_weights
from safetensors.torch import save_file
from tiny.families import FILES, family

NAMES = (*FILES, "pulid-v1-converted")
CUTS, LOSSES, MIXTURES, SHAPES = 6, 24, 6, 12


@pytest.fixture(scope="module")
def whole():
    return {name: family(name) for name in NAMES}


def refused(tensors, what):
    with pytest.raises(WeightsError) as caught:
        load_adapter(WeightFile("anna.bin", tensors, {}))
    text = str(caught.value)
    assert text.startswith("anna.bin ") and text.endswith(".") and ";" in text and "\n" not in text, (what, text)
    assert len(text) < 400, (what, text)
    return text


def test_every_family_is_among_them(whole):
    """A family without a tiny file would go untested here, and in everything else that asks tests/tiny/families.py."""
    names = ("anna.bin", "plusv2.bin", "portrait.bin")  # where only the name tells
    read = {describe_adapter(WeightFile(name, tensors)).title for tensors in whole.values() for name in names}
    assert read == {known.title for family in FAMILIES for known in family.known}


def own_keys(tensors):
    """Without PhotoMaker's LoRA, of which nobody knows how many layers it should have, and what WithAnyone Ke left."""
    return [key for key in tensors if not key.startswith(("lora_weights.", "siglip_in."))]


@pytest.mark.parametrize("name", NAMES)
def test_cut_off_or_lacking_something(whole, name):
    tensors, chance = whole[name], random.Random(name)
    keys = own_keys(tensors)
    for cut in range(1, CUTS + 1):
        kept = keys[: len(keys) * cut // (CUTS + 1)]
        if set(kept) >= set(own_keys(whole["photomaker-v1"])):
            continue  # version 2 without all that is new in it is version 1
        refused({key: tensors[key] for key in kept}, f"the first {len(kept)}")
    for lost in chance.sample(keys, LOSSES):
        refused({key: tensor for key, tensor in tensors.items() if key != lost}, f"without {lost}")


@pytest.mark.parametrize("name", NAMES)
def test_with_a_tensor_too_many(whole, name):
    key = random.Random(name).choice(own_keys(whole[name]))
    assert "tensors too many" in refused({**whole[name], f"{key}.gate": torch.ones(1)}, f"{key}.gate")


@pytest.mark.parametrize("name", NAMES)
def test_mixed_with_another(whole, name):
    tensors, chance = whole[name], random.Random(name)
    keys = own_keys(tensors)
    for other in chance.sample([other for other in NAMES if other != name], MIXTURES):
        others = {key: tensor for key, tensor in whole[other].items() if key not in tensors}
        some = chance.sample(sorted(others), max(1, len(others) // 2)) if others else []
        mixed = {key: tensors[key] for key in chance.sample(keys, len(keys) // 2)}
        refused(mixed | {key: others[key] for key in some}, f"half of each, {other}")


@pytest.mark.parametrize("name", NAMES)
def test_of_odd_shapes(whole, name):
    tensors, chance = whole[name], random.Random(name)
    # pictures of another size have other positions
    for key in chance.sample([key for key in own_keys(tensors) if "position_embedding" not in key], SHAPES):
        tensor = tensors[key]
        for odd in (tensor[None], torch.zeros(0), torch.cat([tensor, tensor]), torch.tensor(1.0)):
            if odd.shape != tensor.shape:
                refused({**tensors, key: odd}, f"{key} of {list(odd.shape)}")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("container", ["bin", "safetensors"])
def test_files_cut_off(whole, name, container, tmp_path):
    path = tmp_path / f"anna.{container}"
    torch.save(whole[name], path) if container == "bin" else save_file(whole[name], path)
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.999):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(WeightsError, match=r"^anna\.[a-z]+ .*; fetch it again\.$"):
            load_adapter(read_weights(path))


def test_two_whole_adapters_in_one_file(whole):
    text = refused(whole["wplus"] | whole["faceid-sd15"], "two")
    assert "mixed with" in text and "W+" in text
    refused(whole["pulid-v1"] | whole["photomaker-v1"], "two")
    net = {"controlnet_cond_embedding.conv_in.weight": torch.ones(2)}
    assert "FaceChain-FACT adapter mixed with a ControlNet" in refused(whole["fact"] | net, "with a ControlNet")


@pytest.mark.parametrize("name", NAMES)
def test_what_training_leaves_behind_is_named_and_left_aside(whole, name):
    spare = {"global_step": torch.tensor(4000), "optimizer.param_groups.0.lr": torch.tensor(1e-4)}
    module = load_adapter(WeightFile("anna.bin", whole[name] | spare, {}))
    count = len(spare) + sum(key.startswith("siglip_in.") for key in whole[name])
    about = module.spec.about("anna.bin")
    assert f"Left aside: {count} tensors that it has no use for, such as 'global_step'" in about
    clean = load_adapter(WeightFile("anna.bin", whole[name], {})).state_dict()
    assert all(torch.equal(tensor, clean[key]) for key, tensor in module.state_dict().items())
