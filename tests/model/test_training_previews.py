import numpy as np
import pytest
import torch

from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.data.sample import Sample
from geminifusion_model.evaluation.prediction import ScoredFrame
from geminifusion_model.training.records.previews import Previews

TASK = nyuv2_task(13)


def frame(height=30, width=40):
    """RGB of one color; depth that grows from left to right behind an unmeasured edge; class 3 taken for class 5."""
    depth = np.tile(np.linspace(1.0, 5.0, width, dtype=np.float32), (height, 1))
    depth[:, :4] = 0.0
    truth = np.full((height, width), 3, np.uint8)
    truth[: height // 2] = TASK.ignore_index
    sample = Sample("one", np.full((height, width, 3), (10, 200, 30), np.uint8), {"depth": depth}, truth)
    return ScoredFrame(0, sample, truth, np.full((height, width), 5, np.uint8), torch.zeros(13, height, width))


def test_a_row_shows_rgb_depth_truth_and_prediction():
    previews = Previews(TASK)
    previews.add(frame())
    image = previews.image()
    assert (image.shape, image.dtype) == ((180, 4 * 240, 3), np.uint8)
    rgb, depth, truth, prediction = np.split(image, 4, axis=1)
    assert (rgb == (10, 200, 30)).all()
    assert (depth[:, 0] == (32, 34, 38)).all(), "nothing was measured there"
    assert (np.diff(depth[0, 24:, 0].astype(int)) >= 0).all()
    assert depth[0, 30].max() < 10
    assert depth[0, -1].min() == 255
    assert (truth[0] == (32, 34, 38)).all()
    assert (truth[-1] == TASK.palette[3]).all()
    assert (prediction == TASK.palette[5]).all()


def test_frames_of_any_size_make_rows_of_one_width_up_to_the_count():
    previews = Previews(TASK, count=2)
    for size in ((30, 40), (40, 40), (50, 40)):
        previews.add(frame(*size))
    assert previews.image().shape == (180 + 240, 4 * 240, 3)


def test_a_modality_without_a_measurement_is_shown_as_unknown():
    blank = frame()
    blank.sample.others["depth"][:] = 0.0
    previews = Previews(TASK)
    previews.add(blank)
    assert (previews.image()[:, 240:480] == (32, 34, 38)).all()


def test_preview_without_a_frame_is_refused():
    with pytest.raises(ValueError, match="no frame was added"):
        Previews(TASK).image()
