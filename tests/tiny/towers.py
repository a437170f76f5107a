"""A CLIP model with both of its towers, as transformers writes it: random weights, small but for its vocabulary."""

from pathlib import Path


def towers(seed: int = 0):
    """transformers' CLIPModel for pictures of 28 pixels."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    tower = {"hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 2, "hidden_act": "gelu"}
    text = {**tower, "num_attention_heads": 1, "eos_token_id": 49407, "bos_token_id": 49406}
    vision = {**tower, "num_attention_heads": 16, "image_size": 28, "patch_size": 14}
    torch.manual_seed(seed)
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).eval()


def write_towers(path: Path):
    from safetensors.torch import save_file

    save_file(towers().state_dict(), path)
