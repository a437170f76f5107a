"""Identity adapters: loading a checkpoint and applying it."""

from comfy_api.latest import io

from ..core.adapters import METHODS, WEIGHT_TYPES, Choices, Overrides
from ..core.host.adapters import adapter as adapters
from ..core.host.adapters import lora as loras
from ..core.host.comfyui import folders
from ..core.host.conditioning.prompt import MissingPrompt
from ..core.host.faces import parser
from ..core.host.who import vision_files
from ..core.host.who.person import COMBINE_EMBEDS, COMPATIBILITY, Sources
from .compat import advanced, checked, offered, schema
from .sockets import Adapter, FaceEncoder, Identity, on_no_face_input, range_inputs

_NO_ROUTER = "none"


class LoadIDAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="LoadIDAdapter",
            display_name="Load ID Adapter",
            description="Loads an identity adapter such as InstantID's ip-adapter. What it is, is read from the file, "
            "not from its name.",
            search_aliases=["instantid model", "ipadapter model"],
            inputs=[
                io.Combo.Input(
                    "adapter",
                    options=folders.adapter_files(),
                    tooltip="Files in models/instantid, ipadapter, pulid, photomaker, likeness, infinite_you, "
                    "ipadapter-flux and xlabs/ipadapters (.safetensors, .bin, .pt, .pth or .ckpt).",
                ),
                advanced(
                    io.Combo.Input,
                    "lora",
                    options=loras.lora_names(),
                    default=loras.IN_THE_FILE,
                    optional=True,
                    tooltip="The LoRA that belongs to the adapter. FaceID and PhotoMaker files hold theirs; choose a "
                    "file from models/loras only for one that has lost it.",
                ),
                advanced(
                    io.Combo.Input,
                    "faceid_plus",
                    options=list(Overrides.words()["faceid_plus"]),
                    default="auto",
                    optional=True,
                    tooltip="FaceID Plus files of version 1 and 2 look alike from inside. auto: v2 if the file's name "
                    "says plusv2.",
                ),
                advanced(
                    io.Combo.Input,
                    "faces_512",
                    options=list(Overrides.words()["faces_512"]),
                    default="auto",
                    optional=True,
                    tooltip="InstantID and FaceID Portrait (un-normalised) files look alike from inside. auto: "
                    "portrait if the file's name says so.",
                ),
                advanced(
                    io.Combo.Input,
                    "router",
                    options=[_NO_ROUTER, *folders.adapter_files()],
                    default=_NO_ROUTER,
                    optional=True,
                    tooltip="UniPortrait: uniportrait-router_sd15.bin, which finds out where each of several people "
                    "stands, without masks. Chain one ApplyIDAdapter per person.",
                ),
            ],
            outputs=[
                Adapter.Output(
                    "ADAPTER",
                    display_name="adapter",
                    tooltip="For ApplyIDAdapter, and for IDTextEncode where the face goes into the prompt.",
                ),
                io.String.Output(
                    "ABOUT",
                    display_name="about",
                    tooltip="What the file is, what model it fits and which faces it takes.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(cls, adapter, lora=loras.IN_THE_FILE, faceid_plus="auto", faces_512="auto", router=_NO_ROUTER):
        chosen = None if router == _NO_ROUTER else router
        loaded = adapters.load_adapter_named(adapter, Overrides(faceid_plus, faces_512), lora, chosen)
        return io.NodeOutput(loaded, loaded.about)

    @classmethod
    def validate_inputs(cls, adapter, lora=None, faceid_plus=None, faces_512=None, router=None):
        # None comes over a wire and is known later
        files = [name for name in (adapter, None if router == _NO_ROUTER else router) if name is not None]
        reason = next(filter(None, map(folders.why_not_found, files)), None)
        if lora is not None:
            reason = reason or loras.why_no_lora(lora)
        return reason or offered(cls, faceid_plus=faceid_plus, faces_512=faces_512)

    @classmethod
    def fingerprint_inputs(cls, adapter, lora=loras.IN_THE_FILE, router=_NO_ROUTER, **_):
        files = [name for name in (adapter, router) if name not in (None, _NO_ROUTER)]
        own = [folders.file_fingerprint(folders.adapter_path(name)) for name in files]
        return own, lora and loras.lora_fingerprint(lora), vision_files.vision_fingerprint()


class ApplyIDAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="ApplyIDAdapter",
            display_name="Apply ID Adapter",
            description="Makes the model draw one person. Chain one node per person, each with a mask of where that "
            "person stands.",
            search_aliases=["instantid", "apply instantid", "faceid", "face identity"],
            inputs=[
                io.Model.Input("model", tooltip="An SD1.5, SDXL or FLUX.1 model, whichever the adapter is for."),
                io.Conditioning.Input(
                    "positive",
                    optional=True,
                    tooltip="Your prompt, which InstantID, InfiniteYou, PhotoMaker and ConsistentID need. It comes out "
                    "with the identity for LandmarkControl added.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="Your negative prompt; it too carries something for LandmarkControl, and ConsistentID "
                    "changes words of it.",
                ),
                Adapter.Input(
                    "adapter", tooltip="From LoadIDAdapter. It must be for this kind of model and this face encoder."
                ),
                Identity.Input(
                    "identity",
                    optional=True,
                    tooltip="From EncodeIdentity or LoadIdentity. Or connect face_encoder and image.",
                ),
                FaceEncoder.Input(
                    "face_encoder", optional=True, tooltip="With image: encodes the photograph right here."
                ),
                io.Image.Input("image", optional=True, tooltip="A photograph of the person, or a batch of them."),
                io.Mask.Input(
                    "attn_mask",
                    optional=True,
                    tooltip="White where this person may appear. A batch of masks for a batch of pictures.",
                ),
                io.Float.Input(
                    "weight",
                    default=0.8,
                    min=-1.0,
                    max=3.0,
                    step=0.01,
                    tooltip="How strongly the face is drawn. 0.8 is a good start; lower gives the prompt more say; 0 "
                    "changes nothing.",
                ),
                *range_inputs("the identity"),
                advanced(
                    io.Combo.Input,
                    "weight_type",
                    options=list(WEIGHT_TYPES),
                    default=WEIGHT_TYPES[0],
                    tooltip="How the weight is spread over the model's blocks. linear: the same everywhere. style "
                    "transfer, composition: only where the model makes one or the other. FLUX takes linear and those "
                    "with ease or reverse; InfiniteYou linear.",
                ),
                on_no_face_input(
                    "leave that photograph out; at least one must have a face.",
                    "leave the model as it is if none has a face.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="For adapters that look at the picture of the face too (FaceID Plus, IP-Adapter Plus "
                    "Face): from Load CLIP Vision. The adapter's about says which.",
                ),
                advanced(
                    io.Float.Input,
                    "lora_strength",
                    default=1.0,
                    min=-2.0,
                    max=2.0,
                    step=0.01,
                    optional=True,
                    tooltip="How strongly the LoRA inside the adapter's file works (FaceID, PhotoMaker). 1 is as "
                    "trained; 0.6 leaves more of the model's own style.",
                ),
                advanced(
                    io.Float.Input,
                    "structure",
                    default=1.0,
                    min=0.0,
                    max=5.0,
                    step=0.05,
                    optional=True,
                    tooltip="FaceID Plus v2 and UniPortrait: how much the picture of the face adds to its numbers. 1 "
                    "is as published, 2 keeps the face's shape harder, 0 leaves it to the prompt. WithAnyone: 1 draws "
                    "by the picture of the face alone, 0 by its numbers alone.",
                ),
                advanced(
                    io.Combo.Input,
                    "method",
                    options=list(METHODS),
                    default=METHODS[0],
                    optional=True,
                    tooltip="PuLID on SDXL: fidelity keeps the face, style leaves more to the prompt, plain adds the "
                    "identity as other adapters do.",
                ),
                advanced(
                    io.Combo.Input,
                    "combine_embeds",
                    options=list(COMBINE_EMBEDS),
                    default=COMBINE_EMBEDS[0],
                    optional=True,
                    tooltip="How several photographs become one person. auto: as the adapter was made. concat: each "
                    "gives tokens of its own. average, norm average, add, subtract: as in IPAdapter_plus.",
                ),
                advanced(
                    io.Combo.Input,
                    "compatibility",
                    options=list(COMPATIBILITY),
                    default=COMPATIBILITY[0],
                    optional=True,
                    tooltip="reference: as the adapters' authors compute it. popular packs: with the habits of "
                    "IPAdapter_plus and the InstantID pack, for pictures like those of old workflows.",
                ),
                advanced(
                    io.Float.Input,
                    "outside",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="With attn_mask: how much of the identity remains where the mask is black. 0 is none, 0.1 "
                    "to 0.2 keeps hair and neck of a piece with the face, 1 is as without a mask.",
                ),
                io.Boolean.Input(
                    "mixed_attention",
                    default=False,
                    optional=True,
                    tooltip="Lets the picture look at itself as the prompt alone would draw it, for more of the prompt "
                    "and a little less likeness (Infinite-ID). One more evaluation per step.",
                ),
                advanced(
                    io.Float.Input,
                    "style_strength",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="With mixed_attention: how far colours and style follow the picture without the person. 0 "
                    "for photographs, 1 for a strong style in the prompt.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    "MODEL", display_name="model", tooltip="The model that draws this person. To the sampler."
                ),
                io.Conditioning.Output(
                    "POSITIVE", display_name="positive", tooltip="Your prompt, to LandmarkControl or the sampler."
                ),
                io.Conditioning.Output(
                    "NEGATIVE", display_name="negative", tooltip="Your negative prompt, to the same node as positive."
                ),
                Identity.Output(
                    "IDENTITY",
                    display_name="identity",
                    tooltip="The identity that was used, for SaveIdentity or IDSimilarity.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model,
        adapter,
        weight,
        start_at,
        end_at,
        weight_type,
        on_no_face,
        positive=None,
        negative=None,
        identity=None,
        face_encoder=None,
        image=None,
        attn_mask=None,
        clip_vision=None,
        lora_strength=1.0,
        structure=1.0,
        method=METHODS[0],
        combine_embeds=COMBINE_EMBEDS[0],
        compatibility=COMPATIBILITY[0],
        outside=0.0,
        mixed_attention=False,
        style_strength=0.0,
    ):
        strength = adapters.Strength(weight, start_at, end_at, weight_type)
        sources = Sources(identity, face_encoder, image, clip_vision, combine_embeds, compatibility, on_no_face)
        settings = adapters.Settings(
            lora_strength, Choices(structure, method), outside, mixed_attention, style_strength
        )
        model, positive, negative, identity = adapters.apply_adapter(
            model, positive, negative, adapter, sources, strength, attn_mask, settings
        )
        return io.NodeOutput(model, _handed_on("positive", positive), _handed_on("negative", negative), identity)

    @classmethod
    def validate_inputs(cls, weight_type, on_no_face, method=None, combine_embeds=None, compatibility=None):
        return offered(
            cls,
            weight_type=weight_type,
            on_no_face=on_no_face,
            method=method,
            combine_embeds=combine_embeds,
            compatibility=compatibility,
        )

    @classmethod
    def fingerprint_inputs(cls, **_):
        return parser.parser_fingerprint()


def _handed_on(name, prompt):
    """A prompt, or what stops the node that is wired to an output without one."""
    if prompt is not None:
        return prompt
    return MissingPrompt(
        f"ApplyIDAdapter has no {name} to hand on; connect the prompt to its input {name}, or past this node."
    )
