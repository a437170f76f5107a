"""Our own socket types, and the inputs that several nodes share word for word."""

from comfy_api.latest import io

from ..core.faces.policy import ON_NO_FACE
from .compat import advanced

FaceEncoder = io.Custom("LIKENESS_FACE_ENCODER")
Faces = io.Custom("LIKENESS_FACES")
Identity = io.Custom("LIKENESS_IDENTITY")
Adapter = io.Custom("LIKENESS_ADAPTER")


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
