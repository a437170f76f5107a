"""Facelets' bare modules can be trained, and what quickens the training changes little."""

import pytest
import torch
from facelets import pack
from facelets.generator import Base, Generator
from facelets.lesson import Noised
from facelets.training import quicken
from torch import nn


@pytest.fixture(scope="module")
def facelets():
    from facelets import networks

    return networks


def test_the_bare_modules_can_be_trained(facelets):
    """In fp32, without autocast: nothing on the way overwrites what the backward pass needs."""
    from tiny.weights import fill

    def parts(result):
        return result if isinstance(result, list | tuple) else [result]

    latents, steps, context = torch.randn(2, 16, 16, 16), torch.tensor([10.0, 700.0]), torch.randn(2, 16, 128)
    passes = {
        "unet": (facelets.new_unet(), lambda module: module(latents, steps, context)),
        "control_net": (
            facelets.new_control_net(),
            lambda module: sum(module(latents, torch.rand(2, 3, 128, 128), steps, context).values(), []),
        ),
        "autoencoder": (
            facelets.new_autoencoder(),
            lambda module: module.decode(module.encode(torch.rand(2, 3, 64, 64))),
        ),
        "text_encoder": (facelets.new_text_encoder(), lambda module: module(torch.randint(0, 49408, (2, 77)))[0]),
    }
    for name, (module, run) in passes.items():
        fill(module, seed=1).requires_grad_(True)
        sum(part.square().mean() for part in parts(run(module))).backward()
        without = [key for key, parameter in module.named_parameters() if parameter.grad is None]
        assert not without, f"{name}: {without}"


@pytest.fixture
def trained(facelets):
    """The generator's U-Net alone, as training has it, with random weights."""

    class Bare:
        unet = facelets.new_unet()

    torch.manual_seed(2)
    for parameter in Bare.unet.parameters():
        nn.init.normal_(parameter, std=0.05)
    quicken(Bare.unet)
    return Bare


@pytest.fixture
def noised():
    latents = torch.randn(2, 16, 16, 16, generator=torch.Generator().manual_seed(3))
    return Noised(latents, torch.tensor([10.0, 700.0]), None, None, None, None)


def test_residuals_are_added_as_comfyui_adds_a_control_nets(facelets, trained, noised):
    """ComfyUI adds them in place, which autograd does not forgive; what comes out must be the same."""
    context, control = torch.randn(2, 77, 128), facelets.new_control_net()
    for parameter in control.parameters():
        nn.init.normal_(parameter, std=0.05)
    with Base().multiplying():
        residuals = control(noised.latents, torch.rand(2, 3, 128, 128), noised.times, context)
    residuals = {name: [4 * part.detach() for part in residuals[name]] for name in ("output", "middle")}
    with Base().multiplying():
        ours = Generator.velocity(trained, noised, context, residuals)
        plain = Generator.velocity(trained, noised, context)
    copies = {name: [part.clone() for part in parts] for name, parts in residuals.items()}
    with torch.no_grad(), Base().multiplying():
        theirs = trained.unet(noised.latents, noised.times, context=context, control=copies, transformer_options={})
    assert torch.equal(ours, theirs.float())
    assert (ours - plain).abs().max() > 0.1 * ours.abs().max()
    ours.sum().backward()


def test_half_precision_changes_little(trained, noised):
    context = torch.randn(2, 77, 128)
    exact = trained.unet(noised.latents, noised.times, context=context, transformer_options={})
    with Base().multiplying():
        quick = Generator.velocity(trained, noised, context)
    assert quick.dtype == torch.float32 and (quick - exact).abs().max() < 0.03 * exact.abs().max()


def test_what_ships_is_what_the_node_loads():
    load = pack.module("core.host.facelets.load")
    own = {name for architecture in load.ARCHITECTURES.values() for name in architecture[:3]}
    loaded = {*own, load.TEXT_FILE, load.VAE_FILE, load.FACES_FILE}
    assert {f"{name}.safetensors" for name in pack.SHIPPING} == loaded
    assert {pack.file_of(name).parent for name in pack.SHIPPING} == {load.FOLDER}
