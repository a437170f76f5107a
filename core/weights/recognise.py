"""Telling what a weight file is from its keys, so that an error can name it."""

from collections.abc import Callable, Mapping

import torch

from ..quoted import quoted

Tensors = Mapping[str, torch.Tensor]
CLIP_WIDTHS = (1024, 1280, 1664)  # of the vision models that adapters take features from
# What training scripts put before the keys of the network that they train.
WRAPPERS = ("", "model.", "module.", "backbone.")


def _has(*keys: str) -> Callable[[Tensors], bool]:
    return lambda tensors: all(key in tensors for key in keys)


def _starts(prefix: str) -> Callable[[Tensors], bool]:
    return lambda tensors: any(key.startswith(prefix) for key in tensors)


def _contains(part: str) -> Callable[[Tensors], bool]:
    return lambda tensors: any(part in key for key in tensors)


def _under_any_wrapper(key: str) -> Callable[[Tensors], bool]:
    return lambda tensors: any(wrapper + key in tensors for wrapper in WRAPPERS)


def _takes_face_vectors(tensors: Tensors) -> bool:
    """Whether a Resampler takes what no CLIP vision model gives: InstantID's and Portrait's un-normalised have the
    keys of IP-Adapter Plus."""
    needed = ("image_proj.latents", "image_proj.proj_in.weight", "image_proj.proj_out.weight")
    return _has(*needed)(tensors) and tensors[needed[1]].shape[-1] not in CLIP_WIDTHS


def is_bare_ir101(tensors: Tensors) -> bool:
    """Whether these are the 49 units of an IR-101 without anything before the keys.

    CurricularFace is published so. AdaFace's checkpoints, of the same layout, have the network under `model.`.
    """
    return "body.48.res_layer.5.running_var" in tensors and "body.49.res_layer.5.running_var" not in tensors


def _is_projection_alone(tensors: Tensors) -> bool:
    return "image_proj.latents" in tensors and all(key.startswith("image_proj.") for key in tensors)


def is_infiniteyou(tensors: Tensors) -> bool:
    """Whether a projection without sites is InfiniteYou's: 8 queries, or tokens as wide as FLUX's text.

    InstantID's and IP-Adapter Plus's have 16 queries, and text of another width.
    """
    if "image_proj.latents" not in tensors or _starts("ip_adapter.")(tensors):
        return False
    out = tensors.get("image_proj.proj_out.weight")
    return tensors["image_proj.latents"].shape[-2:-1] == (8,) or (out is not None and out.shape[:1] == (4096,))


def _is_bare_resampler(tensors: Tensors) -> bool:
    return {"latents", "proj_in.weight", "proj_out.weight", "norm_out.weight"} <= tensors.keys()


