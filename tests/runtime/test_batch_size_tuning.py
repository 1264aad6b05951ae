"""How many images run together, from measurements made with a clock that the engine moves."""

import pytest

from geminifusion_runtime.batch_plan import BatchPlan, BatchTiming
from geminifusion_runtime.batch_size_tuning import time_batches, tune_batch_size
from geminifusion_runtime.model import Model


class Device:
    """A batch of n takes what `seconds` says, and moves the clock."""

    def __init__(self, seconds):
        self.now = 0.0
        self.runs = []
        self._seconds = seconds

    def run(self, size):
        self.runs.append(size)
        self.now += self._seconds(size)

    def timing(self, most=32, budget_s=60.0):
        return time_batches(self.run, height=480, width=640, most=most, budget_s=budget_s, clock=lambda: self.now)


def accelerator(size):
    return 0.006 + 0.002 * size


def processor(size):
    return 0.0270 if size == 1 else 0.0276 * size


def test_an_accelerator_takes_the_smallest_batch_within_a_tenth_of_the_best():
    found = Device(accelerator).timing()
    assert found.batches == (1, 2, 4, 8, 16, 32)
    assert found.preferred == 16  # 2.375 ms an image, the best being 2.19
    assert Device(accelerator).timing(most=8).preferred == 8


def test_a_processor_takes_one_at_a_time_though_larger_batches_are_hardly_slower():
    assert Device(processor).timing().preferred == 1


def test_measuring_ends_at_the_first_batch_that_is_clearly_worse():
    device = Device(lambda size: 0.01 * size if size < 4 else 0.02 * size)
    assert device.timing().batches == (1, 2, 4)
    assert device.runs == [1, 1, 1, 2, 2, 2, 4, 4, 4]


def test_measuring_ends_in_time_and_one_image_is_always_measured():
    device = Device(lambda size: 0.1 * size)
    assert device.timing(budget_s=1.0).batches == (1, 2)
    assert device.now <= 1.0
    assert Device(lambda size: 9.0 * size).timing(budget_s=0.0).batches == (1,)


def test_the_first_run_of_a_size_does_not_count():
    seen = set()

    def compiles_first(size):
        first = size not in seen
        seen.add(size)
        return 5.0 if first else accelerator(size)

    assert Device(compiles_first).timing().preferred == 16


def measured(height, width, preferred):
    """A timing that prefers this batch."""
    batches = (1, preferred) if preferred > 1 else (1,)
    return BatchTiming(height=height, width=width, batches=batches, seconds=tuple(1.0 for _ in batches))


def test_a_measured_size_takes_its_preferred_batch():
    plan = BatchPlan(most=32, timings=(measured(480, 640, 4), measured(240, 320, 8)))
    assert plan.limit(480, 640) == 4
    assert plan.limit(240, 320) == 8


@pytest.mark.parametrize(
    ("height", "width", "limit"),
    [
        (640, 480, 4),  # as many pixels
        (960, 640, 2),  # twice as many
        (1920, 1280, 1),  # more than fill the device alone
        (120, 320, 16),  # half of the smaller measured size
        (48, 64, 32),  # hundreds would fit: the most there may be
    ],
)
def test_another_size_fills_as_many_pixels_as_the_nearest_measured_one(height, width, limit):
    plan = BatchPlan(most=32, timings=(measured(480, 640, 4), measured(240, 320, 8)))
    assert plan.limit(height, width) == limit


def test_the_pixel_bound_holds_whatever_was_measured():
    plan = BatchPlan(most=32, most_pixels=2 * 480 * 640, timings=(measured(480, 640, 8),))
    assert plan.limit(480, 640) == 2
    assert plan.limit(4800, 6400) == 1


def test_without_measurements_the_number_that_was_set_holds_for_every_size():
    assert BatchPlan(most=6).limit(1080, 1920) == 6


def test_the_table_of_the_log_shows_what_was_measured_and_chosen():
    assert Device(processor).timing(most=2).table() == "640x480: 1 in 27.0 ms, 2 in 55.2 ms -> 1"


def test_a_model_is_measured_at_its_reference_size_and_at_half_its_sides(tiny_artifact):
    model = Model.open(tiny_artifact, threads=1)
    plan = tune_batch_size(model, most=4, most_pixels=10**9, budget_s=5)
    height, width = model.metadata.size.reference
    assert {(one.height, one.width) for one in plan.timings} == {(height, width), (height // 2, width // 2)}
    assert 1 <= plan.limit(height, width) <= 4
    bounded = tune_batch_size(model, most=4, most_pixels=1, budget_s=5)
    assert bounded.limit(height, width) == 1
