"""Facelets: the files of embedded/facelets as the objects that ComfyUI's own loaders would give."""

import inspect
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import comfy.model_management as mm
import comfy.ops
import comfy.utils
import folder_paths
import torch
from comfy.cldm import cldm
from comfy.controlnet import ControlNet
from comfy.ldm.flux.controlnet import ControlNetFlux
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from comfy.sd1_clip import SD1Tokenizer
from comfy.supported_models_base import ClipTarget
from comfy.taesd.taesd import TAESD

from ...adapters import load_adapter
from ...facelets.detection import load_drawn
from ...faces.points.landmarks68 import load_landmarks68
from ...places import EMBEDDED
from ...weights import WeightsError, read_weights
from ..adapters.adapter import LoadedAdapter
from ..comfyui.managed import OPERATIONS, managed
from ..faces.encoder import LoadedEncoder
from .autoencoder import CHANNELS, FaceletsAutoencoder
from .config import (
    AUTOENCODER_MEMORY,
    CONTROL_NET,
    FLUX_CONTROL_NET,
    FLUX_TEXT,
    KNOWN_TOKENS,
    TEXT_ENCODER,
    FaceletsClip,
    FaceletsFlux,
    FaceletsModel,
    flux_config,
)

FOLDER = EMBEDDED / "facelets"
TEXT_FILE, VAE_FILE, FACES_FILE = "text_encoder.safetensors", "vae.safetensors", "faces.safetensors"


TEXT: int = TEXT_ENCODER["max_position_embeddings"]
UNET, FLUX = "unet", "flux"
_POSITIONS = "text_model.embeddings.position_embedding.weight"
_TABLE = "text_model.embeddings.token_embedding.weight"
LATENT_RGB = "likeness.latent_rgb"  # metadata of the autoencoder's file: `latent_format`'s `latent_rgb` as JSON
MIN_CONFIDENCE = 0.5  # of a face, as LoadFaceEncoder has it

Tensors = dict[str, torch.Tensor]


def load_facelets(
    folder: str | Path | None = None, architecture: str = UNET
) -> tuple[ModelPatcher, CLIP, VAE, ControlNet, LoadedAdapter, LoadedEncoder]:
    """(model, clip, vae, control_net, adapter, face_encoder) of one of ARCHITECTURES from the six files in `folder`, by
    default the pack's own.

    Raises WeightsError with one sentence when a file is missing, damaged or of something else.
    """
    folder = Path(folder or FOLDER)
    try:
        return _load(folder, architecture)
    except WeightsError as error:
        what, _, _ = str(error).partition(";")  # what follows is advice for files that are downloaded one by one
        raise WeightsError(
            f"Facelets can't be loaded from {folder}: {what}; it came with Likeness, so install the pack again."
        ) from error


def _load(folder, architecture):
    own = ARCHITECTURES[architecture]
    names = (own.model_file, own.control_net_file, own.adapter_file, TEXT_FILE, VAE_FILE, FACES_FILE)
    transformer, control, adapter, text, autoencoder, faces = (read_weights(folder / name) for name in names)
    identity, drawn = _identity(adapter), _drawn(faces)
    model, clip, vae = (
        own.build_model(transformer.tensors, _latent_rgb(autoencoder)),
        build_clip(text.tensors, tokens=own.tokens),
        build_vae(autoencoder.tensors),
    )
    # what ComfyUI's own loaders leave for nodes that need the model once more: on another device, without dynamic VRAM
    model.cached_patcher_init = (_model_again, (folder, architecture))
    clip.patcher.cached_patcher_init = (_clip_again, (folder, own.tokens))
    vae.patcher.cached_patcher_init = (_vae_again, (folder,))
    return (
        model,
        clip,
        vae,
        own.build_control_net(control.tensors),
        LoadedAdapter(
            adapter.name, identity.spec, managed(identity, lambda: _identity(_read(folder, own.adapter_file)))
        ),
        LoadedEncoder(drawn.space, managed(drawn, lambda: _drawn(_read(folder, FACES_FILE))), MIN_CONFIDENCE),
    )


