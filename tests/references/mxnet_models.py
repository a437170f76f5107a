"""The models that insightface and OpenCV's zoo publish as exports of MXNet. Layers bear MXNet's names.

Input `data`: pixels [B, 3, S, S], RGB, 0 to 255; the normalisation is the first step of the graph.
Known: 2d106det by its form for ncnn (nodes, widths), SFace by a port's list of layers and by its 174 weights, genderage
by a port of it to ggml. All but genderage (by 0.15 %) make files of the published size to within 100 bytes. Not known:
how files shape the slopes of PReLU, [C, 1, 1] here, and whether Flatten bears this name.
"""

import torch
from torch import nn

# MXNet's default epsilon, and the one that insightface's own layers ask for
EPS, SMALL_EPS = 1e-3, 2e-5


class _Named(nn.Module):
    """Layers by MXNet's names, in the order in which they run. `unnamed`: the names of operations that are no layer."""

    def __init__(self):
        super().__init__()
        self.unnamed = {"Sub": ["_minusscalar0"], "Mul": ["_mulscalar0"]}

    def convolution(self, name, inside, out, kernel=3, stride=1, groups=1, act: type[nn.Module] | None = nn.PReLU):
        """The layers <name>_conv2d, <name>_batchnorm and <name>_relu."""
        conv = nn.Conv2d(inside, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.add_module(f"{name}_conv2d", conv)
        self.add_module(f"{name}_batchnorm", nn.BatchNorm2d(out, EPS))
        self.add_module(f"{name}_relu", nn.PReLU(out) if act is nn.PReLU else act())

    def mobilenet(self, base: int, first: int, last: int, act=nn.PReLU, tag=""):
        """MobileNetV1's steps `first` to `last` (of 14) for `base` channels; `tag` ends the names of a branch."""
        for step in range(first, last + 1):
            inside, out = base * _FACTORS[step - 1], base * _FACTORS[step]
            stride = 2 if step in (3, 5, 7, 13) else 1
            self.convolution(f"conv_{step}_dw{tag}", inside, inside, 3, stride, inside, act)
            self.convolution(f"conv_{step}{tag}", inside, out, 1, act=act)

    def run(self, x, first: str | None = None, last: str | None = None):
        """All layers one after another, or those from `first` to `last`."""
        names = list(self._modules)
        begin, end = names.index(first or names[0]), names.index(last or names[-1])
        for name in names[begin : end + 1]:
            x = self._modules[name](x)
        return x


_FACTORS = (0, 1, 2, 4, 4, 8, 8, 16, 16, 16, 16, 16, 16, 32, 32)  # channels after each step, in units of the first


def _normalised(x):
    return (x - 127.5) * 0.0078125


class Landmarks106(_Named):
    """2d106det: MobileNetV1-0.5, a last 3x3 of stride 2, one linear layer. 192 x 192 to [B, 212]."""

    def __init__(self, width: int = 1):
        super().__init__()
        base = 16 // width
        self.convolution("conv_1", 3, base, 3, 2)
        self.mobilenet(base, 2, 14)
        self.convolution("conv_15", 32 * base, 64 // width, 3, 2)
        self.flatten0 = nn.Flatten()
        self.fc1 = nn.Linear(64 // width * 9, 212)
        self.kept = ("fc1",)

    def forward(self, x):
        return self.run(_normalised(x))


class GenderAge(_Named):
    """genderage: MobileNetV1-0.25 whose last two steps exist twice, for gender and for age. 96 x 96 to [B, 3]."""

    def __init__(self, width: int = 1):
        super().__init__()
        base = 8 // width
        self.convolution("conv_1", 3, base, 3, 2, act=nn.ReLU)
        self.mobilenet(base, 2, 12, nn.ReLU)
        # Their names within the graph are guessed from those of their weights.
        for number, outputs in enumerate((2, 1)):
            self.mobilenet(base, 13, 14, nn.ReLU, f"_t{number}")
            self.add_module(f"pool{number}", nn.AdaptiveAvgPool2d(1))
            self.add_module(f"flatten{number}", nn.Flatten())
            self.add_module(f"fullyconnected{number}", nn.Linear(32 * base, outputs))
        self.unnamed["Concat"] = ["fc1"]
        self.kept = ("fullyconnected0", "fullyconnected1")

    def forward(self, x):
        x = self.run(_normalised(x), last="conv_12_relu")
        gender = self.run(x, "conv_13_dw_t0_conv2d", "fullyconnected0")
        return torch.cat([gender, self.run(x, "conv_13_dw_t1_conv2d", "fullyconnected1")], 1)


class SFace(_Named):
    """OpenCV's face_recognition_sface_2021dec: MobileNetV1 with a first stride of 1. 112 x 112 to [B, 128]."""

    def __init__(self, width: int = 1):
        super().__init__()
        base = 32 // width
        self.convolution("conv_1", 3, base, 3, 1)
        self.mobilenet(base, 2, 14)
        self.bn1 = nn.BatchNorm2d(32 * base, SMALL_EPS)
        self.flatten0 = nn.Flatten()
        self.pre_fc1 = nn.Linear(32 * base * 49, 128)
        self.fc1 = nn.BatchNorm1d(128, SMALL_EPS)
        self.dropout = ("bn1", "dropout0")  # a Dropout node follows bn1, as in insightface's head "E"
        self.weights_are_inputs = True  # 174 of them

    def forward(self, x):
        return self.run(_normalised(x))


class Landmarks68(_Named):
    """1k3d68: ResNet-50 with the norms first, as MXNet's example has it. 192 x 192 to [B, 3309] = 1103 points in 3-D.

    Its source was not published. That it starts with `bn_data` is known from insightface's own reader; of what may
    follow, this makes a file of the published size, 143,607,619 bytes, but for 97.
    """

    def __init__(self, width: int = 1, blocks: tuple[int, ...] = (3, 4, 6, 3)):
        super().__init__()
        inside = 64 // width
        self.bn_data = nn.BatchNorm2d(3, SMALL_EPS)
        self.conv0 = nn.Conv2d(3, inside, 7, 2, 3, bias=False)
        self.bn0 = nn.BatchNorm2d(inside, SMALL_EPS)
        self.relu0 = nn.ReLU()
        self.pooling0 = nn.MaxPool2d(3, 2, 1)
        self.units = []
        for stage, count in enumerate(blocks):
            out = 256 // width * 2**stage
            for number in range(count):
                name, stride = f"stage{stage + 1}_unit{number + 1}", 2 if stage and not number else 1
                self._unit(name, inside, out, stride)
                self.units.append(name)
                inside = out
        self.bn1 = nn.BatchNorm2d(inside, SMALL_EPS)
        self.relu1 = nn.ReLU()
        self.convf = nn.Conv2d(inside, 256 // width, 3, 2, 1, bias=False)
        self.bnf = nn.BatchNorm2d(256 // width, SMALL_EPS)
        self.reluf = nn.ReLU()
        self.flatten0 = nn.Flatten()
        self.fc1 = nn.Linear(256 // width * 9, 3309)
        self.unnamed = {"Add": [f"_plus{number}" for number in range(len(self.units))]}
        self.kept = ("fc1",)

    def _unit(self, name, inside, out, stride):
        planes = out // 4
        layers = [("bn1", nn.BatchNorm2d(inside, SMALL_EPS)), ("relu1", nn.ReLU())]
        layers.append(("conv1", nn.Conv2d(inside, planes, 1, bias=False)))
        layers += [("bn2", nn.BatchNorm2d(planes, SMALL_EPS)), ("relu2", nn.ReLU())]
        layers.append(("conv2", nn.Conv2d(planes, planes, 3, stride, 1, bias=False)))
        layers += [("bn3", nn.BatchNorm2d(planes, SMALL_EPS)), ("relu3", nn.ReLU())]
        layers.append(("conv3", nn.Conv2d(planes, out, 1, bias=False)))
        layers[-1][1].closes_branch = True
        if inside != out or stride != 1:
            layers.append(("sc", nn.Conv2d(inside, out, 1, stride, bias=False)))
        for suffix, layer in layers:
            self.add_module(f"{name}_{suffix}", layer)

    def forward(self, x):
        x = self.run(x, last="pooling0")
        for name in self.units:
            first = self.run(x, f"{name}_bn1", f"{name}_relu1")
            branch = self.run(first, f"{name}_conv1", f"{name}_conv3")
            shortcut = self._modules.get(f"{name}_sc")
            x = branch + (x if shortcut is None else shortcut(first))
        return self.run(x, first="bn1")
