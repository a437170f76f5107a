"""What the example workflows load, small and with random weights: files under the very names that they ask for, in the
published layouts, and the objects of loaders for which there is no small file."""

import shutil
from pathlib import Path

import flux_cases
import numpy as np
import onnx_files
import photographs
import torch
from descriptor_files import transface
from likeness.core.faces.align.alignment import arcface
from likeness.core.faces.encoder import FaceEncoder
from likeness.core.host.comfyui.managed import managed
from likeness.core.host.faces import encoder
from likeness.core.host.faces.encoder_files import load_module
from parser_files import reference
from PIL import Image
from tiny import flux, flux_text, infiniteyou
from tiny.consistentid import consistentid
from tiny.eva import eva
from tiny.fact import fact
from tiny.ip_adapter import flat, ip_adapter
from tiny.masterweaver import masterweaver
from tiny.photomaker import photomaker
from tiny.pulid import pulid, pulid_flux
from tiny.siglip import siglip
from tiny.uniportrait import FACE_DIM, SPACE, faceid, router
from tiny.withanyone import withanyone
from tiny.wplus import wplus

CODE = 512  # numbers of a row of e4e's code: directions are as wide
FACES = {"A": "person.jpg", "B": "person_2.jpg", "C": "person_3.jpg"}
TEXT_WIDTH = 576  # of Arc2Face's text encoder: wide enough for a face


def pickles() -> dict:
    """File below ComfyUI's models folder -> what torch.save puts into it."""
    network, transface_tensors = transface()
    faceids = {"faceid_sd15": ("faceid", "sd15"), "faceid_sdxl": ("faceid", "sdxl")}
    faceids |= {"faceid-plusv2_sdxl": ("faceid-plus", "sdxl"), "faceid-portrait-v11_sd15": ("portrait", "sd15")}
    return {
        **{f"ipadapter/ip-adapter-{name}.bin": ip_adapter(*layout) for name, layout in faceids.items()},
        "instantid/ip-adapter.bin": ip_adapter("unnorm", "sdxl"),
        "infinite_you/aes_stage2/image_proj_model.bin": infiniteyou.infiniteyou(),
        "photomaker/photomaker-v2.bin": photomaker("v2"),
        "likeness/ConsistentID-v1.bin": consistentid("sd15"),
        "likeness/wplus_adapter.bin": wplus(code=CODE),
        "likeness/adapter_final.pt": masterweaver(seen_dim=1024),
        "likeness/adapter_maj_mask_large_new_reg001_faceshuffle_00290001.ckpt": fact(seen=network.pos_embed.shape[-1]),
        "likeness/uniportrait-faceid_sd15.bin": faceid(),
        "likeness/uniportrait-router_sd15.bin": router(),
        "face_encoders/ms1mv2_model_TransFace_S.pt": transface_tensors,
        "face_parsing/face_parsing.pth": reference(seed=3).state_dict(),
        "clip_vision/EVA02_CLIP_L_336_psz14_s6B.pt": eva(),
    }


def write(base: Path) -> list[Path]:
    """Write every file below ComfyUI's base directory, where those of tests/tiny are; returns what was written."""
    from safetensors.torch import save_file

    models, written = base / "models", []

    def path(name):
        written.append(base / name)
        written[-1].parent.mkdir(parents=True, exist_ok=True)
        return written[-1]

    for name, tensors in pickles().items():
        torch.save(tensors, path(f"models/{name}"))
    for name, layout in (("ipadapter/ip-adapter-plus-face_sd15", ip_adapter("plus", "sd15")),
                         ("pulid/pulid_v1.1", pulid("v1.1", face_dim=512)),
                         ("pulid/pulid_flux_v0.9.1", pulid_flux(face_dim=512)),
                         ("likeness/withanyone", withanyone(face_dim=512))):  # fmt: skip
        save_file(flat(layout), path(f"models/{name}.safetensors"))
    for name, tiny in (("checkpoints/v1-5-pruned-emaonly-fp16", "checkpoints/tiny_sd15"),
                       ("checkpoints/sd_xl_base_1.0", "checkpoints/tiny_sdxl"),
                       ("controlnet/instantid-controlnet", "controlnet/tiny_sdxl_controlnet")):  # fmt: skip
        shutil.copy(models / f"{tiny}.safetensors", path(f"models/{name}.safetensors"))
    for name in ("insightface/models/buffalo_l/w600k_r50", "insightface/models/antelopev2/glintr100",
                 "face_encoders/arcface"):  # fmt: skip
        shutil.copy(onnx_files.file("r50", width=4), path(f"models/{name}.onnx"))
    save_file(siglip("siglip-b256"), path("models/clip_vision/siglip-base-patch16-256-i18n.safetensors"))
    save_file(_autoencoder(), path("models/vae/vae-ft-mse-840000-ema-pruned.safetensors"))
    for number, name in enumerate(("age", "smile")):
        direction = np.random.default_rng(number).normal(size=(18, CODE))
        np.save(path(f"models/likeness_directions/{name}.npy"), direction)
    group = photographs.picture("t1")
    for name in ("group.jpg", "pose.jpg"):
        group.resize((640, 443)).save(path(f"input/{name}"))
    for seen in photographs.people()["t1"]["faces"]:
        if seen["person"] in FACES:
            left, top, right, bottom = seen["box"]
            margin = (right - left) // 2
            cut = group.crop((left - margin, top - margin, right + margin, bottom + margin))
            cut.resize((224, 256), Image.Resampling.BICUBIC).save(path(f"input/{FACES[seen['person']]}"))
    return written


