"""AttributeCure as a node: what artists read and see, and that nothing leaves the device on the way."""

import json
from types import SimpleNamespace

import pytest
import torch
from comfy_process import ROOT, ComfyError
from cure_cases import PROMPT, clip
from graphs import text_to_image
from host_cases import peer_patch
from likeness.core.host.cure import run as run_module
from likeness.core.host.sampling import rows as rows_module
from likeness.core.host.sampling.run import Run
from likeness.core.host.unet import maps, self_attention
from node_cases import Wired, outputs, sentence
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode


@pytest.fixture(scope="module")
def case(cases):
    return cases["sdxl"]


@pytest.fixture(scope="module")
def wired(case):
    return {
        "model": case.model,
        "clip": clip("sdxl"),
        "prompt": PROMPT,
        "attributes": "",
        "mode": "noise_blend",
        "trajectory": "shared",
        "strength": 1.0,
        "abstract_pass": 0.0,
        "start_at": 0.0,
        "end_at": 1.0,
    }


def test_the_node_does_what_the_function_does(pack, case, wired):
    model, mask = outputs(pack, "AttributeCure", **wired)
    assert mask.shape == (1, 64, 64) and mask.min() == 1
    assert torch.equal(case.sample(model), case.sample(case.cure()))
    given = torch.eye(8)[None]
    assert torch.equal(outputs(pack, "AttributeCure", **wired, mask=given)[1], given)
    assert outputs(pack, "AttributeCure", **{**wired, "strength": 0.0})[0] is case.model


def test_the_found_masks_are_shown_on_the_node(pack, case, wired, monkeypatch):
    shown = []
    model, _ = outputs(pack, "AttributeCure", **wired)
    import comfy_execution.progress as progress

    class Registry:
        def update_progress(self, node_id, value, max_value, image):
            shown.append((node_id, image[1].size))

    monkeypatch.setattr("comfy_api.latest.get_progress_state", lambda: Registry())
    assert progress  # the registry that a server would have
    case.sample(model)
    assert shown == [("node", (16 * 8, 16 * 8))]


def prompt_of(text):
    return {"prompt": text}


@pytest.mark.parametrize(
    "inputs, expected",
    [
        (prompt_of("a tree in the rain"), "No attribute was found in the prompt"),
        (prompt_of(""), "No attribute was found in the prompt"),
        (prompt_of("no hat, without glasses"), "No attribute was found in the prompt"),
        ({"attributes": "blue hat"}, "The attribute 'blue hat' is not in the prompt"),
        ({"mask": torch.zeros(1, 1, 8, 8)}, "The mask must be a MASK"),
    ],
)
def test_one_sentence(pack, wired, inputs, expected):
    assert expected in sentence(pack, "AttributeCure", **{**wired, **inputs})


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"mode": Wired("strong")}, "mode is 'strong', but must be one of: noise_blend, .*, both, freecure; choose"),
        ({"trajectory": Wired("both")}, "trajectory is 'both', but must be one of: shared, separate;"),
        ({"trajectory": None}, "trajectory is None, but must be one of: shared, separate;"),
    ],
)
def test_words_over_a_wire(pack, wired, inputs, expected):
    with pytest.raises(ComfyError, match=expected):
        outputs(pack, "AttributeCure", **{**wired, **inputs})


def test_other_models_are_refused_in_one_sentence(pack, case, wired):
    from tiny.unet import unet

    foreign = peer_patch(case.plain, lambda out, *rest, **options: out)
    assert "comes from another pack" in sentence(pack, "AttributeCure", **{**wired, "model": foreign})
    other = sentence(pack, "AttributeCure", **wired, foundation=unet("sd15"))
    assert "The foundation is" in other and "(16 attention sites)" in other and "(70 sites)" in other
    assert "been through AttributeCure already" in sentence(pack, "AttributeCure", **{**wired, "model": case.cure()})
    other_weights = case.plain.clone()
    other_weights.add_patches({"diffusion_model.out.2.bias": ("diff", (torch.zeros(4),))})
    assert "different LoRAs" in sentence(pack, "AttributeCure", **wired, foundation=other_weights)


def test_a_mask_serves_where_no_attribute_is_found(pack, case, wired):
    mask = torch.zeros(1, 16, 16)
    mask[..., :8] = 1
    model, _ = outputs(pack, "AttributeCure", **{**wired, "prompt": "a tree"}, mask=mask)
    assert (case.sample(model) - case.uncured()).abs().max() > 1e-3


