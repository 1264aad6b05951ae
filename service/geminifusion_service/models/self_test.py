"""The self-test of a model: whether its labels are still those it had when it was exported.

Golden frames of the artifact take the path of any request, and their labels are compared with torch's, which the
artifact holds. Both are kept in memory: the artifact may be deleted while it is served.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.model import Model
from geminifusion_service.errors import InternalError
from geminifusion_service.models.registry import SelfTestResult
from geminifusion_service.request import TaskRequest
from geminifusion_service.tasks.base import Frame
from geminifusion_service.tasks.registry import served_task

TIMEOUT_S = 60.0
_log = logging.getLogger(__name__)

Probe = Callable[[Model, TaskRequest], Awaitable[NDArray[np.generic]]]  # see `ServedTask.outcome`


@dataclass(frozen=True, kw_only=True)
class SelfTestFrames:
    """The parts of requests, and the expected outcome of each; see `ServedTask.outcome`."""

    kind: Literal["golden", "self"]
    frames: tuple[Frame, ...]
    labels: tuple[NDArray[np.generic], ...]
    budget: float  # least share of equal labels, 0…1


def self_test_frames(directory: Path, model: Model) -> SelfTestFrames:
    """The artifact's golden frames; where it has none that fit, a random frame with the model's labels of now.

    Its own labels cannot show whether a model is right, only whether it stays the same; so all of them have to agree.

    Raises:
        ArtifactError: the golden set cannot be read.
        RuntimeError: the runtime failed.
    """
    task = served_task(model.metadata)
    golden = task.golden(directory, model)
    if golden is not None:
        return SelfTestFrames(kind="golden", frames=golden.frames, labels=golden.outcomes, budget=golden.budget)
    _log.warning(
        "%s has no golden frames that it can be tested with: its self-test only sees whether labels change; "
        "export it again with a golden set",
        model.reference,
    )
    frame = task.own_frame(model.metadata)
    return SelfTestFrames(kind="self", frames=(frame,), labels=(labels_alone(model, frame),), budget=1.0)


def labels_alone(model: Model, frame: Frame) -> NDArray[np.generic]:
    """Run the model on a frame, without the queue and the pools; blocks. Returns the labels `H W`, or boxes.

    Raises:
        RuntimeError: the runtime failed.
    """
    return served_task(model.metadata).outcome_alone(model, frame)


async def run_self_test(model: Model, expected: SelfTestFrames, probe: Probe) -> SelfTestResult | None:
    """Send the frames through the serving path and compare; None if the service was too busy or is stopping."""
    task = served_task(model.metadata)
    equal = total = 0.0
    for frame, labels in zip(expected.frames, expected.labels, strict=True):
        request = task.test_request(frame)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                labels_now = await probe(model, request)
        except TimeoutError:
            return _result(expected, None, f"no response within {TIMEOUT_S:g} s")
        except InternalError as error:
            return _result(expected, None, f"no response ({error.code})")
        except GeminiFusionError as error:
            _log.info("the self-test of %s was postponed: %s", model.reference, error)
            return None
        agreeing, of = task.agreement(labels_now, labels)
        equal, total = equal + agreeing, total + of
    return _result(expected, equal / total)


def _result(expected: SelfTestFrames, agreement: float | None, problem: str = "") -> SelfTestResult:
    passed = agreement is not None and agreement >= expected.budget
    if agreement is not None and not passed:
        whose = "torch's" if expected.kind == "golden" else "its own when it was loaded"
        problem = (
            f"{100 * agreement:.3f} % of the labels agree with {whose}, {100 * expected.budget:g} % are expected; "
            "run_self_test the hardware and the runtime's version, and `geminifusion verify` the artifact"
        )
    return SelfTestResult(
        kind=expected.kind,
        frames=len(expected.frames),
        agreement=agreement,
        budget=expected.budget,
        passed=passed,
        problem=problem,
    )
