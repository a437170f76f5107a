"""Facelets: the small generators of drawn portraits that ship with the pack."""

from comfy_api.latest import io

from ..core.host.facelets import load as facelets
from .compat import checked, offered, schema
from .sockets import Adapter, FaceEncoder


class LoadFacelets(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="LoadFacelets",
            display_name="Load Facelets",
            description="Everything for a first picture, with nothing to download: a tiny generator of drawn portraits "
            "(128 x 128 pixels), its identity adapter, its landmark ControlNet and its face encoder. For trying out "
            "graphs; swap it for your checkpoint's loaders when you mean it.",
            search_aliases=["tiny model", "demo model", "drawn portraits", "test checkpoint"],
            inputs=[
                io.Combo.Input(
                    "architecture",
                    options=[*facelets.ARCHITECTURES],
                    default=facelets.UNET,
                    optional=True,  # graphs that were saved before there was a choice
                    tooltip="unet: like SDXL with InstantID; it draws better. flux: like FLUX.1 dev with PuLID; its "
                    "faces are rough. For flux set the sampler to euler_ancestral, normal, 40 steps, CFG 1.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    "MODEL", display_name="model", tooltip="For ApplyIDAdapter and the sampler. 128 x 128 pixels."
                ),
                io.Clip.Output("CLIP", display_name="clip", tooltip="For CLIPTextEncode. It knows a few dozen words."),
                io.Vae.Output("VAE", display_name="vae", tooltip="For VAEDecode and VAEEncode."),
                io.ControlNet.Output(
                    "CONTROL_NET", display_name="control_net", tooltip="For LandmarkControl; follows five landmarks."
                ),
                Adapter.Output(
                    "ADAPTER", display_name="adapter", tooltip="For ApplyIDAdapter. It takes faces from face_encoder."
                ),
                FaceEncoder.Output(
                    "FACE_ENCODER",
                    display_name="face_encoder",
                    tooltip="Finds and compares drawn faces of this kind. Not for photographs.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, architecture=facelets.UNET):
        return offered(cls, architecture=architecture)

    @classmethod
    @checked
    def execute(cls, architecture=facelets.UNET):
        return io.NodeOutput(*facelets.load_facelets(architecture=architecture))
