"""How much of something, and when: shared by adapters and landmark control."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Strength:
    """How much, and during which part (0..1) of the denoising; `weight_type` spreads it along the U-Net."""

    weight: float
    start_at: float = 0.0
    end_at: float = 1.0
    weight_type: str = "linear"

    @property
    def is_nothing(self) -> bool:
        return self.weight == 0 or self.start_at >= self.end_at
