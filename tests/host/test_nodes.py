"""The nodes on real photographs: what each policy does, which pictures they take, and what they hand on."""

import json

import host_cases
import pytest
import torch
from comfy_process import ComfyError
from node_cases import Sink, blank, face, outputs, run_node, sentence

SPACE = host_cases.SPACE


@pytest.fixture(scope="module")
def faces_and_a_gap():
    """Three pictures, the middle one without a face."""
    return torch.cat([face("A"), blank(), face("C")])


@pytest.fixture(scope="module")
def posed(pack, tiny_files):
    """The inputs of LandmarkControl that have nothing to do with faces."""
    import comfy.controlnet

    path = pack.base / "models/controlnet/tiny_sdxl_controlnet.safetensors"
    placement = {"offset_x": 0.0, "offset_y": 0.0, "scale": 1.0, "rotate": 0.0}
    return {
        "positive": host_cases.conditioning(seed=1),
        "negative": host_cases.conditioning(seed=2),
        "control_net": comfy.controlnet.load_controlnet(str(path)),
        "landmarks": "",
        "face_index": "0",
        "strength": 0.8,
        "start_at": 0.0,
        "end_at": 1.0,
        **placement,
    }


def detect(pack, encoder, image, index="all", on_no_face="error", order="largest"):
    inputs = {"face_encoder": encoder, "image": image, "order": order, "index": index, "on_no_face": on_no_face}
    return outputs(pack, "DetectFaces", **inputs)[:4]


def encode(pack, encoder, image, combine="mean", face_index="0", on_no_face="error"):
    inputs = {"face_encoder": encoder, "image": image, "combine": combine, "face_index": face_index}
    return outputs(pack, "EncodeIdentity", **inputs, on_no_face=on_no_face)


def compare(pack, encoder, image, threshold=0.0, on_no_face="error", **person):
    inputs = {"face_encoder": encoder, "image": image, "threshold": threshold, "on_no_face": on_no_face}
    return run_node(pack, "IDSimilarity", **inputs, **person)


def is_blocked(value):
    return type(value).__name__ == "ExecutionBlocker" and value.message is None


# A picture without a face, node by node


def test_detect_faces_with_a_faceless_picture(pack, encoder, faces_and_a_gap):
    found, crops, mask, count = detect(pack, encoder, faces_and_a_gap, on_no_face="skip")
    assert (count, found.counts) == (2, (1, 0, 1)) and crops.shape == (2, 256, 256, 3) and mask.shape == (2, 256, 256)
    assert (mask.mean(dim=(1, 2)) > 0.1).all()
    _, crops, kept, count = detect(pack, encoder, faces_and_a_gap, on_no_face="passthrough")
    assert count == 2 and len(crops) == 2 and not kept[1].any() and torch.equal(kept[[0, 2]], mask)
    inputs = {"face_encoder": encoder, "image": faces_and_a_gap, "order": "largest", "index": "all"}
    text = sentence(pack, "DetectFaces", **inputs, on_no_face="error")
    assert text.startswith("No face was found in image 2 of 3 (256x256 pixels); use a picture where")
    assert "set on_no_face to skip or passthrough" in text


def test_detect_faces_where_nobody_is(pack, encoder):
    _, crops, mask, count = detect(pack, encoder, blank(), on_no_face="skip")
    assert count == 0 and is_blocked(crops) and is_blocked(mask)
    _, crops, mask, count = detect(pack, encoder, blank(), on_no_face="passthrough")
    assert count == 0 and is_blocked(crops) and mask.shape == (1, 256, 256) and not mask.any()


def test_encode_identity_with_a_faceless_photograph(pack, encoder, faces_and_a_gap):
    for policy in ("skip", "passthrough"):
        identity, report = encode(pack, encoder, faces_and_a_gap, on_no_face=policy)
        assert identity.count == 2 and report.splitlines()[0].startswith("Identity from 2 of 2 faces in 3 photographs")
        assert report.splitlines()[-1] == "Photograph 2: no face, left out."
    inputs = {"face_encoder": encoder, "combine": "mean", "face_index": "0"}
    text = sentence(pack, "EncodeIdentity", **inputs, image=faces_and_a_gap, on_no_face="error")
    assert "image 2 of 3" in text
    text = sentence(pack, "EncodeIdentity", **inputs, image=blank().expand(2, -1, -1, -1), on_no_face="skip")
    assert "images 1, 2 of 2" in text and "set on_no_face to passthrough" in text  # it is "skip" already
    identity, report = encode(pack, encoder, blank(), on_no_face="passthrough")
    assert identity.is_empty and report.splitlines()[-1] == "Photograph 1: no face, left out."