def test_in_a_whole_graph(pack, tiny_files):
    """Checkpoint, adapter, cure, KSampler with a ControlNet that reads the identity: through ComfyUI's executor."""
    from node_cases import face

    text = "a woman, red hair, laughing"
    graph = text_to_image("tiny_sd15.safetensors", text)
    graph["encoder"] = {
        "class_type": "LoadFaceEncoder",
        "inputs": {"encoder": "embedded", "detector": "auto", "min_confidence": 0.5},
    }
    graph["adapter"] = {
        "class_type": "LoadIDAdapter",
        "inputs": {"adapter": "instantid/tiny_instantid_sd15.safetensors"},
    }
    graph["person"] = {"class_type": "LoadImage", "inputs": {"image": "person.png"}}
    graph["identity"] = {
        "class_type": "ApplyIDAdapter",
        "inputs": {
            "model": ["model", 0], "positive": ["positive", 0], "negative": ["negative", 0], "adapter": ["adapter", 0],
            "face_encoder": ["encoder", 0], "image": ["person", 0], "weight": 0.8, "start_at": 0.0, "end_at": 1.0,
            "weight_type": "linear", "on_no_face": "error",
        },
    }  # fmt: skip
    graph["cure"] = {
        "class_type": "AttributeCure",
        "inputs": {
            "model": ["identity", 0], "clip": ["model", 1], "prompt": text, "attributes": "", "mode": "both",
            "trajectory": "shared", "strength": 1.0, "abstract_pass": 0.5, "start_at": 0.0, "end_at": 1.0,
        },
    }  # fmt: skip
    graph["sample"]["inputs"] |= {"model": ["cure", 0], "positive": ["identity", 1], "negative": ["identity", 2]}
    from PIL import Image

    pixels = (face()[0] * 255).byte().numpy()
    (pack.base / "input").mkdir(exist_ok=True)
    Image.fromarray(pixels).save(pack.base / "input/person.png")
    cured = pack.run_graph(graph).values("image")[0]
    graph["sample"]["inputs"]["model"] = ["identity", 0]
    assert cured.isfinite().all() and (cured - pack.run_graph(graph).values("image")[0]).abs().max() > 1e-3


def test_host_reads(case, overhead):
    """In a run of one step: blending reads nothing from the device, a range the noise level, however many ranges there
    are; extra keys read how many tokens a mask has, once per layer size; freecure, which counts steps, the noise levels
    of the run as well."""
    plain = overhead.forward(case.model, *case.conditionings)
    reads = {
        name: overhead.forward(case.cure(**options), *case.conditionings).host_reads - plain.host_reads
        for name, options in {
            "blend": {},
            "maps": {"mode": "freecure"},
            "range": {"start_at": 0.1},
            "keys": {"mode": "both"},
        }.items()
    }
    assert reads["blend"] == 0 and reads["range"] == 1 and 1 <= reads["keys"] <= 2 and reads["maps"] <= 2, reads


def test_the_patches_run_on_cuda_without_a_host_sync(case):
    rows = rows_module
    guider, alive = SimpleNamespace(conds={}, cfg=4.0), Run()
    blocks = rows.in_chunks([1, 0, 0], 6, [0, 1, 2], rows.IdentityOff((False, False, True)))

    def run_of(mode, **step):
        plan = case.cure(mode=mode).get_wrappers("outer_sample", "likeness_cure")[0].__self__.plan
        run = run_module.CureRun(plan, guider, [{"uuid": 1}], [{"uuid": 2}], alive)
        run.step, run.where.grid, run.where.pictures = run_module.Step(**step), (32, 32), 2
        return run

    reading, sharing = run_of("freecure", collects=True), run_of("both", shares_keys=True)

    class Attention:
        to_q = to_k = staticmethod(lambda rows: torch.empty(*rows.shape[:2], 128, device="cuda"))

    with FakeTensorMode(allow_non_fake_inputs=True):
        options = {
            "likeness_rows": blocks, "original_shape": [6, 4, 32, 32], "activations_shape": [6, 128, 8, 8],
            "block": ("output", 2), "block_index": 0, "n_heads": 4,
        }  # fmt: skip
        n = torch.empty(6, 64, 128, device="cuda")
        reader = maps.MapReader(case.model, (4,))
        reader._modules = {("output", 2, 0): Attention}
        reader(n, None, None, {**options, "likeness_twins": reading})
        reading.where.close()
        mask = reading.where.mask()
        assert mask.device.type == "cuda" and mask.shape == (2, 1, 32, 32)
        index = torch.zeros(2, 5, dtype=torch.long, device="cuda")
        sharing._tokens[(8, 8), blocks.places[0]] = index, torch.zeros(2, 5, device="cuda")
        sharing.gives_keys, sharing._key_mask = True, mask
        patch = self_attention.ExtraKeys(("output", 2, 0), base=lambda q, k, v, o: q)
        assert patch(n, n, n, {**options, "likeness_twins": sharing}).shape == n.shape and not sharing.keys
        with pytest.raises(DataDependentOutputException):
            float(mask.sum())


def test_the_vocabulary_is_data():
    words = json.loads((ROOT / "core/cure/vocabulary.json").read_text())
    groups = [group["words"] for groups in words["place"].values() for group in groups]
    every = [phrase for phrases in (*groups, *words["abstract"].values()) for phrase in phrases]
    assert every == [phrase.lower() for phrase in every] and len(set(every)) == len(every)
