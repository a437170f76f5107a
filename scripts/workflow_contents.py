"""What `ui_workflow` puts into the page's form of an example besides its graph: groups, and where files come from."""

# What the page shows for a missing file, by the file's name in the workflow: its address and its folder.
_HUB = "https://huggingface.co"
_CLIP_H = "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"
_EVA, _PARSER = "EVA02_CLIP_L_336_psz14_s6B.pt", "face_parsing.pth"
_SIGLIP = "siglip-base-patch16-256-i18n.safetensors"


def _hub(page, file, folder):
    return f"{_HUB}/{page}/resolve/main/{file}", folder


MODELS = {
    "sd_xl_base_1.0.safetensors": _hub(
        "stabilityai/stable-diffusion-xl-base-1.0", "sd_xl_base_1.0.safetensors", "checkpoints"
    ),
    "v1-5-pruned-emaonly-fp16.safetensors": _hub(
        "Comfy-Org/stable-diffusion-v1-5-archive", "v1-5-pruned-emaonly-fp16.safetensors", "checkpoints"
    ),
    "vae-ft-mse-840000-ema-pruned.safetensors": _hub(
        "stabilityai/sd-vae-ft-mse-original", "vae-ft-mse-840000-ema-pruned.safetensors", "vae"
    ),
    _CLIP_H: _hub("h94/IP-Adapter", "models/image_encoder/model.safetensors", "clip_vision"),
    "clip-vit-large-patch14.safetensors": _hub("openai/clip-vit-large-patch14", "model.safetensors", "clip_vision"),
    _EVA: _hub("QuanSun/EVA-CLIP", _EVA, "clip_vision"),
    _PARSER: _hub("JackAILab/ConsistentID", _PARSER, "face_parsing"),
    _SIGLIP: _hub("google/siglip-base-patch16-256-i18n", "model.safetensors", "clip_vision"),
    "flux1-dev-fp8.safetensors": _hub("Comfy-Org/flux1-dev", "flux1-dev-fp8.safetensors", "checkpoints"),
    "pulid/pulid_flux_v0.9.1.safetensors": _hub("guozinan/PuLID", "pulid_flux_v0.9.1.safetensors", "pulid"),
    "infinite_you/aes_stage2/image_proj_model.bin": _hub(
        "ByteDance/InfiniteYou", "infu_flux_v1.0/aes_stage2/image_proj_model.bin", "infinite_you/aes_stage2"
    ),
    "infusenet_aes_bf16.safetensors": _hub(
        "ByteDance/InfiniteYou", "infu_flux_v1.0/aes_stage2/infusenet_aes_bf16.safetensors", "controlnet"
    ),
    "likeness/withanyone.safetensors": _hub("WithAnyone/WithAnyone", "withanyone.safetensors", "likeness"),
    "instantid/ip-adapter.bin": _hub("InstantX/InstantID", "ip-adapter.bin", "instantid"),
    "instantid-controlnet.safetensors": _hub(
        "InstantX/InstantID", "ControlNetModel/diffusion_pytorch_model.safetensors", "controlnet"
    ),
    **{
        f"ipadapter/{file}": _hub("h94/IP-Adapter-FaceID", file, "ipadapter")
        for file in (
            "ip-adapter-faceid_sd15.bin",
            "ip-adapter-faceid_sdxl.bin",
            "ip-adapter-faceid-plusv2_sdxl.bin",
            "ip-adapter-faceid-portrait-v11_sd15.bin",
        )
    },
    "ipadapter/ip-adapter-plus-face_sd15.safetensors": _hub(
        "h94/IP-Adapter", "models/ip-adapter-plus-face_sd15.safetensors", "ipadapter"
    ),
    "pulid/pulid_v1.1.safetensors": _hub("guozinan/PuLID", "pulid_v1.1.safetensors", "pulid"),
    "photomaker/photomaker-v2.bin": _hub("TencentARC/PhotoMaker-V2", "photomaker-v2.bin", "photomaker"),
    "likeness/ConsistentID-v1.bin": _hub("JackAILab/ConsistentID", "ConsistentID-v1.bin", "likeness"),
    **{
        f"likeness/{file}": _hub("Junjie96/UniPortrait", file, "likeness")
        for file in ("uniportrait-faceid_sd15.bin", "uniportrait-router_sd15.bin")
    },
    "face_encoders/glint360k_curricular_face_r101_backbone.bin": _hub(
        "Junjie96/UniPortrait", "glint360k_curricular_face_r101_backbone.bin", "face_encoders"
    ),
    "arc2face.safetensors": _hub(
        "FoivosPar/Arc2Face", "arc2face/diffusion_pytorch_model.safetensors", "diffusion_models"
    ),
    "arc2face_encoder.bin": _hub("FoivosPar/Arc2Face", "encoder/pytorch_model.bin", "text_encoders"),
    "face_encoders/arcface.onnx": _hub("FoivosPar/Arc2Face", "arcface.onnx", "face_encoders"),
}
# Files that no widget names, because the pack looks for them itself.
FOUND_BY_ITSELF = {
    "pulid_sdxl": (_EVA,),
    "pulid_flux": (_EVA,),
    "consistentid": (_PARSER,),
    "withanyone_two_people": (_SIGLIP,),
}

