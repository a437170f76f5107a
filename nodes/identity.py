"""Identities: made from photographs, saved and loaded."""

from comfy_api.latest import io, ui

from ..core.faces.identity import COMBINE
from ..core.host import identity as identities
from .compat import offered, schema
from .sockets import Identity, face_encoder_input, face_index_input, on_no_face_input


class EncodeIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="EncodeIdentity",
            display_name="Encode Identity",
            description="Turns one or several photographs of a person into an identity for ApplyIDAdapter and "
            "IDSimilarity.",
            search_aliases=["face embeds", "face id", "faceid embed"],
            inputs=[
                face_encoder_input(),
                io.Image.Input("image", tooltip="A photograph, or a batch of photographs of the same person."),
                io.Combo.Input(
                    "combine",
                    options=list(COMBINE),
                    default="mean",
                    tooltip="How several photographs become one identity. mean: their average. robust: the average "
                    "without those that show somebody else; the report names them. first: the first photograph alone. "
                    "quality: large, sharp, well lit, frontal faces count more. centralised: the average after each "
                    "face moved towards those most like it; for six or more.",
                ),
                face_index_input("is the person"),
                on_no_face_input(
                    "leave that photograph out; at least one must have a face.",
                    "go on without an identity if none has a face.",
                ),
            ],
            outputs=[
                Identity.Output("IDENTITY", display_name="identity"),
                io.String.Output(
                    "REPORT",
                    display_name="report",
                    tooltip="What was found in each photograph, how good it is, how well they agree, and which "
                    "looks like somebody else.",
                ),
            ],
        )

    @classmethod
    def execute(cls, face_encoder, image, combine, face_index, on_no_face):
        return io.NodeOutput(*identities.encode(face_encoder, image, combine, face_index, on_no_face))

    @classmethod
    def validate_inputs(cls, combine, on_no_face):
        return offered(cls, combine=combine, on_no_face=on_no_face)


class SaveIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="SaveIdentity",
            display_name="Save Identity",
            description="Saves an identity as a small safetensors file in ComfyUI's output folder. It holds numbers, "
            "no photograph.",
            is_output_node=True,
            inputs=[
                Identity.Input("identity", tooltip="From EncodeIdentity or ApplyIDAdapter."),
                io.String.Input(
                    "filename_prefix", default="identities/person", tooltip="Name of the file; a / makes a folder."
                ),
            ],
            outputs=[Identity.Output("IDENTITY", display_name="identity", tooltip="The same identity, to go on with.")],
        )

    @classmethod
    def execute(cls, identity, filename_prefix):
        saved = identities.save(identity, filename_prefix)
        return io.NodeOutput(identity, ui={"identities": [saved], **ui.PreviewText(saved["filename"]).as_dict()})


class LoadIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="LoadIdentity",
            display_name="Load Identity",
            description="Loads an identity that SaveIdentity made, from ComfyUI's input or output folder.",
            inputs=[
                io.Combo.Input(
                    "identity_file",
                    options=identities.files(),
                    tooltip="Identity files in the input and output folders.",
                )
            ],
            outputs=[Identity.Output("IDENTITY", display_name="identity")],
        )

    @classmethod
    def execute(cls, identity_file):
        return io.NodeOutput(identities.load(identity_file))

    @classmethod
    def validate_inputs(cls, identity_file):
        # None comes over a wire and is known later
        return identity_file is None or identities.why_not_loadable(identity_file) or True

    @classmethod
    def fingerprint_inputs(cls, identity_file):
        return identity_file and identities.fingerprint(identity_file)
