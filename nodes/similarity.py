"""Scoring how alike a picture is to a person, and sorting a batch by it."""

from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker

from ..core.host.who import similarity
from .compat import advanced, checked, offered, schema
from .sockets import Identity, face_encoder_input, on_no_face_input


class IDSimilarity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="IDSimilarity",
            display_name="ID Similarity",
            description="Scores every picture of a batch against a person and sorts it: accepted, rejected, the best "
            "one. The node shows them from the most alike to the least.",
            search_aliases=["likeness gate", "face similarity", "face distance", "face compare"],
            is_output_node=True,
            inputs=[
                face_encoder_input(),
                io.Image.Input(
                    "image", tooltip="The pictures to judge, one or a batch; the most alike face of each counts."
                ),
                Identity.Input("identity", optional=True, tooltip="Who it should be. Or connect reference."),
                io.Image.Input(
                    "reference", optional=True, tooltip="Photographs of who it should be, in place of identity."
                ),
                io.Float.Input(
                    "threshold",
                    default=0.0,
                    min=-1.0,
                    max=1.0,
                    step=0.001,
                    tooltip="Lowest score (cosine) that is accepted. 0.94 is a good start with the embedded encoder, "
                    "0.4 with ArcFace; the report has percent too.",
                ),
                on_no_face_input("the picture goes to neither heap.", "the picture is accepted unjudged."),
                advanced(
                    io.Boolean.Input,
                    "centralise",
                    default=False,
                    optional=True,
                    tooltip="Moves each face towards those of the batch that are most like it before it is judged, "
                    "which steadies the scores of six or more pictures of one person. The scores then depend on the "
                    "whole batch; leave it off for scores that you compare with others.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "ACCEPTED",
                    display_name="accepted",
                    tooltip="Pictures at or over the threshold. With none, nodes behind it don't run.",
                ),
                io.Image.Output(
                    "REJECTED",
                    display_name="rejected",
                    tooltip="Pictures under the threshold. With none, nodes behind it don't run.",
                ),
                io.Float.Output(
                    "SCORES",
                    display_name="scores",
                    is_output_list=True,
                    tooltip="The score of each picture that has a face, in order.",
                ),
                io.Image.Output("BEST", display_name="best", tooltip="The picture with the highest score."),
                io.String.Output(
                    "REPORT",
                    display_name="report",
                    tooltip="Score, percent and verdict of every picture, as JSON.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(cls, face_encoder, image, threshold, on_no_face, identity=None, reference=None, centralise=False):
        result = similarity.compare(face_encoder, image, identity, reference, threshold, on_no_face, centralise)
        heaps = (p if len(p) else ExecutionBlocker(None) for p in (result.accepted, result.rejected, result.best))
        accepted, rejected, best = heaps
        pictures = [saved for shown in result.preview for saved in ui.PreviewImage(shown, cls=cls).values]
        return io.NodeOutput(
            accepted,
            rejected,
            result.scores,
            best,
            result.report,
            ui={"images": pictures, "scores": result.scores, "report": [result.report]},
        )

    @classmethod
    def validate_inputs(cls, on_no_face):
        return offered(cls, on_no_face=on_no_face)
