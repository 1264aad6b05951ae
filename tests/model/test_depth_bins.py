import numpy as np
import pytest
import torch

from geminifusion_model.data.sample import Sample
from geminifusion_model.evaluation.depth_bins import DepthBins
from geminifusion_model.evaluation.prediction import ScoredFrame


def scored(depth, truth, labels):
    depth, truth, labels = np.float32([depth]), np.uint8([truth]), np.uint8([labels])
    others = {"depth": depth} if depth.size else {}
    return ScoredFrame(
        0, Sample("a", np.zeros((*truth.shape, 3), np.uint8), others, truth), truth, labels, torch.zeros(2, 1, 6)
    )


def test_every_pixel_is_scored_in_the_bin_of_its_depth():
    bins = DepthBins(2, (1.0, 3.0))
    bins.add(scored([0.5, 1.0, 2.9, 3.0, 0.0, np.nan], [0, 0, 1, 1, 0, 1], [0, 0, 0, 1, 0, 0]))
    rows = {row.name: row for row in bins.rows()}
    assert list(rows) == ["below 1 m", "1 to 3 m", "3 m and beyond", "not measured"]
    assert rows["below 1 m"].miou == rows["3 m and beyond"].miou == 100
    assert rows["1 to 3 m"].miou == pytest.approx((50 + 0) / 2)
    assert rows["not measured"].miou == pytest.approx(25)
    assert [row.share for row in rows.values()] == pytest.approx([100 / 6, 100 / 3, 100 / 6, 100 / 3])


def test_unlabeled_pixels_and_empty_bins_do_not_count():
    bins = DepthBins(2, (1.0, 3.0))
    bins.add(scored([0.5, 0.5, 0.5, 2.0, 2.0, np.inf], [0, 0, 0, 255, 255, 255], [0, 0, 0, 0, 0, 0]))
    near, middle, *_ = bins.rows()
    assert (near.share, near.miou) == (100, 100)
    assert middle.share == 0
    assert np.isnan(middle.miou)


def test_frames_without_depth_and_falling_edges_are_refused():
    with pytest.raises(ValueError, match="frame a has no depth"):
        DepthBins(2).add(scored([], [0] * 6, [0] * 6))
    with pytest.raises(ValueError, match="rising order"):
        DepthBins(2, (3.0, 1.0))
