import dataclasses

import numpy as np
import pytest
import torch

from geminifusion_model.data.nyuv2 import nyuv2_task
from geminifusion_model.data.sample import Sample
from geminifusion_model.training.loop.class_balance import class_weights

TASK = dataclasses.replace(nyuv2_task(13), class_names=("a", "b", "c", "d"), palette=((0, 0, 0),) * 4)


class Frames:
    """Frames with the labels given; 4 pixels each."""

    task = TASK

    def __init__(self, *labels):
        self.labels = [np.array(values, np.uint8).reshape(2, 2) for values in labels]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        shape = self.labels[index].shape
        depth = {"depth": np.ones(shape, np.float32)}
        return Sample(str(index), np.zeros((*shape, 3), np.uint8), depth, self.labels[index])


def test_median_frequency_weights_equal_those_worked_out_by_hand():
    frames = Frames([0, 0, 0, 1], [0, 0, 2, 255], [2, 255, 255, 255])
    # of the labeled pixels in the frames that show it, a has 5 of 4 + 3, b 1 of 4, c 2 of 3 + 1: the median is c's 1/2
    expected = [(1 / 2) / (5 / 7), (1 / 2) / (1 / 4), 1.0, 1.0]
    torch.testing.assert_close(class_weights(frames, 1.0), torch.tensor(expected))


def test_power_tempers_the_weights():
    frames = Frames([0, 0, 0, 1], [0, 0, 0, 0])
    full = class_weights(frames, 1.0)
    torch.testing.assert_close(class_weights(frames, 0.5), full.sqrt())
    assert class_weights(frames, 0.0) is None


def test_only_frames_that_show_a_class_count_for_its_frequency():
    alone = class_weights(Frames([0, 0, 0, 1]), 1.0)
    among_others = class_weights(Frames([0, 0, 0, 1], [0, 0, 0, 0]), 1.0)
    # b stays a quarter of its frame, a becomes commoner
    assert alone[1] / alone[0] == pytest.approx(3)
    assert among_others[1] / among_others[0] == pytest.approx(3.5)


def test_unseen_classes_and_unlabeled_frames_change_nothing():
    labeled = Frames([0, 0, 0, 1])
    with_empty = Frames([0, 0, 0, 1], [255, 255, 255, 255])
    assert torch.equal(class_weights(labeled, 1.0), class_weights(with_empty, 1.0))
    assert class_weights(labeled, 1.0)[2:].tolist() == [1, 1]


def test_data_without_any_label_weighs_all_classes_alike():
    assert class_weights(Frames([255, 255, 255, 255]), 1.0).tolist() == [1, 1, 1, 1]
