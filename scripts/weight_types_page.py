"""Write docs/weight_types.md: what each weight_type gives each block.

python scripts/weight_types_page.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/weight_types.md"
# What ComfyUI calls the blocks with attention, in the order of execution.
BLOCKS = {
    "SD1.5": [*(f"input {i}" for i in (1, 2, 4, 5, 7, 8)), "middle", *(f"output {i}" for i in range(3, 12))],
    "SDXL": [*(f"input {i}" for i in (4, 5, 7, 8)), "middle", *(f"output {i}" for i in range(6))],
}
TEXT = """# weight_type, block by block

What **weight_type** of Apply ID Adapter multiplies **weight** with in each block of the U-Net, in the order of
execution. The words are those of IPAdapter_plus. A block that gets 0 hears nothing of the identity.

- The first five spread the identity smoothly, on FLUX along its 57 blocks. They work with any model.
- The next four weaken one part of a U-Net to a fifth. They work with any U-Net.
- **style transfer** and **composition** go to the blocks that were found to carry one or the other; **strong style
  transfer** goes everywhere but where composition is made. Only SD1.5, SD2.1 and SDXL have such a table.
- IPAdapter_plus's **style transfer precise** and **composition precise** are not there: they give part of the identity
  to the negative prompt's rows, which no factor per block can say.
"""


def page(weight_types, block_factors) -> str:
    """The page as Markdown, from core/adapters/weight_types.py's own words and factors."""
    parts = [TEXT]
    for model, blocks in BLOCKS.items():
        kinds = [name.split()[0] for name in blocks]
        rows = [[word, *(f"{factor:.3g}" for factor in block_factors(word, kinds))] for word in weight_types]
        table = [["weight_type", *blocks], ["---"] * (len(blocks) + 1), *rows]
        parts.append(f"## {model}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in table) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from core.adapters.weight_types import WEIGHT_TYPES, block_factors

    PAGE.write_text(page(WEIGHT_TYPES, block_factors), encoding="utf-8")
