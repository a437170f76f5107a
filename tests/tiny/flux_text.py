"""The text encoders of tiny FLUX and Chroma as ComfyUI CLIPs: its own classes and tokenizers, CLIP-L and T5 narrow."""

import comfy.sd
import folder_paths
from comfy.supported_models_base import ClipTarget
from comfy.text_encoders import flux, pixart_t5

from .flux import POOLED, TEXT
from .weights import fill

_NARROW = {
    "clip_l_model_config": {
        "hidden_size": POOLED,
        "intermediate_size": 4 * POOLED,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
    },
    "t5xxl_model_config": {"d_model": TEXT, "d_ff": 2 * TEXT, "d_kv": 16, "num_heads": 2, "num_layers": 1},
}
_KINDS = {
    "flux": (flux.FluxTokenizer, flux.FluxClipModel),
    "chroma": (pixart_t5.PixArtTokenizer, pixart_t5.PixArtT5XXL),
}


def clip(kind: str = "flux", seed: int = 5) -> comfy.sd.CLIP:
    """The CLIP that belongs to a tiny model, "flux" (also for schnell) or "chroma", with random weights."""
    made = comfy.sd.CLIP(
        ClipTarget(*_KINDS[kind]),
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        model_options=dict(_NARROW),
    )
    fill(made.cond_stage_model, seed)
    return made