def test_apply_id_adapter_with_a_faceless_photograph(pack, encoder, applied, faces_and_a_gap):
    for policy in ("skip", "passthrough"):
        inputs = {**applied, "face_encoder": encoder, "image": faces_and_a_gap, "on_no_face": policy}
        model, *_, identity = outputs(pack, "ApplyIDAdapter", **inputs)
        assert identity.count == 2 and len(host_cases.attn2(model)) == 16
    assert "image 2 of 3" in sentence(pack, "ApplyIDAdapter", **{**inputs, "on_no_face": "error"})
    nobody = {**inputs, "image": blank()}
    assert "in the image (256x256" in sentence(pack, "ApplyIDAdapter", **{**nobody, "on_no_face": "skip"})
    model, positive, negative, identity = outputs(pack, "ApplyIDAdapter", **{**nobody, "on_no_face": "passthrough"})
    assert model is applied["model"] and positive is applied["positive"] and negative is applied["negative"]
    assert identity.is_empty


def test_landmark_control_with_a_faceless_picture(pack, encoder, posed, faces_and_a_gap):
    inputs = {**posed, "face_encoder": encoder, "image": faces_and_a_gap}
    positive, _, drawn, text = outputs(pack, "LandmarkControl", **inputs, on_no_face="skip")
    assert drawn.shape == (2, 256, 256, 3) and len(json.loads(text)["faces"]) == 2 and "control" in positive[0][1]
    _, _, kept, text = outputs(pack, "LandmarkControl", **inputs, on_no_face="passthrough")
    assert len(kept) == 3 and not kept[1].any() and torch.equal(kept[[0, 2]], drawn)
    assert "image 2 of 3" in sentence(pack, "LandmarkControl", **inputs, on_no_face="error")
    nobody = {**inputs, "image": blank()}
    assert "set on_no_face to passthrough" in sentence(pack, "LandmarkControl", **nobody, on_no_face="skip")
    positive, negative, drawn, text = outputs(pack, "LandmarkControl", **nobody, on_no_face="passthrough")
    assert positive is posed["positive"] and negative is posed["negative"]
    assert drawn.shape == (1, 256, 256, 3) and not drawn.any() and json.loads(text)["faces"] == []


def test_id_similarity_with_a_faceless_picture(pack, encoder, faces_and_a_gap):
    identity, _ = encode(pack, encoder, face("A"))
    accepted, rejected, scores, best, report = compare(
        pack, encoder, faces_and_a_gap, 0.95, "skip", identity=identity
    ).values("node")
    assert torch.equal(accepted, faces_and_a_gap[:1]) and torch.equal(rejected, faces_and_a_gap[2:])
    assert torch.equal(best, faces_and_a_gap[:1]) and scores[0] == pytest.approx(1, abs=1e-5) and len(scores) == 2
    assert [image["outcome"] for image in json.loads(report)["images"]] == ["accepted", "skipped", "rejected"]
    accepted, rejected, *_ = compare(pack, encoder, faces_and_a_gap, 0.95, "passthrough", identity=identity).values(
        "node"
    )
    assert torch.equal(accepted, faces_and_a_gap[:2]) and torch.equal(rejected, faces_and_a_gap[2:])
    inputs = {"face_encoder": encoder, "image": faces_and_a_gap, "identity": identity, "threshold": 0.0}
    assert "image 2 of 3" in sentence(pack, "IDSimilarity", **inputs, on_no_face="error")


def test_id_similarity_with_a_faceless_reference(pack, encoder, faces_and_a_gap):
    inputs = {"face_encoder": encoder, "image": face("A"), "threshold": 0.0}
    text = sentence(pack, "IDSimilarity", **inputs, reference=faces_and_a_gap, on_no_face="error")
    assert "No face was found in reference 2 of 3" in text
    for policy in ("skip", "passthrough"):
        *_, report = compare(pack, encoder, face("A"), 0.0, policy, reference=faces_and_a_gap).values("node")
        assert json.loads(report)["accepted"] == 1
        text = sentence(pack, "IDSimilarity", **inputs, reference=blank(), on_no_face=policy)
        assert text.startswith("There is nobody to compare with") and "connect an identity or a reference" in text


