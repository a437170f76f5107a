"""Arc2Face (Papantoniou et al. 2024): a face vector as a word of the prompt, through Arc2Face's own text encoder."""

from comfy.sd import CLIP
from torch.nn import functional as F

from ..conditioning.prompt import check_clip, own_tokens
from ..faces.detection import choose_faces
from ..who.identity import encode_faces
from ..who.person import Sources

_PROMPT, _WORD, _FACE_DIM = "photo of a id person", "id", 512


def encode_face_prompt(clip: CLIP, sources: Sources) -> list:
    """CONDITIONING of the prompt "photo of a id person" with the face in place of "id".

    The token is the face vector, of length 1, with zeros behind it up to the text width. Any encoder with 512 numbers
    is taken; the published weights were trained on Arc2Face's own arcface.onnx. Without a face, where
    `sources.on_no_face` allows that, the prompt is encoded as it is. ValueError with one sentence for the rest.
    """
    check_clip(clip)
    tokens = clip.tokenize(_PROMPT)
    width = clip.encode_from_tokens(tokens).shape[-1]
    if len(tokens) != 1 or width < _FACE_DIM:
        raise ValueError(
            f"Arc2Face writes a face of {_FACE_DIM} numbers into the words of its own SD1.5 text encoder, but the "
            f"connected clip is another one ({len(tokens)} encoders, text width {width}); put FoivosPar/Arc2Face's "
            "encoder/pytorch_model.bin into models/text_encoders and load it with Load CLIP."
        )
    identity = _identity(sources)
    if not identity.is_empty:
        if identity.dim != _FACE_DIM:
            raise ValueError(
                f"Arc2Face takes faces of {_FACE_DIM} numbers, but this identity was made by {identity.space} "
                f"({identity.dim} numbers); choose its arcface.onnx, or another encoder with {_FACE_DIM}, in "
                "LoadFaceEncoder."
            )
        [(name, [chunk])] = tokens.items()
        [(_, word, _)] = own_tokens(clip.tokenize(_WORD, return_word_ids=True)[name])
        face = F.pad(F.normalize(identity.vector.float(), dim=-1), (0, width - _FACE_DIM))
        tokens = {name: [[(face if token == word else token, weight) for token, weight in chunk]]}
    return clip.encode_from_tokens_scheduled(tokens)


def _identity(sources):
    if (sources.identity is None) == (sources.image is None or sources.encoder is None):
        raise ValueError("This node takes one person: connect either identity, or face_encoder and image together.")
    if sources.identity is not None:
        return sources.identity
    faces = choose_faces(sources.encoder, sources.image, "largest", "0", sources.on_no_face, at_least_one=True)
    return encode_faces(sources.encoder, sources.image, faces, "mean")[0]
