"""Ready-made material for tests of the cure: a text encoder for the tiny models, cured models, what a run computed."""

import functools

import host_cases
import torch
from likeness.core.host.cure.apply import apply_cure
from likeness.core.host.sampling.strength import Strength

MODES = ["noise_blend", "shared_attention", "both", "freecure"]
TRAJECTORIES = ["shared", "separate"]
GUIDERS = ["cfg", "basic", "dual", "perp"]
PROMPT = "a portrait of a woman, (curly red hair:1.2), wearing a green hat, laughing"


@functools.cache
def clip(kind):
    """The CLIP that belongs to a tiny model, with ComfyUI's own tokenizer and random weights."""
    import comfy.sd
    import folder_paths
    from tiny.likeness_tiny_models.configs import model_config
    from tiny.weights import fill

    target = model_config(kind, torch.float32).clip_target()
    made = comfy.sd.CLIP(target, embedding_directory=folder_paths.get_folder_paths("embeddings"))
    fill(made.cond_stage_model, 5)
    return made


def prompt(kind, text=PROMPT):
    """A conditioning as CLIPTextEncode makes it."""
    made = clip(kind)
    return made.encode_from_tokens_scheduled(made.tokenize(text))


class Case:
    """A tiny model with an identity applied, and its two prompts."""

    def __init__(self, kind, model, adapter, text=PROMPT, **strength):
        self.kind, self.plain, self.adapter = kind, model, adapter
        self.prompts = prompt(kind, text), prompt(kind, "blurry")
        self.text = text
        self.model, *self.conditionings = host_cases.apply(model, *self.prompts, adapter, kind=kind, **strength)
        self._uncured = {}

    def cure(self, model=None, weight=1.0, start_at=0.0, end_at=1.0, **options):
        """core.host.cure.apply.apply_cure on the model with the identity, by keyword."""
        how = Strength(weight, start_at, end_at)
        options = {"prompt": self.text, **options}
        model = self.model if model is None else model
        return apply_cure(model, clip(self.kind), strength=how, **options)

    def sample(self, model, **options):
        return host_cases.sample(model, *self.conditionings, **{"steps": 2, **options})

    def uncured(self, **options):
        """What the model with the identity gives without a cure, computed once for the same options."""
        key = tuple(sorted(options.items()))
        if key not in self._uncured:
            self._uncured[key] = self.sample(self.model, **options)
        return self._uncured[key]


def custom(case, model, guider):
    """Sample as SamplerCustomAdvanced does, with one of GUIDERS."""
    import comfy.samplers
    from comfy_extras import nodes_custom_sampler, nodes_perpneg

    positive, negative = case.conditionings
    if guider == "cfg":
        made = comfy.samplers.CFGGuider(model)
        made.set_conds(positive, negative)
        made.set_cfg(4.0)
    elif guider == "basic":
        made = nodes_custom_sampler.Guider_Basic(model)
        made.set_conds(positive)
    elif guider == "dual":
        made = nodes_custom_sampler.Guider_DualCFG(model)
        made.set_conds(positive, host_cases.conditioning(case.kind, seed=4), negative)
        made.set_cfg(4.0, 2.0)
    else:
        made = nodes_perpneg.Guider_PerpNeg(model)
        made.set_conds(positive, negative, host_cases.conditioning(case.kind, seed=4))
        made.set_cfg(4.0, 1.0)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 3)
    with torch.inference_mode():
        return made.sample(
            host_cases.randn(1, 4, 16, 16, seed=1),
            torch.zeros(1, 4, 16, 16),
            comfy.samplers.sampler_object("euler"),
            sigmas,
            seed=1,
        )
