"""Whose rows a batch has, and what of the picture they show, however other nodes cut it up."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from host_cases import randn
from likeness.core.host.sampling import rows
from likeness.core.host.sampling import run as run_module
from likeness.core.host.sampling.tiles import RowMap, tiles_of


def entry(uuid, **more):
    return {"uuid": uuid, **more}


def guider(**conds):
    return SimpleNamespace(conds=conds)


def test_copies_for_areas_do_not_change_whose_a_list_is():
    """ComfyUI appends to each list what the others have areas for, with their uuid."""
    run = run_module.Run(guider(positive=[entry("p", area=1)], negative=[entry("n")]), 1)
    positive, negative = [entry("p", area=1)], [entry("n"), entry("p", area=1)]
    assert run.kinds([positive, negative]) == [0, 1]
    assert run.kinds([negative]) == [1] and run.kinds([positive]) == [0]


def test_whose_lists_are_in_guiders_with_three_and_in_calls_of_other_nodes():
    run = run_module.Run(guider(positive=[entry("p")], middle=[entry("m")], negative=[entry("n")]), 1)
    assert run.kinds([[entry("n")], [entry("m")], [entry("p")]]) == [1, 1, 0]
    assert run.kinds([[entry("a prompt of the node's own")]]) == [1]
    assert run.kinds([[entry("its own")], [entry("n")]]) == [0, 1]  # in the order that every CFG has them
    assert run.kinds([[entry("its own")], [entry("p")]]) == [1, 0]
    assert run.kinds([[entry("p")], None]) == [0, 1]
    run.note({"likeness_twin_entries": [entry("twin")]})
    assert run.kinds([[entry("p")], [entry("n")], [entry("twin")]]) == [0, 1, 0]


def test_a_list_is_what_the_guider_calls_it():
    own = [entry("made while it ran")]
    run = run_module.Run(guider(positive=[entry("p")], negative=[]), 1)
    run.guider.conds["negative"] = own
    assert run.kinds([own]) == [1]


def test_without_names_the_numbers_count():
    assert run_module.Run().kinds([[entry("a")], [entry("b")], [entry("c")]]) == [0, 1, 1]


@pytest.mark.parametrize(
    ("area", "tile", "down", "across"),
    [
        ((8, 6, 2, 10), None, range(2, 10), range(10, 16)),
        (None, (8, 8, 4, 8), range(4, 12), range(8, 16)),
        (None, (4, 8, 14, 12), [14, 15, 0, 1], [12, 13, 14, 15, 0, 1, 2, 3]),  # rolled over both edges
        ((8, 8, 4, 4), (4, 4, 2, 0), range(6, 10), range(4, 8)),
    ],
)
def test_a_mask_is_cut_like_the_picture(area, tile, down, across):
    masks = randn(3, 16, 16, seed=1)
    place = rows.Place((16, 16), (2, 0), area, tile)
    part = masks[:, list(down)][:, :, list(across)]
    tokens = place.tokens(masks, part.shape[-2:])
    assert torch.equal(tokens, part[[2, 0]].flatten(1).unsqueeze(-1))
    half = F.interpolate(part.unsqueeze(1), scale_factor=0.5, mode="bilinear", align_corners=False)
    size = tuple(side // 2 for side in part.shape[-2:])
    torch.testing.assert_close(place.tokens(masks, size), half[[2, 0]].flatten(2).transpose(1, 2))


def test_rows_that_an_attention_couple_repeats():
    """Two regions: conditional chunks are there twice, the unconditional one once."""
    off = rows.IdentityOff((False, False, True))
    forward = rows.in_chunks([1, 0, 0], 6, ["n", "p", "twin"], off)
    grown = forward.grown(10)
    assert grown.kinds == (1, 0, 0, 0, 0) and grown.uuids == ("n", "p", "p", "twin", "twin")
    assert grown.off.chunks == (False, False, False, True, True) and grown.places == forward.places[:1] * 5
    hidden = randn(6, 3, 4, seed=2)
    assert torch.equal(grown.spread(hidden), torch.cat([hidden[:2], *[hidden[2:4]] * 2, *[hidden[4:]] * 2]))
    with pytest.raises(ValueError, match="changes the number of rows from 6 to 9 .* leave that node"):
        forward.grown(9)


def test_where_a_tile_lies_is_read_from_the_tile():
    cut = randn(2, 4, 12, 10, seed=3)
    tiles = torch.cat([cut[1:, :, 3:9, 2:7], cut[:1, :, 6:, 5:]])
    assert tiles_of(tiles, cut, [1, 0]) == [(6, 5, 3, 2), (6, 5, 6, 5)]
    rolled = cut.roll(4, dims=-2)
    assert tiles_of(rolled[:, :, :6], cut, [0, 1]) == [(6, 10, 8, 0)] * 2
    assert tiles_of(cut.clone(), cut, [0, 1]) == [None, None]
    assert tiles_of(tiles * 1.01, cut, [1, 0]) is None


def forward_rows(cut, x, rows_in, chunks=((0, "p"), (1, "n")), pictures=2, options=None):
    """The Rows of a forward on x, cut from `cut` by another node's wrapper that took rows `rows_in`."""
    run = run_module.Run(guider(positive=[entry("p")], negative=[entry("n")]), pictures)
    run.row_map = RowMap(None)
    run.row_map.cut, run.row_map.chunks = cut, list(chunks)
    listed = {"cond_or_uncond": [number for number, _ in chunks], "uuids": [uuid for _, uuid in chunks]}
    row_map = None
    if rows_in is not None:
        row_map = torch.tensor(rows_in, dtype=torch.float32).view(-1, 1, 1)
    with run.calling([[entry("p")], [entry("n")]], cut[:pictures], options or {}):
        made = run.rows(x, {**listed, **(options or {})}, row_map)
        return made, made.places


