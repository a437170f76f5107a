"""Write embedded/*.safetensors from the published weights; the same bytes on every run.

Usage: python scripts/convert_embedded.py <folder of the unpacked npm package @vladmandic/face-api>

MTCNN comes from the installed facenet-pytorch package. Its values are unchanged; the first dense layers of the second
and third network are reordered from (width, height, channel) to torch's (channel, height, width).
The descriptor and the 68-point network keep the package's 8-bit values as they are, in torch's layout, each beside its
[scale, minimum].
"""

import hashlib
import json
import pickle
import sys
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import torch

EMBEDDED = Path(__file__).resolve().parent.parent / "embedded"
NAMES = {"float64": "F64", "float32": "F32", "uint8": "U8"}

LAYERS = {
    "pnet": {
        "conv1": "convolutions.0",
        "conv2": "convolutions.1",
        "conv3": "convolutions.2",
        "conv4_1": "face",
        "conv4_2": "box",
    },
    "rnet": {
        "conv1": "convolutions.0",
        "conv2": "convolutions.1",
        "conv3": "convolutions.2",
        "dense4": "dense",
        "dense5_1": "face",
        "dense5_2": "box",
    },
    "onet": {
        "conv1": "convolutions.0",
        "conv2": "convolutions.1",
        "conv3": "convolutions.2",
        "conv4": "convolutions.3",
        "dense5": "dense",
        "dense6_1": "face",
        "dense6_2": "box",
        "dense6_3": "points",
    },
}


def write_safetensors(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """The safetensors container with sorted names and metadata; the library's own writer shuffles the metadata."""
    header, offset, blobs = {"__metadata__": dict(sorted(metadata.items()))}, 0, []
    # widest type first, so that every tensor lies aligned
    for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)):
        blob = np.ascontiguousarray(tensors[name]).tobytes()
        header[name] = {
            "dtype": NAMES[str(tensors[name].dtype)],
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))
    print(path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


def mtcnn() -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The three networks' parameters under the names of core/faces/detect/mtcnn_networks.py."""
    package = distribution("facenet-pytorch")
    tensors = {}
    for network, layers in LAYERS.items():
        path = package.locate_file(f"facenet_pytorch/data/{network}.pt")
        for key, value in torch.load(path, weights_only=True, map_location="cpu").items():
            layer, kind = key.rsplit(".", 1)
            if layer.startswith("prelu"):
                before = layers.get(layer.replace("prelu", "conv")) or layers[layer.replace("prelu", "dense")]
                name = f"{before}.prelu.{kind}"
            elif layers[layer].startswith(("convolutions", "dense")):
                name = f"{layers[layer]}.layer.{kind}"
            else:
                name = f"{layers[layer]}.{kind}"
            if name == "dense.layer.weight":
                value = value.unflatten(1, (3, 3, -1)).permute(0, 3, 2, 1).flatten(1)
            tensors[f"{network}.{name}"] = value.numpy()
    return tensors, {"origin": f"facenet-pytorch {package.version}", "licence": "MIT", "format": "likeness mtcnn 1"}


def face_api(package: Path, model: str) -> tuple[dict[str, np.ndarray], str]:
    """A face-api model's quantised parameters in torch's layout, and where they come from."""
    [manifest] = json.loads((package / f"model/{model}-weights_manifest.json").read_text())
    data = (package / f"model/{model}.bin").read_bytes()
    tensors, offset = {}, 0
    for entry in manifest["weights"]:
        quantisation = entry.get("quantization")
        dtype = np.dtype(quantisation["dtype"] if quantisation else entry["dtype"])
        count = int(np.prod(entry["shape"]))
        value = np.frombuffer(data, dtype, count, offset).reshape(entry["shape"])
        offset += value.nbytes
        name = entry["name"].replace("/", ".")
        if name.endswith("depthwise_filter"):
            tensors[name] = value.transpose(2, 3, 0, 1)  # height, width, channel, 1 -> channel, 1, height, width
        else:
            # height, width, in, out -> out, in, height, width; and in, out -> out, in
            tensors[name] = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
        if quantisation:
            tensors[f"{name}.quantisation"] = np.array([quantisation["scale"], quantisation["min"]], np.float64)
    assert offset == len(data)
    version = json.loads((package / "package.json").read_text())["version"]
    return tensors, f"@vladmandic/face-api {version}, {model}"


def descriptor(package: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The descriptor's quantised parameters under the names of core/faces/describe/dlib.py."""
    tensors, origin = face_api(package, "face_recognition_model")
    return tensors, {
        "origin": origin,
        "licence": "MIT",
        "author": "Davis King (dlib_face_recognition_resnet_model_v1)",
        "format": "likeness dlib resnet34 1",
    }


def landmarks68(package: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The 68-point network's quantised parameters under the names of core/faces/points/landmarks68.py."""
    tensors, origin = face_api(package, "face_landmark_68_model")
    return tensors, {"origin": origin, "licence": "MIT", "format": "likeness landmarks68 1"}


def mean_shape() -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The average face of 68 points in space, as the insightface package has it."""
    package = distribution("insightface")
    with open(package.locate_file("insightface/data/objects/meanshape_68.pkl"), "rb") as file:
        points = pickle.load(file)
    return {"points": points}, {
        "origin": f"insightface {package.version}, meanshape_68.pkl",
        "licence": "MIT",
        "format": "likeness meanshape68 1",
    }


if __name__ == "__main__":
    write_safetensors(EMBEDDED / "meanshape68.safetensors", *mean_shape())
    write_safetensors(EMBEDDED / "mtcnn.safetensors", *mtcnn())
    write_safetensors(EMBEDDED / "dlib_resnet34.safetensors", *descriptor(Path(sys.argv[1])))
    write_safetensors(EMBEDDED / "landmarks68.safetensors", *landmarks68(Path(sys.argv[1])))
