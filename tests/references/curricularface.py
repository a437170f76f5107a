"""CurricularFace's IR-101 with its four mid features, written down functionally from the published keys alone.

Input: a state dict and pixels [B, 3, 112, 112], RGB, (x - 127.5) / 127.5. Output: a list of [B, C, h, w].
"""

import torch
import torch.nn.functional as F

ENDS = (2, 15, 45, 48)  # units whose results are kept
HALVING = (0, 3, 16, 46)


def mid_features(state: dict[str, torch.Tensor], pixels: torch.Tensor) -> list[torch.Tensor]:
    def norm(x, name):
        parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts, training=False, eps=1e-5)

    def conv(x, name, stride=1):
        kernel = state[f"{name}.weight"]
        return F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    x = F.prelu(norm(conv(pixels, "input_layer.0"), "input_layer.1"), state["input_layer.2.weight"])
    kept = []
    for number in range(49):
        name, stride = f"body.{number}", 2 if number in HALVING else 1
        inside = F.prelu(
            norm(conv(norm(x, f"{name}.res_layer.0"), f"{name}.res_layer.1"), f"{name}.res_layer.2"),
            state[f"{name}.res_layer.3.weight"],
        )
        inside = norm(conv(inside, f"{name}.res_layer.4", stride), f"{name}.res_layer.5")
        if f"{name}.shortcut_layer.0.weight" in state:
            aside = norm(conv(x, f"{name}.shortcut_layer.0", stride), f"{name}.shortcut_layer.1")
        else:
            aside = F.max_pool2d(x, 1, stride)
        x = inside + aside
        if number in ENDS:
            kept.append(x)
    return kept
