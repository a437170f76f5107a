"""InsightFace's model files as published, with random weights: written once, then kept under build/onnx.

    write("r50", path, width=4)         one file
    file("scrfd_10g", batched=True)     the same, from the cache
    reference("r50", width=4)           the torch module with the very weights of that file
    pack(folder, "r50", "10g")          a folder as artists have it under models/insightface/models

A width divisor keeps the topology and makes files small enough for quick tests; width 1 is the published size.
The detectors find the faces of the test photographs at 640 x 640, the narrow ones a few of them.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import onnx
import photographs
import torch
from references import aiming, exporting, filling, iresnet, mxnet_models, scrfd
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [Path(__file__), *sorted((ROOT / "tests" / "references").glob("*.py"))]
# Names of the outputs in det_10g.onnx (scrfd_10g_bnkps.onnx is the same file) and det_500m.onnx.
_OUTPUTS = {
    "10g": "448 471 494 451 474 497 454 477 500",
    "500m": "443 468 493 446 471 496 449 474 499",
}
_MXNET = {
    "sface": (mxnet_models.SFace, 112),
    "2d106det": (mxnet_models.Landmarks106, 192),
    "1k3d68": (mxnet_models.Landmarks68, 192),
    "genderage": (mxnet_models.GenderAge, 96),
}
_RECOGNISERS = {"r50": ("w600k_r50", "683"), "r100": ("glintr100", "1333"), "mbf": ("w600k_mbf", "516")}


@functools.lru_cache(maxsize=8)
def reference(kind: str, **variant) -> torch.nn.Module:
    """The torch module that a file of this kind and variant is written from; do not change it.

    kind: r50, r100, mbf, sface, 2d106det, 1k3d68, genderage, or scrfd_<500m | 1g | 1gbn | 2.5g | 10g | 34g>.
    variant: width (divisor), seed; for scrfd also keypoints and batched; for mbf also published.
    """
    variant.pop("fixed", None)
    width, seed = variant.pop("width", 1), variant.pop("seed", 0)
    if kind.startswith("scrfd_"):
        return _detector(kind.removeprefix("scrfd_"), width, seed, **variant)
    if kind in _MXNET:
        return _mxnet(kind, seed, width, **variant)
    build: dict[str, Callable] = {
        "r50": lambda: iresnet.IResNet(50, width, **variant),
        "r100": lambda: iresnet.IResNet(100, width, **variant),
        "mbf": lambda: iresnet.MobileFaceNet(width, **variant),
    }
    return filling.fill(build[kind](), (filling.pictures(4, 112, seed) - 127.5) / 127.5, seed)


def _detector(size, width, seed, keypoints=True, batched=False):
    """Its weights are kept beside the files: what was fitted may differ in the last digits from process to process."""
    path = _cache() / f"weights-{size}-{width}-{seed}.safetensors"

    def make(path):
        module = scrfd.SCRFD(size, width)
        filling.fill(module, (filling.pictures(1, 320, seed) - 127.5) / 128, seed)
        pictures = [letterboxed(name, smooth) for name in photographs.photographs() for smooth in (False, True)]
        aiming.aim(module, pictures, seed)
        save_file(module.state_dict(), path)

    weights = load_file(_kept(path, make))
    module = scrfd.SCRFD(size, width, keypoints, batched).eval().requires_grad_(False)
    module.load_state_dict({key: value for key, value in weights.items() if keypoints or ".kps." not in key})
    return module


def letterboxed(name: str, smooth: bool = False, side: int = 640) -> tuple[torch.Tensor, torch.Tensor]:
    """A test photograph as detectors take it [1, 3, side, side], top left on black, and its faces' boxes [N, 4] there.

    smooth: averaged over the area of a new pixel, else between the four nearest old ones only, as OpenCV does.
    """
    picture = photographs.picture(name)
    scale = side / max(picture.size)
    width, height = (int(length * scale) for length in picture.size)
    pixels = torch.from_numpy(np.array(picture, np.float32)).movedim(2, 0)[None]
    small = F.interpolate(pixels, (height, width), mode="bilinear", antialias=smooth).round()
    pixels = F.pad(small, (0, side - width, 0, side - height))
    boxes = torch.tensor([face["box"] for face in photographs.people()[name]["faces"]]) * scale
    return (pixels - 127.5) / 128, boxes


def _mxnet(kind, seed, width, **variant):
    build, size = _MXNET[kind]
    module = build(width, **variant)
    example = filling.pictures(8, size, seed)
    filling.fill(module, example, seed)
    if kind == "genderage":
        filling.aim(module, module.fullyconnected0, example, 0.0, 1.0, seed)
        filling.aim(module, module.fullyconnected1, example, 0.35, 0.1, seed + 1)
    elif kind == "2d106det":
        mean = torch.rand(212, generator=torch.Generator().manual_seed(seed)) * 1.2 - 0.6
        filling.aim(module, module.fc1, example, mean, 0.05, seed)
    elif kind == "1k3d68":
        mean = torch.rand(1103, 3, generator=torch.Generator().manual_seed(seed)) * 1.2 - 0.6
        mean[-68:] = _mean_shape()  # so that a pose can be read from them
        filling.aim(module, module.fc1, example, mean.flatten(), 0.05, seed)
    return module


def _mean_shape() -> torch.Tensor:
    """insightface's mean of the 68 points, [68, 3], centred, -0.6 to 0.6."""
    file = distribution("insightface").locate_file("insightface/data/objects/meanshape_68.pkl")
    shape = torch.as_tensor(pickle.loads(Path(file).read_bytes()), dtype=torch.float32)
    shape = shape - shape.mean(0)
    return 0.6 * shape / shape.abs().max()


