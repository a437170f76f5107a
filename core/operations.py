"""What constructors take last: where and in which precision a module is made, and of which layers."""

from typing import Any

import torch

Device = torch.device | str | None
Dtype = torch.dtype | None
Place = dict[str, Any]  # these by their names
Operations = Any  # torch.nn, or one of ComfyUI's classes of the same layers
