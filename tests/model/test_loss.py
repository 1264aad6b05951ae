import golden
import numpy as np
import pytest
import torch

from geminifusion_model.network import Prediction
from geminifusion_model.training.loss import ohem_cross_entropy, ohem_segmentation_losses, segmentation_losses

EXPECTED = np.load(golden.FOLDER / "deliver_loss_metrics.npz")
LABELS = torch.from_numpy(EXPECTED["target"].astype(np.int64))


@pytest.mark.parametrize(("logits", "loss"), [("logits", "ohem"), ("easy_logits", "ohem_easy")])
def test_hard_pixel_loss_equals_the_originals_on_hard_and_easy_frames(logits, loss):
    found = ohem_cross_entropy(torch.from_numpy(EXPECTED[logits]), LABELS)
    assert found.item() == pytest.approx(float(EXPECTED[loss]), rel=1e-5)


def test_every_output_has_a_loss_at_the_size_of_the_labels():
    logits = torch.from_numpy(EXPECTED["logits"])
    small = torch.nn.functional.interpolate(logits, scale_factor=0.5, mode="bilinear")
    prediction = Prediction((small, 2 * small), small)
    losses = ohem_segmentation_losses(prediction, LABELS)
    assert len(losses) == len(segmentation_losses(prediction, LABELS)) == 3
    assert losses[0] == losses[2] != losses[1]


def test_only_hard_pixels_get_a_gradient():
    logits = torch.zeros(1, 2, 1, 4)
    logits[0, 0] = torch.tensor([5.0, 5.0, 0.0, -1.0])
    logits.requires_grad_(True)
    ohem_cross_entropy(logits, torch.zeros(1, 1, 4, dtype=torch.int64)).backward()
    touched = logits.grad[0, 0, 0] != 0
    assert touched.tolist() == [False, False, True, True]


def test_crop_without_a_label_costs_nothing():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = ohem_cross_entropy(logits, torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()