def write(kind: str, path, **variant) -> Path:
    """Write the file of `reference(kind, **variant)` to `path` and return it.

    variant: also, for scrfd, fixed: the side of the only input that the file takes.
    """
    path = Path(path)
    module = reference(kind, **variant)
    if kind.startswith("scrfd_"):
        _write_detector(kind.removeprefix("scrfd_"), module, path, variant)
    elif kind in _MXNET:
        exporting.export_like_mxnet(module, torch.zeros(1, 3, _MXNET[kind][1], _MXNET[kind][1]), path)
    else:
        outputs = [_RECOGNISERS[kind][1]] if variant.get("published", True) else None
        dims = {"input.1": {0: "None"}}
        exporting.export(module, torch.zeros(1, 3, 112, 112), path, outputs=outputs, dims=dims, fixed=True)
    return path


def _write_detector(size, module, path, variant):
    fixed, kinds = variant.get("fixed"), ("score", "bbox", "kps") if module.keypoints else ("score", "bbox")
    side = fixed or 640
    batch = 2 if module.batched else 1
    outputs = _OUTPUTS.get(size, "").split()[: 3 * len(kinds)] or None
    dims = {"input.1": {2: "?", 3: "?"}}
    if module.batched:
        outputs = [f"{kind}_{stride}" for kind in kinds for stride in scrfd.STRIDES]
        dims = {"input.1": {0: "?", 2: "?", 3: "?"}} | {name: {0: "?", 1: "?"} for name in outputs}
    example = torch.zeros(batch, 3, side, side)
    exporting.export(module, example, path, outputs=outputs, dims=None if fixed else dims, fixed=bool(fixed))
    if not fixed:
        _declare_outputs(path, module.batched)


def _declare_outputs(path, batched):
    """The lengths that files with free sides declare are those for 640, whatever the input; onnxruntime only warns."""
    model = onnx.load(path)
    for place, value in enumerate(model.graph.output):
        dims = value.type.tensor_type.shape.dim
        dims[-1].dim_value = (1, 4, 2 * scrfd.POINTS)[place // 3]
        if not batched:
            dims[0].dim_value = scrfd.ANCHORS * (640 // scrfd.STRIDES[place % 3]) ** 2
    onnx.save(model, path)


def file(kind: str, **variant) -> Path:
    """A file as `write` writes it, from the cache."""
    name = "-".join([kind, *(f"{key}={value}" for key, value in sorted(variant.items()))])
    return _kept(_cache() / f"{name}.onnx", lambda path: write(kind, path, **variant))


def _kept(path: Path, make: Callable[[Path], object]) -> Path:
    """`path`, made if it is not there; of several processes at once the first one wins."""
    if not path.is_file():
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            make(made)
            with contextlib.suppress(FileExistsError):
                os.link(made, path)
    return path


@functools.cache
def _cache() -> Path:
    """The folder of this version of the fixtures; folders of other versions go when unused for two days."""
    key = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES) + torch.__version__.encode())
    folder = ROOT / "build" / "onnx" / key.hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    for other in folder.parent.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - other.stat().st_mtime > 2 * 24 * 3600:
                shutil.rmtree(other, ignore_errors=True)
    return folder


def pack(folder, recogniser: str = "r50", detector: str = "10g", width: int = 4, detector_width: int = 1) -> Path:
    """Fill `folder` with a whole pack under the published names and return it.

    recogniser: r50 (buffalo_l), mbf (buffalo_s) or r100 (antelopev2, where the detector is scrfd_<size>_bnkps instead
    of det_<size>). width: divisor of all but the detector, which needs its own width to find the faces.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    detection = f"scrfd_{detector}_bnkps" if recogniser == "r100" else f"det_{detector}"
    shutil.copy(file(f"scrfd_{detector}", width=detector_width), folder / f"{detection}.onnx")
    shutil.copy(file(recogniser, width=width), folder / f"{_RECOGNISERS[recogniser][0]}.onnx")
    for name in ("1k3d68", "2d106det", "genderage"):
        shutil.copy(file(name, width=width), folder / f"{name}.onnx")
    return folder
