import math

import golden
import numpy as np
import pytest
import torch

from geminifusion_model import GeminiFusionConfig
from geminifusion_model.data.augment import Augmentation
from geminifusion_model.network import Prediction
from geminifusion_model.training.config import TrainingConfig
from geminifusion_model.training.errors import ConfigError
from geminifusion_model.training.loop.loss import (
    build_losses,
    ohem_cross_entropy,
    ohem_segmentation_losses,
    segmentation_losses,
)

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


def config(**changes):
    fields = {
        "network": GeminiFusionConfig(num_classes=3),
        "augmentation": Augmentation(crop=(32, 32)),
        "steps": 1,
        "batch_size": 1,
        "learning_rate": 1e-3,
    }
    return TrainingConfig(**{**fields, **changes})


def test_the_configuration_chooses_the_loss():
    logits = torch.from_numpy(EXPECTED["logits"])
    prediction = Prediction((logits, 2 * logits), logits)
    found = build_losses(config(loss="ohem"))(prediction, LABELS)
    assert found == ohem_segmentation_losses(prediction, LABELS)
    weights = torch.linspace(0.5, 2, logits.shape[1])
    found = build_losses(config(), weights)(prediction, LABELS)
    assert found == segmentation_losses(prediction, LABELS, class_weights=weights)
    assert found != build_losses(config())(prediction, LABELS)


def test_the_label_to_ignore_reaches_both_losses():
    logits = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    labels[:, :2] = 77
    prediction = Prediction((logits, logits), logits)
    lower_half_only = Prediction((logits[:, :, 2:],) * 2, logits[:, :, 2:])
    for name in ("cross_entropy", "ohem"):
        found = build_losses(config(loss=name), ignore_index=77)(prediction, labels)
        wanted = build_losses(config(loss=name))(lower_half_only, labels[:, 2:])
        torch.testing.assert_close(found, wanted)


def test_weighted_cross_entropy_equals_the_value_worked_out_by_hand():
    # one pixel of class 0 with probability 1/2, one of class 1 with 1/4: (1·ln 2 + 3·ln 4) / (1 + 3)
    logits = torch.tensor([[[[0.5, 0.75]], [[0.5, 0.25]]]]).log()
    labels = torch.tensor([[[0, 1]]])
    losses = segmentation_losses(Prediction((logits,), logits), labels, class_weights=torch.tensor([1.0, 3.0]))
    assert losses[0].item() == pytest.approx((math.log(2) + 3 * math.log(4)) / 4, rel=1e-6)


def test_class_weights_are_refused_where_pixels_are_chosen_by_hardness():
    with pytest.raises(ConfigError, match=r"class_balance is 0\.5 with loss ohem"):
        build_losses(config(loss="ohem", class_balance=0.5))


@pytest.mark.parametrize("name", ["cross_entropy", "ohem"])
def test_batch_without_any_label_gives_no_loss_and_no_gradient(name):
    logits = torch.randn(1, 3, 8, 8, requires_grad=True)
    prediction = Prediction((logits, logits), logits.detach())
    losses = build_losses(config(loss=name))(prediction, torch.full((1, 32, 32), 255))
    assert [loss.item() for loss in losses] == [0, 0, 0]
    (losses[0] + losses[1]).backward()
    assert not logits.grad.any()
