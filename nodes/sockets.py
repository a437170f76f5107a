"""Our own socket types, and the inputs that several nodes share word for word."""

from comfy_api.latest import io

from ..core.faces.policy import ON_NO_FACE
from ..core.faces.regions.masks import MASKS
from .compat import advanced

FaceEncoder = io.Custom("LIKENESS_FACE_ENCODER")
Faces = io.Custom("LIKENESS_FACES")
Identity = io.Custom("LIKENESS_IDENTITY")
Adapter = io.Custom("LIKENESS_ADAPTER")
# ComfyUI's own, which older ones don't have: there nothing can be connected
FaceLandmarks = io.Custom("FACE_LANDMARKS")
BoundingBox = io.Custom("BOUNDING_BOX")


def face_encoder_input(**options):
    return FaceEncoder.Input(
        "face_encoder", tooltip="From LoadFaceEncoder: finds faces and turns them into numbers.", **options
    )


def on_no_face_input(skip: str, passthrough: str):
    """`skip` and `passthrough` say what these two do in the node at hand."""
    return io.Combo.Input(
        "on_no_face",
        options=list(ON_NO_FACE),
        default="error",
        tooltip=f"When a picture has no face. error: stop and say which picture. skip: {skip} passthrough: "
        f"{passthrough}",
    )


def face_index_input(what: str):
    return advanced(
        io.String.Input,
        "face_index",
        default="0",
        tooltip=f"Which face of each picture {what}, counted from the largest: 0 is the largest, 0,2 two of them, all "
        "every face.",
    )


def given_inputs():
    """face_landmarks and bounding_boxes: faces that ComfyUI's own nodes have found."""
    return [
        FaceLandmarks.Input(
            "face_landmarks",
            optional=True,
            tooltip="From MediaPipe Face Landmarker: these are the faces, and the picture is not searched.",
        ),
        BoundingBox.Input(
            "bounding_boxes",
            optional=True,
            # a socket, where ComfyUI would show four numbers
            extra_dict={"forceInput": True},
            tooltip="Boxes to look for faces in, such as those of an object detector: the rest of the picture is not "
            "searched. A box without a face is treated as on_no_face says.",
        ),
    ]


def mask_inputs(what: str):
    """mask_from and soft_edge: how masks of faces are made."""
    return [
        io.Combo.Input(
            "mask_from",
            options=list(MASKS),
            default=MASKS[0],
            optional=True,
            tooltip=f"What the mask shows of {what}. box: the detector's box. landmarks: the face's outline from 68 "
            "landmarks, with the forehead. parser: skin, brows, eyes, glasses, nose and mouth as a face parser in "
            "models/face_parsing sees them.",
        ),
        advanced(
            io.Float.Input,
            "soft_edge",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            optional=True,
            tooltip="How wide the mask's edge is, in widths of the face: 0 is hard, 0.2 is soft.",
        ),
    ]


def range_inputs(what: str):
    """start_at and end_at: the part of the denoising in which `what` works."""
    return [
        io.Float.Input(
            "start_at",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.001,
            tooltip=f"When {what} sets in: 0 is the first step. 0.1 to 0.3 leaves the composition to the prompt.",
        ),
        io.Float.Input(
            "end_at",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.001,
            tooltip=f"When {what} stops: 1 is the last step. 0.8 leaves the finish to the model.",
        ),
    ]
