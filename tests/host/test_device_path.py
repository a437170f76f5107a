"""From the identity to the attention nothing leaves the device, and little is done; counted without a GPU."""

import pytest
import torch
from host_cases import adapter, apply, attn2, conditioning, identity
from likeness.core.adapters import FaceInput
from likeness.core.attention.residuals import Attend
from likeness.core.faces.identity import identity as identity_module
from likeness.core.host.sampling import injection as injection_module
from likeness.core.host.sampling import run
from likeness.core.host.unet.cross_attention import IDPatch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode


@pytest.fixture(scope="module")
def case():
    from tiny.unet import unet

    return unet("sdxl"), (conditioning(seed=1), conditioning(seed=2)), adapter()


def test_one_adapter_adds_two_operators_per_site_and_no_host_read(overhead, case):
    model, prompt, loaded = case
    for batch in (1, 3):
        plain = overhead.forward(model, *prompt, batch=batch)
        patched = overhead.forward(*apply(model, *prompt, loaded), batch=batch)
        added = patched.operators - plain.operators
        assert not plain.operators - patched.operators
        assert added.pop("aten.add.Tensor") == 70
        # One attention a site; the rest is ComfyUI batching the ControlNet tokens that come with the conditioning.
        assert sum(count for name, count in added.items() if "attention" in name) == 70
        assert sum(count for name, count in added.items() if "attention" not in name) <= 3
        assert patched.host_reads == plain.host_reads


def test_a_partial_range_reads_the_noise_level_once_per_forward(overhead, case):
    model, prompt, loaded = case
    plain = overhead.forward(model, *prompt)
    for people in (1, 2):
        patched = (model, *prompt)
        for seed in range(people):
            patched = apply(*patched, loaded, identity(seed), end_at=0.9)
        assert overhead.forward(*patched).host_reads - plain.host_reads == 1


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("kinds", [[1, 0], [0], [0, 0, 1]])
def test_the_patch_runs_on_cuda_without_a_host_sync(case, with_mask, kinds):
    model, prompt, loaded = case
    mask = torch.ones(2, 32, 32).tril() if with_mask else None
    patched, *_ = apply(model, *prompt, loaded, mask=mask)
    patch = attn2(patched)["middle", 0, 3]
    (injection, index), bank = patch.injections[0], patch.injections[0][0].patcher.model
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        sites = [Attend(*(mode.from_tensor(part[:2]).to("cuda") for part in (site.k, site.v))) for site in bank.sites]
        bank_on_cuda = injection_module.IdentityBank(sites, None if mask is None else mode.from_tensor(mask).to("cuda"))
        owner = type("Owner", (), {"model": bank_on_cuda})
        on_cuda = injection_module.Injection(owner, injection.span)
        rows = 2 * len(kinds)
        q = torch.empty(rows, 8 * 8, 128, device="cuda")
        sigmas = torch.empty(rows, device="cuda")
        options = {
            "n_heads": 4,
            "cond_or_uncond": kinds,
            "activations_shape": [rows, 128, 8, 8],
            "sigmas": sigmas,
            "likeness": run.Run(),
        }
        out = IDPatch(patch.key, [(on_cuda, index)], base=lambda q, k, v, o: q)(q, q, q, options)
        assert out.device.type == "cuda" and out.shape == q.shape
        # The test can fail: what it looks for raises here.
        with pytest.raises(DataDependentOutputException):
            float(sigmas[0])


def test_projection_and_keys_stay_on_cuda(case):
    module = case[2].patcher.model
    with FakeTensorMode(allow_non_fake_inputs=True):
        face = FaceInput(torch.empty(1, 128, device="cuda"))
        tokens = module.project(face)
        assert tokens.device.type == "cuda" and tokens.shape == (1, 16, 64)
        pairs = module.keys_values(tokens)
    assert len(pairs) == 70 and {t.device.type for pair in pairs for t in pair} == {"cuda"}


def test_combining_vectors_stays_on_cuda():
    with FakeTensorMode():
        vectors, scores = torch.empty(5, 128, device="cuda"), torch.empty(5, device="cuda")
        for combine in identity_module.COMBINE:
            made, kept = identity_module.combine_identity("a-space", vectors, scores, combine)
            assert made.vector.device.type == kept.device.type == "cuda"
