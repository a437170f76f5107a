"""TiledDiffusion: a tile's place in the picture, and the order of rows when several tiles go in one batch.

The latent is 32 x 16 cells, the tiles 16 x 16.
"""

import torch
from host_cases import randn

from ..bench import EVERY, PEOPLE, SIZE, left_half
from ..cases import Outcome, case

_PACK = "ComfyUI-TiledDiffusion"
_MIXTURE, _MULTI, _SPOT = METHODS = ("Mixture of Diffusers", "MultiDiffusion", "SpotDiffusion")
_SHAPE = (1, 4, SIZE, 2 * SIZE)
_NOISE = randn(*_SHAPE, seed=1)
WIDE = left_half(2 * SIZE)  # the left tile, where none overlap


def tiled(bench, model, method, batch, overlap=8, width=SIZE):
    """The model sampled in tiles, `batch` of them at once; widths in latent cells."""
    return bench.node("TiledDiffusion", model, method, 8 * width, 8 * SIZE, 8 * overlap, batch)


def _sample(bench, model, positive, negative, **options):
    return bench.sample(model, positive, negative, **{"noise": _NOISE, **options})


@case("one tile that covers everything", "no tiles", EVERY, pack=_PACK)
def one_tile(bench, put):
    def run(put, tiles):
        model, *prompts = put(mask=WIDE)
        model = tiled(bench, model, _MIXTURE, 1, width=2 * SIZE) if tiles else model
        return _sample(bench, model, *prompts)

    return Outcome(run(put, True), run(put, False), run(put.base, False))


def _batches(method, pictures):
    def make(bench, put):
        def run(put, batch):
            model, *prompts = put(mask=WIDE)
            noise = randn(pictures, *_SHAPE[1:], seed=1)
            return _sample(bench, tiled(bench, model, method, batch), *prompts, noise=noise)

        return Outcome(run(put, 4), run(put, 1), run(put.base, 1))

    return make


for _method, _features in ((_MIXTURE, [*EVERY, "routed people, masked", "shared_attention, masked"]),
                           (_MULTI, PEOPLE), (_SPOT, PEOPLE)):  # fmt: skip
    case(f"{_method}, tiles four at a time", "one at a time", _features, pack=_PACK)(_batches(_method, 1))
case("two pictures in tiles four at a time", "one at a time", [*PEOPLE, "cure", "mixed_attention"], pack=_PACK)(
    _batches(_MIXTURE, 2)
)


def _away(method, batch):
    def make(bench, put):
        """One step: where only the tile of the right half is, a person in the left half has no say."""

        def run(put):
            model, *prompts = put(mask=WIDE)
            picture = _sample(bench, tiled(bench, model, method, batch), *prompts, steps=1)
            return picture[..., 3 * SIZE // 2 :]

        return Outcome(run(put), run(put.base), run(bench.feature("identity")))

    return make


for _method in (_MIXTURE, _MULTI):
    for _batch in (1, 4):
        case(f"{_method}, batch {_batch}, mask on the left: the tile on the right", "no feature in that tile",
             ["identity, masked"], pack=_PACK)(_away(_method, _batch))  # fmt: skip


def _crops(batch):
    def make(bench, put):
        """Without an overlap a tile is a picture of its own, with its part of the noise and of the mask."""
        mask = WIDE.clone()
        mask[:, : 4 * SIZE] = 0.5

        def alone(put):
            parts = []
            for side in range(2):
                cut = (..., slice(side * SIZE, (side + 1) * SIZE))
                own = mask[..., side * 8 * SIZE : (side + 1) * 8 * SIZE].clone()
                own[..., 0, 0] += 1e-6  # an empty mask would leave the node out, and its log with it
                model, *prompts = put(mask=own)
                parts.append(bench.sample(model, *prompts, noise=_NOISE[cut]))
            return torch.cat(parts, -1)

        model, *prompts = put(mask=mask)
        value = _sample(bench, tiled(bench, model, _MULTI, batch, overlap=0), *prompts)
        return Outcome(value, alone(put), alone(put.base))

    return make


for _batch in (1, 4):
    case(f"tiles without overlap, batch {_batch}", "each tile by itself, with its part of the mask",
         ["identity", "identity, masked", "routed people, masked", "cure, masked", "mixed_attention"],
         pack=_PACK)(_crops(_batch))  # fmt: skip


@case("SpotDiffusion, its tiles shifted", "each tile by itself, noise and mask shifted by hand",
      ["identity", "identity, masked"], pack=_PACK)  # fmt: skip
def shifted_tiles(bench, put):
    """One step, in which SpotDiffusion shifts the picture sideways, round the edge."""
    wrapper = {}

    def in_tiles(put):
        model, *prompts = put(mask=WIDE)
        patched = tiled(bench, model, _SPOT, 1, overlap=0)
        wrapper["shift"] = patched.model_options["model_function_wrapper"]
        return _sample(bench, patched, *prompts, steps=1)

    def alone(put, shift):
        parts, moved, mask = [], _NOISE.roll(shift, -1), WIDE.roll(8 * shift, -1)
        for side in range(2):
            own = mask[..., side * 8 * SIZE : (side + 1) * 8 * SIZE]
            model, *prompts = put(mask=own)
            cut = moved[..., side * SIZE : (side + 1) * SIZE]
            parts.append(bench.sample(model, *prompts, steps=1, noise=cut))
        return torch.cat(parts, -1).roll(-shift, -1)

    value = in_tiles(put)
    shift = int(wrapper["shift"].uniform_distribution[1][0])
    return Outcome(value, alone(put, shift), alone(put.base, shift))
