"""What constructors of modules take last: where their layers are made, how precise, and by whose classes.

device, dtype, operations; `**place` are these three, for a module that only hands them on.
"""

from typing import Any

import torch

Device = torch.device | str | None
Dtype = torch.dtype | None
Operations = Any  # torch.nn, or what has layers of the same names, as ComfyUI's operations do
LayerArgs = dict[str, Any]  # these by their names