def _model_again(folder, architecture, disable_dynamic=False):
    own = ARCHITECTURES[architecture]
    weights = _read(folder, own.model_file).tensors
    return own.build_model(weights, _latent_rgb(_read(folder, VAE_FILE)), disable_dynamic)


def _clip_again(folder, tokens, disable_dynamic=False):
    return build_clip(_read(folder, TEXT_FILE).tensors, disable_dynamic, tokens).patcher


def _vae_again(folder, disable_dynamic=False):
    return build_vae(_read(folder, VAE_FILE).tensors, disable_dynamic).patcher


def _read(folder, name):
    return read_weights(folder / name)


def _identity(file):
    return load_adapter(file, operations=OPERATIONS)


def _drawn(file):
    drawn = load_drawn(file.tensors, operations=OPERATIONS)
    drawn.points68 = load_landmarks68(operations=OPERATIONS)
    return drawn


def _latent_rgb(autoencoder):
    return json.loads(autoencoder.metadata.get(LATENT_RGB, "null"))


def build_model(weights: Tensors, latent_rgb: dict | None = None, disable_dynamic: bool = False) -> ModelPatcher:
    """The U-Net as a MODEL, from its bare LDM keys; `latent_rgb` as in `latent_format`, the last as in `managed`."""
    return _build(FaceletsModel(latent_rgb), weights, ARCHITECTURES[UNET].model_file, disable_dynamic)


def build_flux(weights: Tensors, latent_rgb: dict | None = None, disable_dynamic: bool = False) -> ModelPatcher:
    """FLUX as a MODEL, from the keys of its published file (`double_blocks.*`, ...); the rest as in `build_model`."""
    return _build(FaceletsFlux(latent_rgb), weights, ARCHITECTURES[FLUX].model_file, disable_dynamic)


def _build(config, weights, file_name, disable_dynamic):
    config.set_inference_dtype(*_precision(weights, config))
    model = config.get_model({}, device=mm.unet_offload_device())
    _fill(model.diffusion_model, config.process_unet_state_dict(weights), file_name)
    return managed(model.eval().requires_grad_(False), disable_dynamic=disable_dynamic)


def build_clip(weights: Tensors, disable_dynamic: bool = False, tokens: int = TEXT) -> CLIP:
    """The text encoder as a CLIP with ComfyUI's own SD1 tokenizer, from transformers' `text_model.*` keys, whose table
    may have rows for a few tokens only.

    `tokens`: of a prompt; longer ones are a multiple of it. A token is what it is by those before it only.
    """
    weights = _whole_table(weights)
    # CLIP takes the word as long as ComfyUI has been saying it
    word = {"disable_dynamic": disable_dynamic} if "disable_dynamic" in inspect.signature(CLIP).parameters else {}
    clip = CLIP(
        ClipTarget(SD1Tokenizer, partial(FaceletsClip, tokens=tokens)),
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        parameters=sum(tensor.numel() for tensor in weights.values()),
        tokenizer_data={"clip_l_max_length": tokens},
        **word,
    )
    # ComfyUI's class has a projection that SD1.5 never uses either; left out, it would be whatever is in the memory.
    weights = {**weights, "text_projection.weight": torch.eye(TEXT_ENCODER["hidden_size"])}
    if weights.get(_POSITIONS, torch.zeros(0)).shape[:1] == (TEXT,):
        weights[_POSITIONS] = weights[_POSITIONS][:tokens]
    _fill(clip.cond_stage_model.clip_l.transformer, weights, TEXT_FILE)
    clip.cond_stage_model.eval().requires_grad_(False)
    return clip


def _whole_table(weights):
    """Weights with a row for each token. Where KNOWN_TOKENS are the numbers of those that have one, the last row stands
    for all others: the world of drawn portraits has few words."""
    known, table = weights.get(KNOWN_TOKENS), weights.get(_TABLE)
    if known is None or table is None:
        return weights
    if known.dtype != torch.int32 or table.ndim != 2 or known.shape != (len(table) - 1,):
        raise _damaged(TEXT_FILE)
    places = torch.full((TEXT_ENCODER["vocab_size"],), len(known))
    if len(known) and not (0 <= int(known.min()) and int(known.max()) < len(places)):
        raise _damaged(TEXT_FILE)
    places[known.long()] = torch.arange(len(known))
    return {**{key: value for key, value in weights.items() if key != KNOWN_TOKENS}, _TABLE: table[places]}


