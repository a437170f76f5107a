"""The arithmetic of the cure's bench, on arrays made by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cure_bench.figures import average_precision, intersection_over_union, psnr, region_grid, table
from cure_bench.masks import REGIONS, Found, summary
from cure_bench.meters import LiveTensors, flop_counter
from facelets.world.portrait import REGIONS as DRAWN


def grid(*rows):
    return np.array([[cell == "#" for cell in row] for row in rows])


def test_intersection_over_union():
    mask, truth = grid("##..", "##.."), grid(".##.", ".##.")
    assert intersection_over_union(mask, truth) == pytest.approx(2 / 6)
    assert intersection_over_union(mask, mask) == 1
    assert intersection_over_union(mask, ~mask) == 0
    assert intersection_over_union(mask & ~mask, truth & ~truth) == 1


def test_average_precision():
    truth = np.array([True, False, True, False])
    assert average_precision(np.array([0.9, 0.2, 0.8, 0.1]), truth) == 1
    # the first hit comes at once, the second is third in the order
    assert average_precision(np.array([0.9, 0.8, 0.7, 0.1]), truth) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision(np.array([0.1, 0.9, 0.2, 0.8]), truth) == pytest.approx(0.5 * 1 / 3 + 0.5 * 2 / 4)


def test_average_precision_of_equal_scores_is_the_share_whatever_the_order():
    truth = np.array([True, True, False, False, False])
    assert average_precision(np.zeros(5), truth) == pytest.approx(0.4)
    scores = np.array([1.0, 0.5, 0.5, 0.5, 0.0])
    assert average_precision(scores, truth) == average_precision(scores, truth[[0, 3, 2, 1, 4]])
    assert average_precision(scores, truth) == pytest.approx(0.5 * 1 + 0.5 * 2 / 4)


def test_average_precision_takes_grids():
    truth = grid("#.", ".#")
    assert average_precision(truth.astype(float), truth) == 1


def test_psnr():
    one = np.zeros((2, 2))
    assert psnr(one, one + 0.1, 1.0) == pytest.approx(20)
    assert psnr(one, one + 0.1, 10.0) == pytest.approx(40)
    assert psnr(torch.zeros(4), torch.tensor([0.2, 0.0, 0.0, 0.0]), 1.0) == pytest.approx(20)
    assert psnr(one, one, 1.0) == float("inf")


def test_a_cell_is_of_a_region_from_its_share_on():
    region = np.zeros((16, 16), bool)
    region[:2, :8] = True  # 16 of 64 pixels of the first cell
    region[8:, 8:11] = True  # 24 of 64 of the last
    assert region_grid(region).tolist() == [[False, False], [False, True]]
    assert region_grid(region, share=0.25).tolist() == [[True, False], [False, True]]
    assert region_grid(region, cell=4, share=1.0).sum() == 0


def test_every_category_has_a_region_that_is_drawn():
    assert set(REGIONS.values()) <= set(DRAWN)


def test_a_summary_is_the_mean_of_cases():
    truth = grid("##..")
    sharp = Found("drawing", "freecure", "hair", np.array([[0.9, 0.8, 0.1, 0.0]]), truth)
    faint = Found("drawing", "freecure", "hair", np.array([[0.4, 0.35, 0.3, 0.0]]), truth)
    assert summary([sharp, faint]) == {"IoU": 0.5, "precision": 1, "share": 0.5, "cases": 2}


def test_tables():
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


@pytest.mark.parametrize("mask", [None, torch.zeros(1, 1, 1, 7)])
def test_the_counter_knows_attention(mask):
    """2 rows, 4 heads of 8 channels, 5 queries, 7 keys: two products of 2 * 5 * 7 * 8 operations each."""
    query, key = torch.zeros(2, 4, 5, 8), torch.zeros(2, 4, 7, 8)
    with torch.inference_mode(), flop_counter() as counter:
        F.scaled_dot_product_attention(query, key, key, attn_mask=mask)
        F.linear(query, torch.zeros(3, 8))
    assert counter.get_total_flops() == 2 * 4 * 2 * (2 * 5 * 7 * 8) + 2 * 4 * 5 * (2 * 8 * 3)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_live_tensors(mode):
    weight = torch.ones(5000)

    def work():
        first = weight[:1000].exp()
        second = torch.ones(2000)
        kept = first[:1]  # a view keeps the whole of it
        del first
        third = second + weight[0]
        second.mul_(2)
        del kept
        return third

    with mode(), LiveTensors() as memory:
        work()
        peak = memory.peak
        torch.ones(10)
    assert peak == memory.peak == 4 * (1000 + 2000 + 2000)


def test_tensors_that_only_a_module_keeps_are_live():
    """Python's own view of a storage may come and go while the tensor stays."""
    cell = torch.nn.Module()
    with torch.inference_mode(), LiveTensors() as memory:
        for _ in range(3):
            cell.register_buffer("kept", torch.ones(1000).view(10, 100))
        other = [cell.kept.clone() for _ in range(2)]
        del other
        torch.ones(500)
    assert memory.peak == 4 * 3000
