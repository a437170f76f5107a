"""Which face is whose."""

from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker

from ..core.faces.identity.assign import BY, PEOPLE
from ..core.host.faces import parser, people
from .compat import checked, offered, schema
from .sockets import Faces, Identity, face_encoder_input, given_inputs, mask_inputs, on_no_face_input


class AssignFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="AssignFaces",
            display_name="Assign Faces",
            description="Says which face of a picture is which person, with a mask for each: by likeness to "
            "identities, or by where the faces are.",
            search_aliases=["face swap order", "multiple people", "face mask per person", "face matching"],
            is_output_node=True,
            inputs=[
                face_encoder_input(),
                io.Image.Input("image", tooltip="One picture or a batch; each is looked at by itself."),
                io.Combo.Input(
                    "by",
                    options=list(BY),
                    default=BY[0],
                    tooltip="similarity: each identity has the face that is most like it, one face each. left to "
                    "right, largest: person 1 is the first face, person 2 the second; identities are not asked.",
                ),
                *(
                    Identity.Input(
                        f"identity_{number}",
                        optional=True,
                        tooltip=f"Person {number}, where by is similarity: from EncodeIdentity or LoadIdentity.",
                    )
                    for number in range(1, PEOPLE + 1)
                ),
                io.Float.Input(
                    "min_similarity",
                    default=0.0,
                    min=-1.0,
                    max=1.0,
                    step=0.001,
                    tooltip="A face that is less like the person (cosine) is nobody's. 0 takes whoever is nearest; "
                    "0.94 is an even chance with the embedded encoder.",
                ),
                on_no_face_input("leave that picture out.", "keep it, with empty masks."),
                *mask_inputs("each person's face"),
                *given_inputs(),
            ],
            outputs=[
                Faces.Output("FACES", display_name="faces", tooltip="The faces in the order of the people."),
                *(
                    io.Mask.Output(
                        f"MASK_{number}",
                        display_name=f"mask_{number}",
                        tooltip=f"Where person {number}'s face is, one mask per picture, black where they are not. "
                        "For attn_mask of ApplyIDAdapter.",
                    )
                    for number in range(1, PEOPLE + 1)
                ),
                io.String.Output(
                    "REPORT",
                    display_name="report",
                    tooltip="Who is where and how alike, as JSON. missing names who is in no picture.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        face_encoder,
        image,
        by,
        min_similarity,
        on_no_face,
        identity_1=None,
        identity_2=None,
        identity_3=None,
        identity_4=None,
        mask_from="box",
        soft_edge=0.0,
        face_landmarks=None,
        bounding_boxes=None,
    ):
        given = enumerate((identity_1, identity_2, identity_3, identity_4), 1)
        identities = {number: person for number, person in given if person is not None}
        result = people.assign_faces(
            face_encoder,
            image,
            by,
            identities,
            min_similarity,
            on_no_face,
            mask_from,
            soft_edge,
            face_landmarks,
            bounding_boxes,
        )
        masks = [mask if len(mask) else ExecutionBlocker(None) for mask in result.masks]
        shown = {**ui.PreviewImage(result.preview, cls=cls).as_dict(), "report": [result.report]}
        return io.NodeOutput(result.faces, *masks, result.report, ui=shown)

    @classmethod
    def validate_inputs(cls, by, on_no_face, mask_from="box"):
        return offered(cls, by=by, on_no_face=on_no_face, mask_from=mask_from)

    @classmethod
    def fingerprint_inputs(cls, mask_from="box", **_):
        return parser.parser_fingerprint() if mask_from in ("parser", None) else mask_from  # None comes over a wire
