"""The nodes: thin classes over core, one file per family."""

from comfy_api.latest import ComfyExtension

from ..core.host.comfyui import folders

folders.register()  # before any schema is built: combos list these folders

from .adapter import ApplyIDAdapter, LoadIDAdapter
from .cure import AttributeCure, CureMask
from .edit import EditIdentity
from .facelets import LoadFacelets
from .faces import DetectFaces, LoadFaceEncoder
from .identity import EncodeIdentity, LoadIdentity, SampleIdentity, SaveIdentity
from .landmarks import LandmarkControl
from .people import AssignFaces
from .prompt import Arc2FaceTextEncode, IDTextEncode
from .similarity import IDSimilarity

NODES = [
    LoadFacelets,
    LoadFaceEncoder,
    DetectFaces,
    AssignFaces,
    EncodeIdentity,
    SaveIdentity,
    LoadIdentity,
    SampleIdentity,
    EditIdentity,
    LoadIDAdapter,
    ApplyIDAdapter,
    IDTextEncode,
    Arc2FaceTextEncode,
    LandmarkControl,
    AttributeCure,
    CureMask,
    IDSimilarity,
]


class LikenessExtension(ComfyExtension):
    async def get_node_list(self):
        return NODES
