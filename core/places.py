"""Where files lie: the small models that ship with the pack, and the folders in ComfyUI's models folder."""

from pathlib import Path

EMBEDDED = Path(__file__).resolve().parents[1] / "embedded"

# The folders that artists already have.
ADAPTER_FOLDERS = (
    "instantid", "ipadapter", "pulid", "photomaker", "likeness", "infinite_you", "ipadapter-flux", "xlabs/ipadapters",
)  # fmt: skip
PARSER_FOLDER = "face_parsing"
ENCODER_FOLDER = "face_encoders"
PACK_FOLDER = "insightface"  # its packs are folders in models/insightface/models
DIRECTION_FOLDER = "likeness_directions"
