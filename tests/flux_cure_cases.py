"""Ready-made material for tests of the cure on a tiny FLUX: prompts by its text encoder, what its attentions do."""

import functools

import flux_cases
import torch
from host_cases import randn
from likeness.core.host.cure.apply import apply_cure
from likeness.core.host.sampling.strength import Strength
from tiny import flux as tiny
from tiny import flux_text

PROMPT = "a portrait of a woman, (curly red hair:1.2), wearing a green hat, laughing"
BARE = "a portrait of a woman"  # PROMPT without its attributes
GUIDANCE = 2.5  # not what ComfyUI takes where a conditioning has none
OVERRIDE = "optimized_attention_override"


@functools.cache
def clip(length=32, kind="flux"):
    """The tiny FLUX's CLIP. T5's prompts are filled up to `length` tokens: 256 by ComfyUI, which takes longer."""
    made = flux_text.clip(kind)
    made.set_tokenizer_option("t5xxl_min_length", length)
    return made


def prompt(text=PROMPT, made=None, **extras):
    """A conditioning as CLIPTextEncode and FluxGuidance make it."""
    made = made or clip()
    [[context, more]] = made.encode_from_tokens_scheduled(made.tokenize(text))
    return [[context, {**more, "guidance": GUIDANCE, **extras}]]


def reference_latent(seed=9):
    """What ReferenceLatent puts on a conditioning: an odd picture of another size."""
    return {"reference_latents": [randn(1, tiny.CHANNELS, 6, 9, seed=seed)]}


class Case:
    """A tiny FLUX with PuLID applied, and its two prompts."""

    def __init__(self, kind="flux", made=None):
        self.plain, self.adapter, self.face = tiny.flux(kind), flux_cases.pulid_flux(), flux_cases.pulid_face()
        self.clip = made or clip()
        self.prompts = prompt(made=made), prompt("blurry", made)
        self.model = self.identity(self.plain)
        self._uncured = {}

    def identity(self, model, settings=None):
        return flux_cases.apply(model, self.adapter, self.face, prompts=self.prompts, settings=settings)[0]

    def cure(self, model=None, weight=1.0, start_at=0.0, end_at=1.0, **options):
        """core.host.cure.apply.apply_cure on the model with the identity, by keyword."""
        model = self.model if model is None else model
        how = Strength(weight, start_at, end_at)
        return apply_cure(model, self.clip, strength=how, **{"prompt": PROMPT, **options})

    def sample(self, model, prompts=None, **options):
        return flux_cases.sample(model, *(prompts or self.prompts), **options)

    def uncured(self, **options):
        """What the model with the identity gives without a cure, computed once for the same options."""
        key = tuple(sorted(options.items()))
        if key not in self._uncured:
            self._uncured[key] = self.sample(self.model, **options)
        return self._uncured[key]


def recorded(model, key):
    """The model with the attention of a block written down: [(q, k, v, out, Rows)]. In [B,heads,L,D], out [B,L,C]."""
    seen, model = [], model.clone()
    ours = model.model_options["transformer_options"][OVERRIDE]

    def spy(func, q, k, v, heads, *args, **kwargs):
        options = kwargs["transformer_options"]
        running = f"{options['block_type']}_block", options["block_index"]
        out = ours(func, q, k, v, heads, *args, **kwargs)
        if running == key:
            seen.append((q, k, v, out.clone(), options["likeness_rows"]))
        return out

    model.model_options["transformer_options"][OVERRIDE] = spy
    return model, seen


def softmax_attention(q, k, v, bias=0.0):
    """softmax(q k^T / sqrt(d) + bias) v of [heads,N,D] -> [N,heads*D], in double precision."""
    scores = torch.einsum("hnd,hmd->hnm", q.double(), k.double()) / q.shape[-1] ** 0.5 + bias
    return torch.einsum("hnm,hmd->nhd", scores.softmax(-1), v.double()).flatten(1)


def counting(model):
    """The model with the rows of each forward written down."""
    rows, model = [], model.clone()

    def count(function, given):
        rows.append(len(given["input"]))
        return function(given["input"], given["timestep"], **given["c"])

    model.set_model_unet_function_wrapper(count)
    return model, rows
