"""Identities: made from photographs, saved and loaded."""

from comfy_api.latest import io, ui

from ..core.faces.identity.identity import COMBINE
from ..core.faces.identity.sample_identity import sample_identities
from ..core.host.faces.detection import find_faces
from ..core.host.faces.shown import faces_to_show
from ..core.host.who import identity as identities
from .compat import checked, offered, schema
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
            has_intermediate_output=True,
            inputs=[
                face_encoder_input(),
                io.Image.Input("image", tooltip="A photograph, or a batch of photographs of the same person."),
                io.Combo.Input(
                    "combine",
                    options=list(COMBINE),
                    default="mean",
                    tooltip="How several photographs become one identity. mean: their average. robust: the average "
                    "without those that show somebody else. first: the first alone. quality: large, sharp, well lit, "
                    "frontal faces count more. centralised: for six or more; each face moves towards those most like "
                    "it first.",
                ),
                face_index_input("is the person"),
                on_no_face_input(
                    "leave that photograph out; at least one must have a face.",
                    "go on without an identity if none has a face.",
                ),
            ],
            outputs=[
                Identity.Output(
                    "IDENTITY",
                    display_name="identity",
                    tooltip="The person, for ApplyIDAdapter, IDSimilarity, AssignFaces or SaveIdentity.",
                ),
                io.String.Output(
                    "REPORT",
                    display_name="report",
                    tooltip="What was found in each photograph, how good it is, how well they agree, and which "
                    "looks like somebody else.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(cls, face_encoder, image, combine, face_index, on_no_face):
        found = find_faces(face_encoder, image, face_index)
        identity, report = identities.encode_identity(face_encoder, image, combine, face_index, on_no_face, found=found)
        return io.NodeOutput(identity, report, ui={"likeness_faces": faces_to_show(image, found)})

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
            search_aliases=["save face embeds", "save face model", "export identity"],
            is_output_node=True,
            inputs=[
                Identity.Input("identity", tooltip="From EncodeIdentity or ApplyIDAdapter."),
                io.String.Input(
                    "filename_prefix",
                    default="identities/person",
                    tooltip="Name of the file; a / makes a folder. A number is added, so nothing is overwritten.",
                ),
            ],
            outputs=[Identity.Output("IDENTITY", display_name="identity", tooltip="The same identity, to go on with.")],
        )

    @classmethod
    @checked
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
            search_aliases=["load face embeds", "load face model", "import identity"],
            inputs=[
                io.Combo.Input(
                    "identity_file",
                    options=identities.files(),
                    tooltip="Identity files in the input and output folders. Press R in ComfyUI to see a new one.",
                )
            ],
            outputs=[
                Identity.Output(
                    "IDENTITY",
                    display_name="identity",
                    tooltip="The saved person, as it was; for adapters and scores of the encoder that made it.",
                )
            ],
        )

    @classmethod
    @checked
    def execute(cls, identity_file):
        return io.NodeOutput(identities.load_identity_named(identity_file))

    @classmethod
    def validate_inputs(cls, identity_file):
        # None comes over a wire and is known later
        return identity_file is None or identities.why_not_loadable(identity_file) or True

    @classmethod
    def fingerprint_inputs(cls, identity_file):
        return identity_file and identities.identity_fingerprint(identity_file)


class SampleIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="SampleIdentity",
            display_name="Sample Identity",
            description="Makes up new people who look like nobody in particular: sampled from a set of identities, and "
            "kept only if they resemble neither the set nor each other.",
            search_aliases=["random face", "new identity", "synthetic identity"],
            is_input_list=True,
            inputs=[
                Identity.Input(
                    "identities",
                    tooltip="The set: a list of identities, or one made of photographs of many people. Three faces at "
                    "least; the more and the more different, the more people there are in it.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Another number, other people. The same number and set give the same people.",
                ),
                io.Float.Input(
                    "max_similarity",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How alike (cosine) a new person may be to any of the set and to any other new one. 0: "
                    "what tells people apart for the encoder, or 0.4 where that is not known.",
                ),
                io.Int.Input(
                    "count",
                    default=1,
                    min=1,
                    max=1024,
                    tooltip="How many new people. What is connected behind runs once for each.",
                ),
            ],
            outputs=[
                Identity.Output(
                    "IDENTITY",
                    display_name="identity",
                    is_output_list=True,
                    tooltip="The new people, for ApplyIDAdapter, IDSimilarity or SaveIdentity.",
                )
            ],
        )

    @classmethod
    @checked
    def execute(cls, identities, seed, max_similarity, count):
        return io.NodeOutput(sample_identities(identities, seed[0], max_similarity[0], count[0]))
