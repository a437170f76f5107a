"""The cross-attention sites of a U-Net, read from the model itself."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Site:
    """One cross-attention; `key` is ComfyUI's name for it: ("input" | "middle" | "output", block, transformer)."""

    key: tuple[str, int, int]
    width: int
    context: int
    order: int  # of its spatial transformer in the order of execution, 0 first

    @property
    def kind(self) -> str:
        return self.key[0]


def attention_sites(model) -> list[Site]:
    """Sites of a MODEL in the order of adapter checkpoints: down, up, middle. SD1.5 has 16, SDXL 70.

    ComfyUI runs the middle block as ("middle", 0). Raises ValueError for a model that is not a U-Net.
    """
    unet = model.get_model_object("diffusion_model")
    if not all(hasattr(unet, part) for part in ("input_blocks", "middle_block", "output_blocks")):
        name = type(model.model).__name__
        raise ValueError(
            f"Identity adapters work with SD1.5 and SDXL models here, but the connected model is {name}; load one of "
            "those."
        )
    sites, order = [], 0
    for key, transformers in _spatial_transformers(unet):
        for index, transformer in enumerate(map(_block, transformers)):
            if transformer.attn2 is not None:
                width, context = transformer.attn2.to_q.out_features, transformer.attn2.to_k.in_features
                sites.append(Site((*key, index), width, context, order))
        order += 1
    return sorted(
        sites, key=lambda site: ("input", "output", "middle").index(site.kind)
    )  # stable: keeps the order within


def attention_modules(model) -> dict:
    """The cross-attention module of each site's key, of a MODEL that `attention_sites` takes."""
    return {
        (*key, index): transformer.attn2
        for key, transformers in _spatial_transformers(model.get_model_object("diffusion_model"))
        for index, transformer in enumerate(map(_block, transformers))
        if transformer.attn2 is not None
    }


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
