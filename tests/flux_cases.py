"""Ready-made material for tests on a tiny FLUX: people as adapters get them, prompts, whole samplings."""

from functools import partial

import torch
from host_cases import loaded_adapter, randn
from likeness.core.adapters import FaceInput, Seen
from likeness.core.faces.identity.identity import combine_identity
from likeness.core.host.adapters import adapter as adapters
from likeness.core.host.who.person import Person
from tiny import flux as tiny
from tiny import flux_ip, infiniteyou, pulid
from tiny import withanyone as tiny_withanyone
from tiny.weights import fill

SIZE = (12, 16)  # of the latents
PICTURE_SIZE = (96, 128)


def pulid_flux(seed=0):
    """A tiny PuLID adapter for FLUX, loaded by the pack's own loader."""
    return loaded_adapter(pulid.pulid_flux(seed), "pulid_flux_v0.9.1.safetensors")


def pulid_face(seed=0):
    """A face as PuLID gets it, and what it gets of nobody."""
    hidden = tuple(randn(1, 10, pulid.SEEN_DIM, seed=seed + i) for i in range(5))
    face = FaceInput(randn(1, pulid.FACE_DIM, seed=seed + 7), Seen(hidden, randn(1, 768, seed=seed + 8)))
    nothing = Seen(tuple(torch.zeros_like(one) for one in hidden), torch.zeros(1, 768))
    return face, FaceInput(torch.zeros(1, pulid.FACE_DIM), nothing)


def person(face, nobody):
    identity, _ = combine_identity("tiny", randn(1, 8, seed=1), torch.ones(1), "mean")
    return Person(identity, face, nobody)


def apply(model, adapter, who, mask=None, prompts=None, settings=None, **strength):
    """ApplyIDAdapter's work for a person as (face, nobody); returns (model, positive, negative)."""
    positive, negative = prompts or (conditioning(1), conditioning(2))
    strength = adapters.Strength(**{"weight": 1.0, **strength})
    return adapters.apply_person(
        model, positive, negative, adapter, person(*who), strength, mask, settings or adapters.Settings()
    )


def conditioning(seed=0, length=7, **extras):
    """A random prompt as CLIPTextEncode and FluxGuidance would give it."""
    pooled = {"pooled_output": randn(1, tiny.POOLED, seed=seed + 1)}
    return [[randn(1, length, tiny.TEXT, seed=seed), {**pooled, "guidance": 3.5, **extras}]]


def sample(
    model, positive, negative, seed=1, steps=2, cfg=1.0, size=SIZE, batch=1, sampler="euler", scheduler="simple"
):
    """Sample as KSampler does; returns the latent."""
    import comfy.sample

    shape = batch, tiny.CHANNELS, *size
    noise, latent = randn(*shape, seed=seed), torch.zeros(shape)
    with torch.inference_mode():
        return comfy.sample.sample(
            model, noise, steps, cfg, sampler, scheduler, positive, negative, latent, seed=seed, disable_pbar=True
        )


def infinite_you(seed=0):
    """A tiny InfiniteYou adapter, loaded by the pack's own loader."""
    return loaded_adapter(infiniteyou.infiniteyou(seed), "image_proj_model.bin")


def face(seed=0):
    """A face as InfiniteYou gets it; nobody is asked for."""
    return FaceInput(torch.nn.functional.normalize(randn(1, infiniteyou.FACE_DIM, seed=seed), dim=-1)), FaceInput()


def vae():
    """A VAE for FLUX's latents with random weights: ComfyUI's small one."""
    import comfy.sd
    from comfy.taesd.taesd import TAESD

    state = fill(TAESD(latent_channels=tiny.CHANNELS), 6).state_dict()
    return comfy.sd.VAE(sd=state, device=torch.device("cpu"), dtype=torch.float32)


def drawn(seed=0, size=SIZE):
    """A control image [1,H,W,3] for latents of a size."""
    return torch.rand(1, 8 * size[0], 8 * size[1], 3, generator=torch.Generator().manual_seed(seed))


def withanyone(seed=0):
    """A tiny WithAnyone adapter."""
    return loaded_adapter(tiny_withanyone.withanyone(seed), "withanyone.safetensors")


def withanyone_ke(seed=0):
    """A tiny WithAnyone Ke adapter, for FLUX.1 Kontext."""
    return loaded_adapter(tiny_withanyone.withanyone_ke(seed), "withanyone_ke.safetensors")


def withanyone_face(seed=0, tokens=9):
    """A face as WithAnyone gets it, its SigLIP with a few tokens, and what it gets of nobody."""
    hidden = randn(1, tokens, tiny_withanyone.SEEN_DIM, seed=seed + 11)
    face = FaceInput(randn(1, tiny_withanyone.FACE_DIM, seed=seed + 12), Seen((hidden,)))
    return face, FaceInput(torch.zeros_like(face.vectors), Seen((torch.zeros_like(hidden),)))


def xlabs(tokens=4, seed=0):
    """A tiny IP-Adapter by XLabs; 4 tokens as the first has, 16 as the second."""
    return loaded_adapter(flux_ip.xlabs(tokens, seed), "ip_adapter.safetensors")


def instantx(seed=0):
    """A tiny IP-Adapter for FLUX by InstantX."""
    return loaded_adapter(flux_ip.instantx(seed), "ip-adapter.bin")


def picture(numbers, seed=0):
    """An embedding of so many numbers as a plain IP-Adapter gets it, and a random one of nobody's picture."""
    return tuple(FaceInput(seen=Seen((), randn(1, numbers, seed=seed + i))) for i in (21, 22))


def calls(modules, *sampled):
    """How often each module runs while sampling one step."""
    counts = dict.fromkeys(modules, 0)

    def count(module, args, output):
        counts[module] += 1

    handles = [module.register_forward_hook(count) for module in counts]
    sample(*sampled, steps=1)
    for handle in handles:
        handle.remove()
    return list(counts.values())


def sites_of(model):
    """The modules of all adapters on a model, as their banks hold them."""
    taken = model.model_options["transformer_options"]["patches_replace"]["dit"]
    return [
        injection.patcher.model.sites[index] for patch in taken.values() for injection, index, _ in patch.injections
    ]


# Adapters on FLUX by name: how one is loaded, and a person as (face, nobody) for it.
CASES = {
    "PuLID": (pulid_flux, pulid_face),
    "WithAnyone": (withanyone, withanyone_face),
    "WithAnyone Ke": (withanyone_ke, withanyone_face),
    "XLabs": (xlabs, partial(picture, flux_ip.CLIP)),
    "InstantX": (instantx, partial(picture, flux_ip.SIGLIP)),
}
