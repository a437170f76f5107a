"""Prompts that carry the face themselves: PhotoMaker's and ConsistentID's, and Arc2Face's."""

from comfy_api.latest import io

from ..core.host.faces import parser
from ..core.host.prompts import arc2face, id_prompt
from ..core.host.who.person import Sources
from .compat import checked, offered, schema
from .sockets import Adapter, FaceEncoder, Identity, on_no_face_input


def _person_inputs(image: str):
    return [
        Identity.Input(
            "identity",
            optional=True,
            tooltip="From EncodeIdentity or LoadIdentity. Or connect face_encoder and image.",
        ),
        FaceEncoder.Input("face_encoder", optional=True, tooltip="With image: finds and encodes the face right here."),
        io.Image.Input("image", optional=True, tooltip=image),
    ]


class IDTextEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="IDTextEncode",
            display_name="ID Text Encode",
            description="Encodes the positive prompt with a face in it, for PhotoMaker and ConsistentID. Connect the "
            "same adapter to ApplyIDAdapter as well.",
            search_aliases=["photomaker encode", "consistentid", "clip text encode face"],
            inputs=[
                io.Clip.Input("clip", tooltip="The CLIP of your model: SDXL for PhotoMaker."),
                Adapter.Input("adapter", tooltip="From LoadIDAdapter: PhotoMaker or ConsistentID."),
                io.String.Input(
                    "prompt",
                    default="photo of a woman img",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="Your positive prompt. For PhotoMaker with the trigger right behind the word for the "
                    "person: photo of a woman img, smiling.",
                ),
                *_person_inputs("One or several photographs of the person. PhotoMaker looks at each, ConsistentID at "
                                "the parts of the first."),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="For ConsistentID: CLIP-ViT-H-14 from Load CLIP Vision. PhotoMaker has its own.",
                ),
                io.String.Input(
                    "trigger",
                    default="img",
                    multiline=False,
                    tooltip="PhotoMaker: the word that marks the person. It is taken out of the prompt.",
                ),
                io.Float.Input(
                    "start_merge_at",
                    default=0.2,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="From which part of the denoising on the face is in the prompt; before that it is the "
                    "plain one, which keeps style and composition. 0.2 for PhotoMaker, 0.6 for ConsistentID; 0: "
                    "always; 1: never.",
                ),
                on_no_face_input(
                    "leave that photograph out; at least one must have a face.",
                    "encode the plain prompt if none has a face.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    "CONDITIONING", display_name="conditioning", tooltip="To positive of ApplyIDAdapter."
                )
            ],
        )  # fmt: skip

    @classmethod
    @checked
    def execute(
        cls,
        clip,
        adapter,
        prompt,
        trigger,
        start_merge_at,
        on_no_face,
        identity=None,
        face_encoder=None,
        image=None,
        clip_vision=None,
    ):
        sources = Sources(identity, face_encoder, image, clip_vision, on_no_face=on_no_face)
        return io.NodeOutput(id_prompt.encode_id_prompt(clip, adapter, prompt, sources, trigger, start_merge_at))

    @classmethod
    def validate_inputs(cls, on_no_face):
        return offered(cls, on_no_face=on_no_face)

    @classmethod
    def fingerprint_inputs(cls, **_):
        return parser.parser_fingerprint()


class Arc2FaceTextEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="Arc2FaceTextEncode",
            display_name="Arc2Face Text Encode",
            description="The prompt of an Arc2Face model, which is nothing but a face. Load its U-Net with Load "
            "Diffusion Model and its encoder with Load CLIP; for the negative, encode an empty prompt with that CLIP.",
            search_aliases=["id to face", "face foundation model", "face prompt"],
            inputs=[
                io.Clip.Input("clip", tooltip="Arc2Face's own text encoder (encoder/pytorch_model.bin)."),
                *_person_inputs("A photograph of the person, or a batch of them."),
                on_no_face_input(
                    "leave that photograph out; at least one must have a face.",
                    "encode the prompt without a face if none has one.",
                ),
            ],
            outputs=[
                io.Conditioning.Output("CONDITIONING", display_name="conditioning", tooltip="To the sampler; CFG 3.")
            ],
        )

    @classmethod
    @checked
    def execute(cls, clip, on_no_face, identity=None, face_encoder=None, image=None):
        return io.NodeOutput(
            arc2face.encode_face_prompt(clip, Sources(identity, face_encoder, image, on_no_face=on_no_face))
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, on_no_face):
        return offered(cls, on_no_face=on_no_face)
