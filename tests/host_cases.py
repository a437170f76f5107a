"""Ready-made material for tests of the patched model: adapters, identities, conditionings, sampling, peers' patches."""

import torch
from likeness.core import adapters
from likeness.core.faces.identity.identity import combine_identity
from likeness.core.host.adapters import adapter as adapter_module
from likeness.core.host.comfyui import managed
from likeness.core.host.who.person import Sources
from likeness.core.weights import WeightFile

SPACE = "dlib-resnet34-128"
SITES = {"sd15": 16, "sdxl": 70}
_TEXT_WIDTH = {"sd15": 48, "sdxl": 64}


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def identity(seed=0, dim=128, space=SPACE):
    """An identity from two random vectors."""
    vectors = randn(2, dim, seed=seed) / dim**0.5
    made, _ = combine_identity(space, vectors, torch.ones(2), "mean")
    return made


def adapter(kind="sdxl", seed=0, dtype=None):
    """A tiny InstantID adapter, loaded by the pack's own loader."""
    from tiny.files import FACE_SPACE, instantid

    metadata = {"likeness.face_space": FACE_SPACE}
    return loaded_adapter(instantid(kind, seed), f"tiny_{kind}.safetensors", metadata, dtype=dtype)


def loaded_adapter(nested, name="tiny.safetensors", metadata=None, overrides=None, dtype=None):
    """A LoadedAdapter of a checkpoint as `{top: {key: tensor}}`, loaded by the pack's own loader."""
    flat = {f"{top}.{key}": value for top, part in nested.items() for key, value in part.items()}
    file = WeightFile(name, flat, metadata or {})
    module = adapters.load_adapter(file, overrides or adapters.AUTO, dtype=dtype, operations=managed.OPERATIONS)
    return adapter_module.LoadedAdapter(name, module.spec, managed.managed(module), module.lora)


def conditioning(kind="sdxl", seed=0, length=77):
    """A random prompt as CLIPTextEncode would give it."""
    return [[randn(1, length, _TEXT_WIDTH[kind], seed=seed), {"pooled_output": randn(1, 32, seed=seed + 1)}]]


def apply(model, positive, negative, loaded=None, face=None, mask=None, kind="sdxl", options=None, **strength):
    """ApplyIDAdapter's work: returns (model, positive, negative)."""
    strength = adapter_module.Strength(**{"weight": 0.8, **strength})
    sources = Sources(face or identity())
    loaded = loaded or adapter(kind)
    return adapter_module.apply_adapter(
        model, positive, negative, loaded, sources, strength, mask, options or adapter_module.Settings()
    )[:3]


def sample(
    model, positive, negative, seed=1, steps=2, cfg=4.0, shape=(1, 4, 16, 16), sampler="euler", scheduler="simple"
):
    """Sample as KSampler does; returns the latent."""
    import comfy.sample

    noise = randn(*shape, seed=seed)
    latent = torch.zeros(shape)
    with torch.inference_mode():
        return comfy.sample.sample(
            model, noise, steps, cfg, sampler, scheduler, positive, negative, latent, seed=seed, disable_pbar=True
        )


def attn2(model):
    """The attention replacements on a model, by key."""
    return model.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})


class PeerReplace:
    """What IPAdapter_plus and InstantID's pack put on a site, by protocol: callbacks joined in place with `add`."""

    def __init__(self, callback, **kwargs):
        self.callbacks = [(callback, kwargs)]

    def add(self, callback, **kwargs):
        self.callbacks.append((callback, kwargs))

    def __call__(self, q, k, v, extra_options):
        from comfy.ldm.modules.attention import optimized_attention

        out = optimized_attention(q, k, v, extra_options["n_heads"])
        for callback, kwargs in self.callbacks:
            out = out + callback(out, q, k, v, extra_options, **kwargs)
        return out


def peer_patch(model, callback, **kwargs):
    """Patch every SDXL site the way those packs do: clone, then replace a free key or `add` to a taken one."""
    kwargs = {"sigma_start": 999999999.9, "sigma_end": 0.0, **kwargs}
    patched = model.clone()
    options = patched.model_options["transformer_options"].copy()
    options["patches_replace"] = options.get("patches_replace", {}).copy()
    options["patches_replace"]["attn2"] = taken = options["patches_replace"].get("attn2", {}).copy()
    patched.model_options["transformer_options"] = options
    for key in _sdxl_keys():
        if key in taken:
            taken[key].add(callback, **kwargs)
        else:
            taken[key] = PeerReplace(callback, **kwargs)
    return patched


def _sdxl_keys():
    depth = {("input", 4): 2, ("input", 5): 2, ("input", 7): 10, ("input", 8): 10, ("middle", 0): 10}
    depth |= {("output", i): 10 if i < 3 else 2 for i in range(6)}
    return [(*block, index) for block, count in depth.items() for index in range(count)]