def test_where_nobody_is_like_the_person_nothing_behind_runs(pack, encoder):
    Sink.runs = 0
    identity, _ = encode(pack, encoder, face("A"))
    assert Sink.runs == 1
    result = compare(pack, encoder, face("C"), 0.99, identity=identity)
    accepted, rejected, scores, best, _ = result.values("node")
    assert is_blocked(accepted) and Sink.runs == 1 and torch.equal(rejected, best) and scores < 0.99
    assert result.outputs["node"]["scores"] == [scores] and json.loads(result.outputs["node"]["report"][0])
    _, _, _, best, report = compare(pack, encoder, blank(), 0.5, "skip", identity=identity).values("node")
    assert is_blocked(best) and json.loads(report)["skipped"] == 1


# Pictures of every kind


@pytest.fixture(scope="module")
def plain(pack, encoder):
    return encode(pack, encoder, face("A"))[0].vector


def change(kind):
    image = face("A")
    alpha = torch.rand(1, 256, 256, 1, generator=torch.Generator().manual_seed(0))
    if kind == "RGBA":
        return torch.cat([image, alpha], dim=-1)
    if kind == "half precision":
        return image.half()
    if kind == "bfloat16":
        return image.bfloat16()
    if kind == "grey":
        return image.mean(dim=-1, keepdim=True)
    if kind == "brighter than white":
        return image + (image > 250 / 255) * 40.0 - (image < 5 / 255) * 40.0
    if kind == "a stripe of NaN":
        image[:, :20] = float("nan")
    if kind == "infinite corner":
        image[:, :9, :9] = float("inf")
    return image


@pytest.mark.parametrize(
    ("kind", "likeness"),
    [
        ("RGBA", 0.99999),
        ("half precision", 0.9999),
        ("bfloat16", 0.999),
        ("grey", 0.96),
        ("brighter than white", 0.99),
        ("a stripe of NaN", 0.98),
        ("infinite corner", 0.98),
    ],
)
def test_odd_pictures_of_a_face_are_that_face(pack, encoder, plain, kind, likeness):
    image = change(kind)
    before = image.clone()
    identity, _ = encode(pack, encoder, image)
    assert torch.cosine_similarity(identity.vector, plain, dim=0) > likeness
    _, crops, mask, count = detect(pack, encoder, image)
    assert count == 1 and crops.isfinite().all() and crops.shape == (1, 256, 256, 3) and mask.shape == (1, 256, 256)
    accepted, *_ = compare(pack, encoder, image, identity=identity).values("node")
    assert torch.equal(accepted.nan_to_num(7), before.nan_to_num(7))  # sorted, not changed
    assert torch.equal(image.nan_to_num(7), before.nan_to_num(7))


@pytest.mark.parametrize("size", [1, 2, 5, 11, 12, 13])
def test_tiny_pictures_have_no_face(pack, encoder, size):
    inputs = {"face_encoder": encoder, "image": blank(size), "order": "largest", "index": "all", "on_no_face": "error"}
    assert f"in the image ({size}x{size} pixels)" in sentence(pack, "DetectFaces", **inputs)


def test_a_face_of_ten_pixels_is_not_found(pack, encoder):
    image = blank()
    image[:, 100:120, 100:120] = face("A", 20)
    inputs = {"face_encoder": encoder, "image": image, "combine": "mean", "face_index": "0", "on_no_face": "error"}
    assert "over 20 pixels wide" in sentence(pack, "EncodeIdentity", **inputs)


def test_pictures_of_all_nans_or_far_out_of_range_have_no_face(pack, encoder):
    for value in (float("nan"), float("inf"), -1e30, 255.0):
        image = torch.full((1, 64, 64, 3), value)
        assert detect(pack, encoder, image, on_no_face="passthrough")[3] == 0