def test_tile_batches_repeat_the_whole_batch_for_every_tile():
    pictures = randn(2, 4, 8, 16, seed=4)
    cut = torch.cat([pictures, pictures])  # conditional and unconditional
    x = torch.cat([cut[..., :10], cut[..., 6:]])
    made, places = forward_rows(cut, x, [0, 1, 2, 3] * 2)
    assert made.kinds == (0, 1, 0, 1) and made.uuids == ("p", "n") * 2 and made.size == 2
    assert [place.tile for place in places] == [(8, 10, 0, 0)] * 2 + [(8, 10, 0, 6)] * 2
    assert {place.frames for place in places} == {(0, 1)}


def test_a_batch_that_is_taken_apart_row_by_row():
    cut = torch.cat([randn(2, 4, 8, 8, seed=5)] * 2)
    made, places = forward_rows(cut, cut[3:], [3])
    assert made.kinds == (1,) and made.uuids == ("n",) and made.size == 1 and places[0].frames == (1,)
    made, places = forward_rows(cut, cut[[2, 0, 1]], [2, 0, 1])
    assert made.kinds == (1, 0, 0) and [place.frames for place in places] == [(0,), (0,), (1,)]


def test_a_node_that_cuts_and_tells_nothing_is_said(caplog):
    """It hands on tiles without what goes with the rows, or changes them."""
    cut = torch.cat([randn(2, 4, 8, 16, seed=6)] * 2)
    for tile, rows_in in ((cut[..., :10], None), (2 * cut[..., :10], [0, 1, 2, 3])):
        caplog.clear()
        made, places = forward_rows(cut, tile, rows_in)
        assert made.kinds == (0, 1) and places is None and "masks can't follow" in caplog.text
    _, places = forward_rows(cut, cut * 1.5, None)  # nothing was cut
    assert all(place.is_whole for place in places)


def test_the_pictures_of_a_context_window():
    """ComfyUI's own windows and AnimateDiff-Evolved's, of three of six pictures."""
    run = run_module.Run(guider(positive=[entry("p")]), 6)
    window = SimpleNamespace(index_list=[3, 4, 5], dim=0)
    x = torch.zeros(3, 4, 8, 8)
    for options in ({"context_window": window}, {"ad_params": {"sub_idxs": [3, 4, 5]}}):
        with run.calling([[entry("p")]], x, options) as call:
            assert call.frames == (3, 4, 5)
        with run.calling([[entry("p")]], torch.zeros(6, 4, 8, 8), options) as call:  # a window of the step before
            assert call.frames == tuple(range(6))
            forward = run.rows(x, {"cond_or_uncond": [0], "uuids": ["p"], **options})
            assert forward.size == 3 and forward.places[0].frames == (3, 4, 5)
    with run.calling([[entry("p")]], x, {"ad_params": {"sub_idxs": None}}) as call:
        assert call.frames == (0, 1, 2)


def test_rows_that_fit_no_number_of_prompts_are_refused():
    run = run_module.Run(guider(positive=[entry("p")], negative=[entry("n")]), 2)
    x = torch.zeros(2, 4, 8, 8)
    with run.calling([[entry("p")], [entry("n")]], x, {}), pytest.raises(ValueError, match="3 rows for 2 prompts"):
        run.rows(torch.zeros(3, 4, 8, 8), {"cond_or_uncond": [0, 1], "uuids": ["p", "n"]})
