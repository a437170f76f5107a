"""What lies in the folders of the server that is fuzzed: small good files of every kind, damaged ones, odd pictures."""

import random
import shutil
from pathlib import Path

import numpy as np
import onnx_files
import torch
from damaged import files, in_bytes, in_states, whole
from node_cases import blank, face
from PIL import Image
from safetensors.torch import save_file

_ADAPTERS = ("faceid-sd15", "faceid-plus-sd15", "portrait-sd15", "plus-sd15", "basic-sd15", "pulid-v1.1",
             "photomaker-v2", "consistentid-sd15", "masterweaver", "wplus", "uniportrait", "fact")  # fmt: skip
_BAD = 12  # damaged files of each sort


def furnish(base: Path) -> list[Path]:
    """Fill ComfyUI's folders below `base`, where those of tests/tiny are; returns good files of each sort."""
    models, rng = base / "models", random.Random(0)

    def write(name: str, data: bytes) -> Path:
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    for name in _ADAPTERS:
        write(f"models/ipadapter/{name}.bin", whole.as_zip(files.adapter(name)))
    write("models/likeness/router.bin", whole.as_zip(files.router()))
    for number in range(_BAD):
        state = in_states.tensors(files.adapter(rng.choice(_ADAPTERS)), rng)
        write(f"models/pulid/odd_{number}.safetensors", whole.as_safetensors(state) if state else b"")
        write(f"models/instantid/bad_{number}.bin", _damaged(whole.as_zip(files.adapter("instantid")), rng))
        write(f"models/loras/bad_{number}.safetensors", _lora(number, rng))
        write(f"input/bad_{number}.safetensors", _damaged(files.identity(), rng))
        write(f"models/likeness_directions/bad_{number}.npy", _damaged(_npy(18), rng))
        write(f"models/face_encoders/bad_{number}.onnx", _damaged(whole.graph("mbf"), rng))
        write(f"models/insightface/models/bad_{number}/w600k.onnx", _damaged(whole.graph("r50"), rng))
    write("models/face_parsing/bad.pth", _damaged(whole.as_zip({"a": torch.ones(9)}), rng))
    write("models/face_encoders/mine.json", files.DESCRIPTION.encode())
    write("models/face_encoders/broken.json", b"{")
    for name in ("face_encoders/mine", "face_encoders/broken", "insightface/models/buffalo_l/w600k_r50"):
        path = write(f"models/{name}.onnx", b"")
        shutil.copy(onnx_files.file("r50", width=4), path)
    good = [write("input/anna.safetensors", files.identity()), write("models/likeness_directions/smile.npy", _npy(18)),
            models / "instantid/tiny_instantid.bin", models / "face_encoders/mine.onnx"]  # fmt: skip
    _code(base / "input/code.safetensors")
    _pictures(base / "input")
    return [*good, base / "input/anna.png"]


def _damaged(data, rng):
    return in_bytes.DAMAGE[rng.choice(list(in_bytes.DAMAGE))](data, rng)


def _npy(rows):
    import io

    file = io.BytesIO()
    np.save(file, files.direction(rows))
    return file.getvalue()


def _lora(number, rng):
    """A LoRA for a layer that is there or not, of shapes that fit or not."""
    layer = rng.choice(("lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_k", "lora_unet_nowhere"))
    down, up = torch.ones(4, rng.choice((48, 7))), torch.ones(rng.choice((32, 9)), rng.choice((4, 3)))
    return whole.as_safetensors({f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up})


def _code(path):
    """An identity of W+ codes, for EditIdentity."""
    from likeness.core.faces.identity.identity import combine_identity
    from likeness.core.faces.identity.identity_file import save_identity

    vectors = torch.randn(4, 18 * 512, generator=torch.Generator().manual_seed(0))
    save_identity(combine_identity("e4e-tiny:0", vectors, torch.ones(4), "mean")[0], path)
    save_file({"x.lora_down.weight": torch.ones(1)}, path.with_name("lora.safetensors"))


def _pictures(folder):
    import photographs

    for name, image in {"anna": face("A"), "carl": face("C"), "nobody": blank(), "one": blank(1)}.items():
        Image.fromarray((image[0] * 255).round().byte().numpy()).save(folder / f"{name}.png")
    anna = Image.open(folder / "anna.png")
    anna.convert("L").save(folder / "grey.png")
    anna.convert("RGBA").save(folder / "clear.png")
    anna.resize((1500, 20)).save(folder / "wide.png")
    photographs.picture("t1").resize((640, 443)).save(folder / "group.jpg")