Kinds = tuple[tuple[Callable[[Tensors], bool], str], ...]
# First hit wins. Keys as published by each project's own training code.
# Of diffusion transformers, and of no use here. InstantX's have the keys of adapters for U-Nets and FLUX.
_REFUSED: Kinds = (
    (_starts("image_proj.time_embedding."), "an IP-Adapter for SD3.5 by InstantX"),
    (
        _starts("image_proj.cross_layer_blocks."),
        "an InstantCharacter adapter for FLUX, which is of no face but a figure",
    ),
    # Its cross-attentions are cut to one length, so that every token moves as far, whatever the face.
    (
        _starts("id_former."),
        "a PuLID adapter for FLUX.2 by others than its authors, which users found to do nothing",
    ),
    (_has("0.to_k_ip.weight"), "a Lynx adapter for Wan"),
    (_has("0.to_k_ref.weight"), "a Lynx adapter for Wan"),
    (_contains(".cross_attn.ip_adapter."), "a Lynx adapter for Wan"),
    (_contains(".self_attn.ref_adapter."), "a Lynx adapter for Wan"),
    (_contains(".self_attn.q_loras."), "a Stand-In adapter for Wan"),
    (_is_bare_resampler, "a projection without its adapter, such as Lynx's"),
    (_starts("dreamo_"), "a DreamO LoRA for FLUX, which DreamO's own nodes read"),
    (_contains(".processor.q_loras."), "an EasyControl LoRA for FLUX, which EasyControl's own nodes read"),
    (_starts("feature_embedder."), "USO's projector of styles for FLUX, which ModelPatchLoader reads"),
    (_has("single_blocks.37.processor.qkv_lora.up.weight"), "a LoRA for FLUX such as UNO's or USO's, for Load LoRA"),
)
_KINDS: Kinds = (
    *_REFUSED,
    (_has("ip_adapter.0.to_k_ip.weight"), "an IP-Adapter for FLUX by InstantX"),
    (_starts("ip_adapter_proj_model."), "an IP-Adapter for FLUX by XLabs"),
    (_starts("ipa."), "a WithAnyone adapter"),
    (_starts("ipa_arc."), "a WithAnyone adapter"),
    (_starts("pulid_ca."), "a PuLID adapter for FLUX"),
    (_starts("id_adapter."), "a PuLID adapter for SDXL"),
    (_starts("image_proj.body."), "a PuLID adapter for SDXL"),
    (_starts("w_proj."), "a W+ adapter"),
    (_starts("local_fac_prj."), "a FaceChain-FACT adapter"),
    (_contains(".aggr_router."), "a UniPortrait router"),
    (_starts("faceid_"), "a UniPortrait adapter"),
    (_contains(".to_k_face."), "an ID-Animator adapter"),
    (_starts("FacialEncoder."), "a ConsistentID adapter"),
    (_contains(".to_k_img."), "a MasterWeaver adapter"),
    (_starts("id_encoder."), "a PhotoMaker adapter"),
    (_contains("id_down_basis"), "a HyperLoRA adapter"),
    (_has("image_proj.perceiver_resampler.proj_in.weight"), "an IP-Adapter FaceID Plus adapter"),
    (_has("image_proj.proj.3.weight"), "an IP-Adapter full-face adapter"),
    (_has("image_proj.proj.2.weight", "image_proj.norm.weight"), "an IP-Adapter FaceID adapter"),
    (is_infiniteyou, "an InfiniteYou adapter"),
    (_is_projection_alone, "a projection without its adapter"),
    (_takes_face_vectors, "an InstantID or FaceID Portrait adapter"),
    (_has("image_proj.latents"), "an IP-Adapter Plus (image) adapter"),
    (_has("image_proj.proj.weight"), "an IP-Adapter (image) adapter"),
    (_has("controlnet_cond_embedding.conv_in.weight"), "a ControlNet"),
    (_contains("input_hint_block."), "a ControlNet"),
    (_has("controlnet_x_embedder.weight"), "a ControlNet for FLUX"),
    (_contains("lora_down.weight"), "a LoRA"),
    (_contains("lora_A.weight"), "a LoRA"),
    (_contains("lora.down.weight"), "a LoRA"),
    (_starts("model.diffusion_model."), "a full checkpoint or diffusion model"),
    (_starts("down_blocks."), "a diffusers U-Net"),
    (_has("vision_model.head.probe"), "a SigLIP"),
    (_starts("text_model."), "a text encoder"),
    (_starts("vision_model."), "a CLIP vision model"),
    (_starts("cp.resnet."), "a BiSeNet face parser"),
    (_starts("fpn.backbone."), "a BiSeNet face parser"),
    (_starts("out_mask_conv."), "a ParseNet face parser"),
    (_under_any_wrapper("conv2d_1a.conv.weight"), "a FaceNet state dict"),
    (_under_any_wrapper("layer1.0.prelu.weight"), "an ArcFace IResNet state dict"),
    (is_bare_ir101, "a CurricularFace state dict"),
    (_under_any_wrapper("body.0.res_layer.5.running_var"), "an AdaFace state dict"),
    (_under_any_wrapper("body.0.res_layer.5.fc1.weight"), "an ArcFace IR-SE50 state dict"),
    (_under_any_wrapper("body.0.res_layer.4.running_var"), "an IR face model of another layout than AdaFace's"),
    (_starts("net.input_layer."), "a CVLface model, whose colour order only a file beside it tells"),
    (_has("encoder.styles.0.linear.weight"), "an e4e encoder"),
    (_under_any_wrapper("senet.0.weight"), "a TransFace state dict"),
    (_starts("segformer."), "a SegFormer"),
    (_has("decoder.conv_in.weight"), "a VAE"),
    (_starts("first_stage_model."), "a VAE"),
)


def known_kind(tensors: Tensors) -> str | None:
    """A few words on what a file is, with its article; None when nothing fits."""
    return next((words for matches, words in _KINDS if matches(tensors)), None)


def is_of_no_use(tensors: Tensors) -> bool:
    """Whether a file is for a diffusion transformer, and no adapter that the pack has, whatever keys it shares."""
    return any(matches(tensors) for matches, _ in _REFUSED)


def kind_of(tensors: Tensors) -> str:
    """A few words on what a file is, with its article; names a few keys when nothing fits."""
    kind = known_kind(tensors)
    if kind is not None:
        return kind
    sample = ", ".join(quoted(key) for key in sorted(tensors)[:3])
    return f"a file that nothing here recognises ({len(tensors)} tensors: {sample}, ...)"


def unwrapped(tensors: Tensors, key: str) -> dict[str, torch.Tensor]:
    """The tensors of the network that has `key`, without what a training script put before the keys; {} if none has."""
    for wrapper in WRAPPERS:
        if wrapper + key in tensors:
            inside = (name for name in tensors if name.startswith(wrapper))
            return {name.removeprefix(wrapper): tensors[name] for name in inside}
    return {}
