"""The cross-attention sites of a U-Net, read from the model itself."""

from comfy.model_patcher import ModelPatcher

from ...sizes import height_width
from ..sampling.injection import Here, Site

_PATHS = {"input": "input_blocks.{}.1", "middle": "middle_block.1", "output": "output_blocks.{}.1"}


def is_unet(model: ModelPatcher) -> bool:
    """Whether a MODEL is a U-Net of Stable Diffusion's build."""
    unet = model.get_model_object("diffusion_model")
    return all(hasattr(unet, part) for part in ("input_blocks", "middle_block", "output_blocks"))


def attention_sites(model: ModelPatcher) -> list[Site]:
    """The cross-attentions of a U-Net in the order of adapter checkpoints: down, up, middle.

    Their keys are ComfyUI's names: ("input" | "middle" | "output", block, transformer), the middle block's number is 0.
    """
    sites, order = [], 0
    for key, transformers in _spatial_transformers(model.get_model_object("diffusion_model")):
        for index, transformer in enumerate(map(_block, transformers)):
            if transformer.attn2 is not None:
                width, context = transformer.attn2.to_q.out_features, transformer.attn2.to_k.in_features
                sites.append(Site((*key, index), width, context, order))
        order += 1
    return sorted(sites, key=lambda site: ("input", "output", "middle").index(site.kind))  # stable: order within stays


def transformer_path(key: tuple[str, int, int]) -> str:
    """The name of a site's transformer block in the model's state dict."""
    kind, number, index = key
    return f"diffusion_model.{_PATHS[kind].format(number)}.transformer_blocks.{index}"


def attention_modules(model: ModelPatcher) -> dict:
    """The cross-attention module of each site's key."""
    return {
        (*key, index): transformer.attn2
        for key, transformers in _spatial_transformers(model.get_model_object("diffusion_model"))
        for index, transformer in enumerate(map(_block, transformers))
        if transformer.attn2 is not None
    }


def running(options: dict) -> Here:
    """The cross-attention that is running, from its transformer options."""
    return Here(options["n_heads"], height_width(options["activations_shape"]))


def _block(transformer):
    """A transformer block itself, where another pack's run has left a wrapper around it on the shared model."""
    return next(module for module in transformer.modules() if hasattr(module, "attn2"))


def _spatial_transformers(unet):
    """(block, number), transformers of each spatial transformer in the order of execution."""
    executed = [("input", i, block) for i, block in enumerate(unet.input_blocks)]
    if unet.middle_block is not None:
        executed.append(("middle", 0, unet.middle_block))
    executed += [("output", i, block) for i, block in enumerate(unet.output_blocks)]
    for kind, number, block in executed:
        for layer in block:
            if hasattr(layer, "transformer_blocks"):
                yield (kind, number), layer.transformer_blocks
