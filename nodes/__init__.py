"""The nodes: thin classes over core, one file per family."""

from comfy_api.latest import ComfyExtension

from ..core.host import folders

folders.register()  # before any schema is built: combos list these folders

from .adapter import ApplyIDAdapter, LoadIDAdapter  # noqa: E402
from .faces import DetectFaces, LoadFaceEncoder  # noqa: E402
from .identity import EncodeIdentity, LoadIdentity, SaveIdentity  # noqa: E402
from .landmarks import LandmarkControl  # noqa: E402
from .similarity import IDSimilarity  # noqa: E402

NODES = [
    LoadFaceEncoder,
    DetectFaces,
    EncodeIdentity,
    SaveIdentity,
    LoadIdentity,
    LoadIDAdapter,
    ApplyIDAdapter,
    LandmarkControl,
    IDSimilarity,
]


class LikenessExtension(ComfyExtension):
    async def get_node_list(self):
        return NODES
