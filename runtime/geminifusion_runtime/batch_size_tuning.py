"""Finds how many images of a size to run together: measured at warm-up, because it depends on the machine.

On an accelerator a batch of eight may take hardly longer than three single images; on a CPU, batching large images
makes each of them slower. So t(n) is measured for n = 1, 2, 4, 8…, and the smallest n is taken whose t(n)/n is within a
tenth of the best: a larger batch would delay its first image and gain next to nothing.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

from geminifusion_runtime.batch_plan import TOLERANCE, BatchPlan, BatchTiming
from geminifusion_runtime.errors import UnprocessableError
from geminifusion_runtime.model import Model
from geminifusion_runtime.tasks.base import BatchItem

LARGEST_BATCH = 32  # tried at warm-up; for a device that wants more, the operator sets the batch


def tune_batch_size(model: Model, *, most: int, most_pixels: int, budget_s: float) -> BatchPlan:
    """Measure how many images of the reference size, and of a quarter of its area, to run together.

    Two sizes, because a small image leaves a device idle that a large one fills. Measured on the first device; the
    result holds for the others.

    Args:
        model: loaded and warm.
        most, most_pixels: limits of the plan, whatever is measured.
        budget_s: seconds for all of it.

    Raises:
        RuntimeError: the runtime failed.
    """
    most = min(most, model.task.largest_batch)
    height, width = model.metadata.size.reference
    timings: dict[tuple[int, int], BatchTiming] = {}
    for size in ((height, width), (height // 2, width // 2)):
        try:
            item = model.blank_item(*size)
        except UnprocessableError:
            continue  # a quarter of the reference may be less than the model takes
        if item.shape not in timings:
            timings[item.shape] = time_batches(
                functools.partial(_run_copies, model, item),
                height=item.shape[0],
                width=item.shape[1],
                most=max(1, min(most, most_pixels // (item.shape[0] * item.shape[1]))),
                budget_s=budget_s / 2,
            )
    return BatchPlan(most=most, most_pixels=most_pixels, timings=tuple(timings.values()))


def _run_copies(model: Model, item: BatchItem, count: int) -> None:
    model.run([item] * count)


def time_batches(
    run: Callable[[int], object],
    *,
    height: int,
    width: int,
    most: int,
    budget_s: float,
    clock: Callable[[], float] = time.perf_counter,
) -> BatchTiming:
    """Time batches of 1, 2, 4… images until more do not help, or time is up.

    Stops after the first batch whose time per image is a tenth worse than the best so far, and before a batch that
    would not end within the budget. A batch of one is always measured.

    Args:
        run: runs a batch of so many images; each size is run once unmeasured, then twice, and the faster run counts.
        height, width: of the images.
        most: the largest batch to try.
        budget_s: seconds for all of it.
        clock: seconds, monotonic.
    """
    began = clock()
    batches: list[int] = []
    seconds: list[float] = []
    size = 1
    while size <= most:
        if batches:
            expected = 3 * 2 * seconds[-1]  # at worst, a batch of twice the size takes twice as long
            if clock() - began + expected > budget_s:
                break
        run(size)
        timed = []
        for _ in range(2):
            start = clock()
            run(size)
            timed.append(clock() - start)
        batches.append(size)
        seconds.append(max(min(timed), 1e-9))
        best = min(total / count for count, total in zip(batches, seconds, strict=True))
        if seconds[-1] / size > TOLERANCE * best:
            break
        size *= 2
    return BatchTiming(height=height, width=width, batches=tuple(batches), seconds=tuple(seconds))
