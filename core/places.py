"""Names of the folders in ComfyUI's models folder that the pack's files lie in, the ones that artists already have."""

ADAPTER_FOLDERS = ("instantid", "ipadapter", "pulid", "photomaker", "likeness")
PARSER_FOLDER = "face_parsing"
ENCODER_FOLDER = "face_encoders"
PACK_FOLDER = "insightface"  # its packs are folders in models/insightface/models
DIRECTION_FOLDER = "likeness_directions"