def test_forty_faces(pack, encoder):
    rows = [torch.cat([face(person, 112) for person in people], dim=2) for people in ("ABCDEFAB", "CDEFABCD")]
    image = torch.cat([*rows, *rows, rows[0]], dim=1)  # 8 x 5 cut-outs
    found, crops, mask, count = detect(pack, encoder, image)
    print(f"\n{count} of 40 faces found")
    assert 40 <= count <= 44 and len(crops) == count and found.counts == (count,)
    in_cells = {(int(x // 112), int(y // 112)) for x, y in ((b[:2] + b[2:]) / 2 for b in found.boxes.cpu())}
    assert len(in_cells) == 40
    identity, report = encode(pack, encoder, image, "robust", "all")
    assert identity.count == count and identity.vector.isfinite().all() and len(report.splitlines()) == count + 1


def test_which_faces(pack, encoder):
    pair = torch.cat([face("A"), face("C")], dim=2)
    everyone = detect(pack, encoder, pair, order="left to right")[0]
    assert everyone.counts == (2,)
    for index, places in {"0": [0], "1": [1], "1,0": [1, 0], " 0 , 1 ": [0, 1], "0,5": [0], "0,0": [0]}.items():
        chosen = detect(pack, encoder, pair, index, order="left to right")[0]
        assert torch.equal(chosen.boxes, everyone.boxes[places]), index


# Identities on disk


def test_save_and_load_identity_is_exact(pack, encoder, faces_and_a_gap):
    identity, _ = encode(pack, encoder, faces_and_a_gap, "robust", on_no_face="skip")
    result = run_node(pack, "SaveIdentity", identity=identity, filename_prefix="identities/anna")
    assert result.values("node") == [identity]
    [saved] = result.outputs["node"]["identities"]
    assert saved["subfolder"] == "identities" and saved["type"] == "output" and saved["filename"].startswith("anna_")
    [loaded] = outputs(pack, "LoadIdentity", identity_file=f"identities/{saved['filename']} [output]")
    for name in ("vector", "vectors", "scores"):
        assert torch.equal(getattr(loaded, name).cpu(), getattr(identity, name).cpu())
    assert (loaded.space, loaded.combine) == (SPACE, "robust")
    [second] = run_node(pack, "SaveIdentity", identity=identity, filename_prefix="identities/anna").outputs["node"][
        "identities"
    ]
    assert second["filename"] > saved["filename"]  # nothing is overwritten


def test_robust_names_the_stranger_in_the_report(pack, encoder):
    own = face("A")
    turned = own.flip(2)
    darker = own**1.3
    _, report = encode(pack, encoder, torch.cat([own, turned, face("C"), darker]), "robust")
    lines = report.splitlines()
    assert lines[0].startswith("Identity from 3 of 4 faces in 4 photographs")
    assert [line for line in lines if "looks like somebody else" in line] == [lines[3]]
    assert lines[3].startswith("Photograph 3:")


def test_a_missing_picture_is_said_before_anything_runs(pack, encoder):
    with pytest.raises(ComfyError, match="Required input is missing: image"):
        outputs(pack, "DetectFaces", face_encoder=encoder, order="largest", index="all", on_no_face="error")


# Choices from fixed lists


CHOICES = {
    "LoadFaceEncoder": {"encoder": "embedded", "detector": "auto", "search": "auto"},
    "DetectFaces": {"order": "largest", "on_no_face": "error", "mask_from": "box"},
    "AssignFaces": {"by": "similarity", "on_no_face": "error", "mask_from": "box"},
    "EncodeIdentity": {"combine": "mean", "on_no_face": "error"},
    "ApplyIDAdapter": {
        "weight_type": "linear",
        "on_no_face": "error",
        "method": "fidelity",
        "combine_embeds": "auto",
        "compatibility": "reference",
    },
    "IDTextEncode": {"on_no_face": "error"},
    "Arc2FaceTextEncode": {"on_no_face": "error"},
    "LandmarkControl": {"on_no_face": "error", "control_net_reads": "auto"},
    "IDSimilarity": {"on_no_face": "error"},
}


@pytest.mark.parametrize(("node", "name"), [(node, name) for node, names in CHOICES.items() for name in names])
def test_choices_that_are_not_offered_are_refused_before_anything_runs(pack, node, name):
    """ComfyUI 0.3.75 checks combos of its older nodes only."""
    with pytest.raises(ComfyError) as caught:
        outputs(pack, node, **{**CHOICES[node], name: "nonsense"})
    text = str(caught.value)
    assert f"{name} is 'nonsense', but must be one of: " in text and CHOICES[node][name] in text
    assert "Custom validation failed" in text and 'File "' not in text


def test_every_fixed_list_is_checked(pack):
    from comfy_api.latest import io

    for node_id, node in pack.own_nodes().items():
        lists = {choice.id for choice in node.define_schema().inputs if isinstance(choice, io.Combo.Input)}
        assert lists == set(CHOICES.get(node_id, lists)), node_id
        for name, value in CHOICES.get(node_id, {}).items():
            wired = dict.fromkeys(CHOICES[node_id])  # None: comes over a wire
            assert node.validate_inputs(**wired) is True and node.validate_inputs(**{**wired, name: value}) is True
            assert "choose one of these" in node.validate_inputs(**{**wired, name: "nonsense"})