def build_vae(weights: Tensors, disable_dynamic: bool = False) -> VAE:
    """The autoencoder as a VAE, from TAESD's keys (`taesd_encoder.*`, `taesd_decoder.*`, `vae_scale`, `vae_shift`)."""
    autoencoder = _fill(FaceletsAutoencoder(), weights, VAE_FILE).eval().requires_grad_(False)
    # VAE builds ComfyUI's own sizes only; all but the module holds for ours as well
    vae = VAE(sd=TAESD(latent_channels=CHANNELS).state_dict())
    vae.first_stage_model = autoencoder.to(vae.vae_dtype)
    devices = {"load_device": vae.patcher.load_device, "offload_device": vae.patcher.offload_device}
    vae.patcher = (ModelPatcher if disable_dynamic else type(vae.patcher))(autoencoder, **devices)
    vae.size = None  # reckoned anew when asked for
    encode, decode = vae.memory_used_encode, vae.memory_used_decode
    vae.memory_used_encode = lambda shape, dtype: AUTOENCODER_MEMORY * encode(shape, dtype)
    vae.memory_used_decode = lambda shape, dtype: AUTOENCODER_MEMORY * decode(shape, dtype)
    return vae


def build_control_net(weights: Tensors) -> ControlNet:
    """The landmark ControlNet as ControlNetLoader would give it, from bare LDM keys (`input_hint_block.*`, ...)."""
    make = partial(cldm.ControlNet, **CONTROL_NET)
    return _build_control(make, weights, FaceletsModel(), ARCHITECTURES[UNET].control_net_file)


def build_flux_control_net(weights: Tensors) -> ControlNet:
    """FLUX's landmark ControlNet as ControlNetLoader would give it, from XLabs' keys."""
    make = partial(ControlNetFlux, **flux_config(FLUX_CONTROL_NET))
    return _build_control(
        make, weights, FaceletsFlux(), ARCHITECTURES[FLUX].control_net_file, extra_conds=["y", "guidance"]
    )


def _build_control(make, weights, config, file_name, **more):
    dtype, compute = _precision(weights, config)
    module = make(dtype=dtype, device=mm.unet_offload_device(), operations=comfy.ops.pick_operations(dtype, compute))
    module = _fill(module, config.process_unet_state_dict(weights), file_name).eval().requires_grad_(False)
    return ControlNet(module, load_device=mm.get_torch_device(), manual_cast_dtype=compute, **more)


class Architecture(NamedTuple):
    """What an architecture has of its own; text encoder, autoencoder and faces are the same. `tokens` as in
    `build_clip`."""

    model_file: str
    control_net_file: str
    adapter_file: str
    build_model: Callable[..., ModelPatcher]
    build_control_net: Callable[[Tensors], ControlNet]
    tokens: int


ARCHITECTURES = {
    UNET: Architecture(
        "unet.safetensors", "controlnet.safetensors", "ip_adapter.safetensors", build_model, build_control_net, TEXT
    ),
    FLUX: Architecture(
        "flux.safetensors", "flux_controlnet.safetensors", "pulid.safetensors", build_flux, build_flux_control_net,
        FLUX_TEXT,
    ),
}  # fmt: skip


def _precision(weights, config):
    """The type that ComfyUI wants such weights in, and the type to compute in if that is another one."""
    supported = config.supported_inference_dtypes
    parameters, stored = comfy.utils.calculate_parameters(weights), comfy.utils.weight_dtype(weights)
    dtype = mm.unet_dtype(model_params=parameters, supported_dtypes=supported, weight_dtype=stored)
    return dtype, mm.unet_manual_cast(dtype, mm.get_torch_device(), supported)


def _fill(module, weights, file_name):
    """Copy all weights into a module; WeightsError unless they are exactly the module's own."""
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise _damaged(file_name) from error
    return module


def _damaged(file_name):
    return WeightsError(f"{file_name} is damaged: its tensors are not those of this model; fetch it again.")