# The groups of each workflow from left to right; those of one column stand below each other. A node goes by its title
# or its class.
_MODEL = ("CheckpointLoaderSimple", "CLIPTextEncode", "EmptyLatentImage")
_FLUX = ("CheckpointLoaderSimple", "CLIPTextEncode", "FluxGuidance", "ConditioningZeroOut", "EmptySD3LatentImage")
_PERSON = ("LoadImage", "LoadFaceEncoder", "DetectFaces", "EncodeIdentity", "LoadIDAdapter", "ApplyIDAdapter")
_POSE = ("ControlNetLoader", "LandmarkControl", "PreviewImage")
_PICTURE = ("KSampler", "VAEDecode", "SaveImage", "IDSimilarity")
_FACELETS = ("LoadFacelets", "CLIPTextEncode", "EmptyLatentImage")
_SOMEBODY = ("Draw somebody", "Decode somebody", *_PERSON)
_TWO_DRAWN = (
    *("Draw the first person", "Decode the first person", "Identity of the first", "The first person"),
    *("Draw the second person", "Decode the second person", "Identity of the second", "The second person"),
)
_POSED = ("LandmarkControl", "Control image")
_ARC2FACE = {"Model and size": ("UNETLoader", "CLIPLoader", "VAELoader", "CLIPTextEncode", "EmptyLatentImage")}


def _plain(*more):
    """Model and person below each other, the picture beside them; `more`: further classes of the person's."""
    return (
        {"Model, prompt and size": _MODEL, "The person": (*_PERSON, *more)},
        {"The picture": _PICTURE},
    )


