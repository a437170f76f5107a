"""Face encoders, and finding faces."""

from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker

from ..core.faces.detect.search import MODES
from ..core.faces.given import as_boxes
from ..core.faces.order import ORDERS
from ..core.host.faces import detection, encoder_files, parser
from ..core.host.faces import encoder as encoders
from ..core.host.faces.shown import faces_to_show
from .compat import advanced, checked, offered, schema
from .sockets import BoundingBox, FaceEncoder, Faces, face_encoder_input, given_inputs, mask_inputs, on_no_face_input


class LoadFaceEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="LoadFaceEncoder",
            display_name="Load Face Encoder",
            description="Loads what finds faces and turns them into an identity. 'embedded' ships with the pack and "
            "needs no download.",
            search_aliases=["insightface", "face analysis", "face embedding", "face detector"],
            inputs=[
                io.Combo.Input(
                    "encoder",
                    options=encoder_files.encoder_names(),
                    default=encoder_files.EMBEDDED,
                    tooltip="embedded: MTCNN and the 128-number face descriptor of dlib's author, free for any use. "
                    "insightface/...: a pack in models/insightface/models. face_encoders/...: a file in "
                    "models/face_encoders.",
                ),
                io.Combo.Input(
                    "detector",
                    options=encoder_files.detector_names(),
                    default=encoder_files.AUTO,
                    tooltip="What finds the faces. auto: the one that belongs to the encoder, otherwise mtcnn, which "
                    "ships with the pack.",
                ),
                io.Float.Input(
                    "min_confidence",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Faces the detector is less sure of are ignored. Raise it when it sees faces where there "
                    "are none: "
                    "the embedded one never reports below 0.5, and 0.9 keeps the clear ones.",
                ),
                io.Combo.Input(
                    "search",
                    options=list(MODES),
                    default="auto",
                    optional=True,
                    tooltip="How pictures are looked through. auto: once, and again only where no face was found: with "
                    "a border for close-ups, enlarged, turned by 90, 180 and 270 degrees. thorough: every picture in "
                    "all these ways, several times slower. plain: once.",
                ),
                io.Int.Input(
                    "min_size",
                    default=0,
                    min=0,
                    max=16384,
                    optional=True,
                    tooltip="Faces whose box is smaller than this many pixels (longer side) are ignored. 0 ignores "
                    "none.",
                ),
            ],
            outputs=[
                FaceEncoder.Output(
                    "FACE_ENCODER",
                    display_name="face_encoder",
                    tooltip="For every node that asks for face_encoder. Use one for all of them: identities of "
                    "different encoders can't be compared.",
                )
            ],
        )

    @classmethod
    @checked
    def execute(cls, encoder, detector, min_confidence, search="auto", min_size=0):
        return io.NodeOutput(encoders.load_encoder(encoder, detector, min_confidence, search, min_size))

    @classmethod
    def validate_inputs(cls, encoder, detector, search="auto"):
        # None comes over a wire and is known later
        reasons = [
            encoder_files.why_not_found(name, kind)
            for name, kind in ((encoder, "encoder"), (detector, "detector"))
            if name is not None
        ]
        return next((reason for reason in reasons if reason), offered(cls, search=search))

    @classmethod
    def fingerprint_inputs(cls, encoder, detector, **others):
        return encoder_files.encoder_fingerprint(name for name in (encoder, detector) if name)


class DetectFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="DetectFaces",
            display_name="Detect Faces",
            description="Finds the faces in pictures: cut-outs, a mask, their number, and a preview with boxes and "
            "landmarks.",
            search_aliases=["face detection", "face bounding box", "face crop"],
            is_output_node=True,
            inputs=[
                face_encoder_input(),
                io.Image.Input(
                    "image", tooltip="One picture or a batch. Faces over 20 pixels wide are found, better from 40 on."
                ),
                io.Combo.Input(
                    "order",
                    options=list(ORDERS),
                    default=ORDERS[0],
                    tooltip="How the faces of a picture are numbered, from 0; the preview shows the numbers. largest "
                    "is right for portraits.",
                ),
                io.String.Input("index", default="all", tooltip="Which of them: all, or numbers from 0 such as 0,2."),
                on_no_face_input("leave that picture out.", "keep it, with an empty mask and no cut-outs."),
                *given_inputs(),
                *mask_inputs("the faces"),
                advanced(
                    io.Boolean.Input,
                    "details",
                    optional=True,
                    default=False,
                    tooltip="Adds to the report what is known about each face: how the head is turned, and with an "
                    "InsightFace pack gender, age and more landmarks.",
                ),
            ],
            outputs=[
                Faces.Output(
                    "FACES",
                    display_name="faces",
                    tooltip="Boxes, landmarks and confidence of the chosen faces, for nodes that take faces.",
                ),
                io.Image.Output("CROPS", display_name="crops", tooltip="A square cut-out of 256 pixels per face."),
                io.Mask.Output(
                    "MASK",
                    display_name="mask",
                    tooltip="One mask per picture, white where the faces are; see mask_from.",
                ),
                io.Int.Output(
                    "COUNT", display_name="count", tooltip="How many faces were chosen in all pictures together."
                ),
                io.String.Output(
                    "REPORT", display_name="report", tooltip="Boxes, landmarks and confidence of each face, as JSON."
                ),
                BoundingBox.Output(
                    "BOUNDING_BOXES",
                    display_name="bounding_boxes",
                    tooltip="The boxes of the chosen faces for nodes that take boxes, such as SAM3 Detect, SDPose and "
                    "Draw BBoxes; a list for each picture.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        face_encoder,
        image,
        order,
        index,
        on_no_face,
        face_landmarks=None,
        bounding_boxes=None,
        mask_from="box",
        soft_edge=0.0,
        details=False,
    ):
        found = detection.detect_faces(
            face_encoder,
            image,
            order,
            index,
            on_no_face,
            face_landmarks,
            bounding_boxes,
            mask_from,
            soft_edge,
            details,
        )
        crops = found.crops if len(found.crops) else ExecutionBlocker(None)
        mask = found.mask if len(found.mask) else ExecutionBlocker(None)
        shown = {
            **ui.PreviewImage(found.preview, cls=cls).as_dict(),
            "faces": found.description,
            "likeness_faces": faces_to_show(image, found.found),
        }
        boxes = as_boxes(found.faces)
        return io.NodeOutput(found.faces, crops, mask, found.faces.total, found.report, boxes, ui=shown)

    @classmethod
    def validate_inputs(cls, order, on_no_face, mask_from="box"):
        return offered(cls, order=order, on_no_face=on_no_face, mask_from=mask_from)

    @classmethod
    def fingerprint_inputs(cls, mask_from="box", **_):
        return parser.parser_fingerprint() if mask_from in ("parser", None) else mask_from  # None comes over a wire
