"""What FakeTensorMode on "cuda" lets pass and must not happen between image and embedding."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class StaysOnDevice(TorchDispatchMode):
    """Fails on any operator that takes a CUDA tensor and gives a CPU one, which FakeTensorMode alone lets pass."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        places = [{leaf.device.type for leaf in tree_leaves(side) if isinstance(leaf, torch.Tensor)}
                  for side in ((args, kwargs), out)]  # fmt: skip
        assert not ("cuda" in places[0] and "cpu" in places[1]), f"{func} left the device"
        return out