GROUPS = {
    "instantid_basic": (
        {"Model, prompt and size": _MODEL, "The person": _PERSON},
        {"The pose": _POSE},
        {"The picture": _PICTURE},
    ),
    "faceid_sd15": _plain(),
    "faceid_plusv2_sdxl": _plain("CLIPVisionLoader"),
    "faceid_portrait": _plain("ImageStitch"),
    "plus_face": _plain("CLIPVisionLoader"),
    "pulid_sdxl": _plain(),
    "pulid_flux": (
        {"Model, prompt and size": _FLUX, "The person": _PERSON},
        {"The picture": _PICTURE},
    ),
    "infiniteyou": (
        {"Model, prompt and size": _FLUX, "The person": ("Photograph of the person", *_PERSON[1:])},
        {"The pose": ("Pose: any picture of a face", *_POSE)},
        {"The picture": _PICTURE},
    ),
    "withanyone_two_people": (
        {
            "Model, prompt and size": _FLUX,
            "The places": ("Photograph of two people: their places", "LoadFaceEncoder", "ImageScale", "AssignFaces"),
        },
        {"The people": ("Person on the left", "Person on the right", "LoadIDAdapter", "ApplyIDAdapter")},
        {"The picture": _PICTURE},
    ),
    "photomaker": _plain("IDTextEncode"),
    "arc2face": (
        {**_ARC2FACE, "The person": (*_PERSON, "Arc2FaceTextEncode")},
        {"The picture": _PICTURE},
    ),
    "arc2face_new_people": (
        {**_ARC2FACE, "The people": (*_PERSON, "SampleIdentity", "Arc2FaceTextEncode")},
        {"The pictures": _PICTURE},
    ),
    "consistentid": _plain("CLIPVisionLoader", "IDTextEncode"),
    "wplus_edit": _plain("EditIdentity"),
    "masterweaver": _plain("CLIPVisionLoader"),
    "facechain_fact": _plain(),
    "uniportrait_two_people": (
        {"Model, prompt and size": _MODEL, "The people": (*_PERSON, "CLIPVisionLoader")},
        {"The picture": _PICTURE},
    ),
    "two_people_masks": (
        {
            "Model, prompt and size": _MODEL,
            "The places": ("Photograph of two people: their places", "LoadFaceEncoder", "ImageScale", "AssignFaces"),
        },
        {"The people": ("Person on the left", "Person on the right", "LoadIDAdapter", "ApplyIDAdapter")},
        {"The pose": _POSE, "The picture": _PICTURE},
    ),
    "infinite_id_mixed": _plain(),
    "facelets_portrait": (
        {"Model, prompts and size": _FACELETS},
        {"The person": _SOMEBODY},
        {"The pose": _POSE},
        {"The picture": ("Draw the same person", "Decode", "SaveImage", "IDSimilarity")},
    ),
    "facelets_cure": (
        {"Model, prompts and size": (*_FACELETS, "PrimitiveStringMultiline")},
        {"The person": _SOMEBODY},
        {"The pose": _POSED, "The cure": ("AttributeCure",)},
        {
            "The picture": (
                *("Draw with the cure", "Decode with the cure", "Save with the cure", "How alike with the cure"),
                *("CureMask", "Mask over the picture"),
            ),
            "The picture without the cure": (
                *("Draw without the cure", "Decode without the cure"),
                *("Save without the cure", "How alike without the cure"),
            ),
        },
    ),
    "facelets_pose": (
        {"Model, prompts and size": _FACELETS},
        {"The person": _SOMEBODY},
        {"The pose": ("Draw somebody else", "Decode somebody else", "The pose picture", *_POSED)},
        {"The picture": ("Draw the person in that pose", "Decode", "SaveImage", "IDSimilarity")},
    ),
    "facelets_two_people": (
        {"Model, prompts and sizes": _FACELETS},
        {"The people": (*_TWO_DRAWN, "ApplyIDAdapter")},
        {"The places": ("Draw two strangers", "Decode two strangers", "AssignFaces"), "The pose": _POSED},
        {"The picture": ("Draw both", "Decode", "SaveImage", "IDSimilarity")},
    ),
    "facelets_cure_all": (
        {"Model, prompts and size": (*_FACELETS, "PrimitiveStringMultiline")},
        {"The person": _SOMEBODY},
        {"The pose": _POSED, "The cure": ("AttributeCure",)},
        {
            "Before": ("Draw without the cure", "Decode without the cure", "How alike without the cure"),
            "After": (
                *("Draw with the cure", "Decode with the cure", "How alike with the cure"),
                *("CureMask", "Mask over the picture"),
            ),
        },
        {"The picture": ("ImageStitch", "SaveImage")},
    ),
    "facelets_best_of": (
        {"Model, prompts and sizes": _FACELETS},
        {"The person": _SOMEBODY},
        {"The pictures": ("Draw all of them", "Decode", "IDSimilarity")},
        {"The heaps": ("SaveImage", "PreviewImage")},
    ),
    "facelets_five_photographs": (
        {"Model, prompts and size": _FACELETS},
        {
            "Somebody, drawn five times": (
                *("Draw somebody", "Decode somebody", "Who it is", "The same person, five times"),
                *("VAEEncode", "RepeatLatentBatch", "Draw five photographs", "Decode the five", "The five photographs"),
            ),
            "The pose": ("LandmarkControl",),
        },
        {"The person": ("Identity of all five", "How alike each of the five", "SaveIdentity", "Apply the identity")},
        {"The picture": ("Draw the person", "Decode", "SaveImage", "How alike")},
    ),
    "facelets_saved_identity": (
        {"Model, prompt and size": _FACELETS},
        {"The person": ("LoadIdentity", "ApplyIDAdapter")},
        {"The picture": _PICTURE},
    ),
    "facelets_detailer": (
        {"Model, prompts and sizes": _FACELETS},
        {"The people": (*_TWO_DRAWN, "ApplyIDAdapter")},
        {
            "The larger picture": ("Draw four strangers", "Decode four strangers", "ImageScaleBy"),
            "The faces": (
                *("VAEEncode", "LatentCrop", "Decode the cut-out", "AssignFaces", "MaskComposite"),
                "SetLatentNoiseMask",
            ),
        },
        {"The pose": _POSED},
        {
            "The picture": (
                *("Redraw", "Decode", "ImageCompositeMasked", "SaveImage", "ImageStitch", "Before and after"),
                "IDSimilarity",
            )
        },
    ),
}
