"""Identity off for some chunks of a batch: what the attribute cure asks of every adapter's patch."""

from dataclasses import dataclass

import torch

KEY = "likeness_identity_off"


@dataclass(frozen=True)
class IdentityOff:
    """Which chunks of a batch go without identity, and how.

    `absent`: the adapter adds nothing at all there, else it adds the identity of no face, as to unconditional chunks.
    """

    chunks: tuple[bool, ...]
    absent: bool

    def kinds(self, cond_or_uncond: list[int]) -> list[int]:
        """ComfyUI's 0 (conditional) or 1 per chunk, with chunks without identity as unconditional."""
        return [1 if off else kind for off, kind in zip(self.chunks, cond_or_uncond, strict=True)]

    def present(self, rows: torch.Tensor) -> torch.Tensor | None:
        """The rows that keep the identity, or None when there are none."""
        kept = [chunk for chunk, off in zip(rows.chunk(len(self.chunks)), self.chunks, strict=True) if not off]
        return torch.cat(kept) if kept else None

    def spread(self, rows: torch.Tensor) -> torch.Tensor:
        """What `present` kept, back at its place, with zeros elsewhere."""
        kept = rows.chunk(self.chunks.count(False))
        nothing, parts = torch.zeros_like(kept[0]), iter(kept)
        return torch.cat([nothing if off else next(parts) for off in self.chunks])