def _autoencoder():
    """SD1.5's autoencoder in TAESD's layout, as the tiny checkpoint has it."""
    from comfy.taesd.taesd import TAESD
    from tiny.weights import fill

    return fill(TAESD(latent_channels=4), 2, gain=0.7).state_dict()


class _Features(torch.nn.Module):
    """Chips [N,3,S,S] -> [N,dim], anything that depends on them."""

    def __init__(self, dim):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(192, dim)

    def forward(self, chips):
        return self.layer(torch.nn.functional.adaptive_avg_pool2d(chips, 8).flatten(1))


def _encoder(dim, space):
    """A face encoder whose vectors have `dim` numbers, and are said to be of a space."""
    module = load_module("embedded", "auto")
    described = FaceEncoder(
        module.detector, _Features(dim), space, dim, arcface(112),
        module.points68,
    )  # fmt: skip
    patcher = managed(described.eval().requires_grad_(False))
    return encoder.LoadedEncoder(space, patcher, 0.5, "auto")


def _arc2face_text_encoder():
    import comfy.sd
    from transformers import CLIPTextConfig, CLIPTextModel

    sizes = {"hidden_size": TEXT_WIDTH, "intermediate_size": 64, "num_attention_heads": 9, "num_hidden_layers": 2}
    torch.manual_seed(3)
    state = {
        key if key.startswith("text_model.") else f"text_model.{key}": value.detach()
        for key, value in CLIPTextModel(CLIPTextConfig(**sizes, eos_token_id=49407)).state_dict().items()
    }
    options = {"model_config": sizes, "dtype": torch.float32}
    return comfy.sd.load_text_encoder_state_dicts([state], model_options=options)


def _arc2face_unet():
    from comfy.model_patcher import ModelPatcher
    from tiny.likeness_tiny_models.configs import model_config
    from tiny.weights import fill, make_denoiser

    config = model_config("sd15", torch.float32)
    config.unet_config["context_dim"] = TEXT_WIDTH
    model = fill(config.get_model({}, device=torch.device("cpu")), 0)
    make_denoiser(model.diffusion_model)
    return ModelPatcher(model, load_device=torch.device("cpu"), offload_device=torch.device("cpu"))


def loaders(folder: Path) -> dict:
    """(class, file) of every loader for whose file there is no small one -> what it would hand out, made when called.

    ComfyUI knows CLIP models and text widths by their published sizes only; CurricularFace has one size, and e4e's code
    for which there are directions makes it large.
    """
    from tiny.vision import clip_vision

    return {
        ("CLIPVisionLoader", "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"): lambda: clip_vision(folder, pixels=224),
        ("CLIPVisionLoader", "clip-vit-large-patch14.safetensors"): lambda: clip_vision(folder, "clip-l"),
        ("CLIPLoader", "arc2face_encoder.bin"): _arc2face_text_encoder,
        ("CheckpointLoaderSimple", "flux1-dev-fp8.safetensors"): lambda: (
            flux.flux(),
            flux_text.clip(),
            flux_cases.vae(),
        ),
        ("ControlNetLoader", "infusenet_aes_bf16.safetensors"): lambda: infiniteyou.loaded(infiniteyou.infusenet()),
        ("LoadFaceEncoder", "face_encoders/recognition_arcface_ir_se50.pth"): lambda: _encoder(
            infiniteyou.FACE_DIM, "arcface-ir-se50"
        ),
        ("UNETLoader", "arc2face.safetensors"): _arc2face_unet,
        ("LoadFaceEncoder", "face_encoders/e4e_ffhq_encode.pt"): lambda: _encoder(18 * CODE, "e4e-tiny:0"),
        ("LoadFaceEncoder", "face_encoders/glint360k_curricular_face_r101_backbone.bin"): lambda: _encoder(
            FACE_DIM, SPACE
        ),
    }
