"""Tiny WithAnyone adapters for FLUX in the published layouts, with random weights."""

import torch

from .pulid import Random

FACE_DIM, SEEN_DIM, INNER, BLOCKS = 128, 768, 128, 57  # of a face vector, SigLIP's states, an attention; blocks of FLUX


def withanyone(seed: int = 0, width: int = 64, face_dim: int = FACE_DIM) -> dict[str, dict[str, torch.Tensor]]:
    """{"ipa_arc", "ipa_sig", "arcface_in_arc", "arcface_in_sig", "siglip_in_sig"} for FLUX of a width."""
    random = Random(seed + 21)
    return {
        "ipa_arc": _attentions(random, width),
        "ipa_sig": _attentions(random, width),
        "arcface_in_arc": _perceptron(random, face_dim, 4 * width, 8 * width),
        "arcface_in_sig": _perceptron(random, face_dim, 4 * width, 8 * width),
        "siglip_in_sig": _perceptron(random, SEEN_DIM, width, width),
    }


def withanyone_ke(seed: int = 0, width: int = 64) -> dict[str, dict[str, torch.Tensor]]:
    """{"ipa", "arcface_in", "siglip_in"} for FLUX.1 Kontext of a width."""
    random = Random(seed + 22)
    return {
        "ipa": _attentions(random, width),
        "arcface_in": _perceptron(random, FACE_DIM, 4 * width, 8 * width),
        "siglip_in": _perceptron(random, SEEN_DIM, 4 * width, 8 * width),
    }


def _attentions(random, width):
    tensors = {}
    for number in range(BLOCKS):
        tensors |= random.attention(str(number), width, INNER)
    return {key: 0.3 * tensor if key.endswith("to_out.weight") else tensor for key, tensor in tensors.items()}


def _perceptron(random, dim, hidden, output):
    return random.linear("0", hidden, dim) | random.norm("2", hidden) | random.linear("3", output, hidden)
