"""ConsistentID's files: recognised before FaceID Plus; parts of the face cut out, turned into tokens and fused."""

import pytest
import torch
from likeness.core.adapters import FaceInput, Seen, load_adapter
from likeness.core.adapters.consistentid import PARTS
from likeness.core.faces.regions.parser import CLASSES
from likeness.core.faces.regions.parts import cut_parts, fill_holes
from likeness.core.weights import WeightFile
from references.fusing import fused, linear, norm, perceiver_layer
from tiny.consistentid import DEPTH, consistentid
from tiny.files import CONTEXT_DIM, SITE_WIDTHS
from tiny.ip_adapter import flat, ip_adapter


@pytest.fixture(params=["sd15", "sdxl"])
def kind(request):
    return request.param


def load(tensors, name="anna.bin", **options):
    return load_adapter(WeightFile(name, tensors, {}), **options)


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def seeded(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_what_the_file_says_about_itself(kind):
    module = load(flat(consistentid(kind)))
    spec = module.spec
    assert (spec.family, spec.in_prompt, spec.normalised) == ("consistentid", True, True)
    assert (spec.tokens, spec.face_dim, spec.face_space) == (4, 512, "buffalo_l-w600k_r50")
    assert spec.site_widths == tuple(SITE_WIDTHS[kind]) and spec.look.crop == "whole"
    assert module.lora.layers == 8 * len(SITE_WIDTHS[kind])
    about = spec.about("anna.bin", module.lora)
    for words in ("ConsistentID", "CLIP-ViT-H-14", "IDTextEncode", "face_parsing", "start_merge_at 0.6"):
        assert words in about, about


def test_the_half_at_the_sites_is_faceid_plus(kind):
    """On the whole picture; what the tokens saw is added to them on SDXL, as in version 2, and not on SD1.5."""
    module = load(flat(consistentid(kind)))
    plus = load(flat(ip_adapter("faceid-plus", kind)), "plusv2.bin" if kind == "sdxl" else "plus.bin")
    person = FaceInput(seeded(1, 512), Seen((seeded(1, 9, 1280, seed=2),)))
    with torch.no_grad():
        tokens = module.project(person)
        assert torch.equal(tokens, plus.project(person))
        for ours, theirs in zip(module.keys_values(tokens), plus.keys_values(tokens), strict=True):
            assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


def test_tokens_of_the_parts(kind):
    tensors = consistentid(kind)["FacialEncoder"]
    module, hidden = load(flat(consistentid(kind))), seeded(3, 9, 1280)
    stem = "visual_projection."
    x, latents = linear(hidden, tensors, f"{stem}proj_in"), tensors[f"{stem}latents"].repeat(3, 1, 1)
    for layer in range(DEPTH):
        latents = perceiver_layer(x, latents, tensors, f"{stem}layers.{layer}.", dim_head=64)
    expected = norm(linear(latents, tensors, f"{stem}proj_out"), tensors, f"{stem}norm_out")
    with torch.no_grad():
        tokens = module.part_tokens(hidden)
        torch.testing.assert_close(tokens, expected.reshape(1, 3, -1), atol=1e-4, rtol=0)
        words = seeded(1, 3, CONTEXT_DIM[kind], seed=5)
        torch.testing.assert_close(module.fuse(words, tokens), fused(words, tokens, tensors), atol=1e-4, rtol=0)


def test_the_caption():
    first, second = (load(flat(consistentid(kind))) for kind in ("sd15", "sdxl"))
    whole = ["The person has one face", "two ears", "two eyes", "one nose", "and one mouth"]
    assert first.caption([0, 1, 2, 3, 4]) == ("Detail:", whole)
    assert first.caption([0, 1, 4]) == ("Detail:", [whole[0], "two eyes", "and one mouth"])
    assert second.caption([0, 1, 2, 3, 4]) == ("; Detail:", [*whole[:4], "and a mouth"])


@pytest.mark.parametrize("seed", range(4))
def test_holes_are_filled_as_opencv_fills_outer_contours(seed):
    import cv2
    import numpy as np

    picture = torch.rand(1, 1, 11, 13, generator=torch.Generator().manual_seed(seed))
    coarse = torch.nn.functional.interpolate(picture, (90, 110), mode="bicubic")[0, 0]
    masks = torch.stack([(coarse - level).abs() < 0.12 for level in (0.3, 0.5, 0.7)])
    for mask, filled in zip(masks, fill_holes(masks), strict=True):
        drawn = np.zeros(mask.shape, np.uint8)
        contours, _ = cv2.findContours(mask.numpy().astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(drawn, contours, -1, 255, cv2.FILLED)
        assert mask.any() and torch.equal(filled, torch.from_numpy(drawn) > 0)
    assert (fill_holes(masks) & ~masks).any()


def test_parts_are_cut_out():
    numbers = [[CLASSES.index(name) for name in part] for part in PARTS]
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[0, 4:28, 4:28] = CLASSES.index("skin")
    labels[0, 8:12, 8:12] = CLASSES.index("l_eye")
    labels[0, 8:12, 20:24] = CLASSES.index("r_eye")
    labels[0, 10:14, 28:31] = CLASSES.index("r_ear")
    image = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(2))
    pictures, shown = cut_parts(image, labels, numbers)
    assert shown == [0, 1, 2] and pictures.shape == (3, 64, 64, 3)
    face, eyes, ears = pictures
    assert torch.equal(face[12:52, 12:52], image[0, 12:52, 12:52])  # the eyes, which are no skin, filled in
    assert torch.equal(eyes[18:22, 18:22], image[0, 18:22, 18:22]) and eyes[16:24, 40:48].abs().max() < 1e-6
    assert torch.equal(ears[23:25, 59:60], image[0, 23:25, 59:60]) and not face[:4].any()
    nothing, shown = cut_parts(image, torch.zeros_like(labels), numbers)
    assert not shown and nothing.shape == (0, 64, 64, 3)
