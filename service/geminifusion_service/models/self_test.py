"""The self-test of a model: whether its outputs are still those it had when it was exported.

Golden frames of the artifact take the path of any request, and what comes of them is compared with torch's outputs,
which the artifact holds. Both are kept in memory: the artifact may be deleted while it is served.
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

from geminifusion_runtime.backends.selection import precision_of
from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.model import Model
from geminifusion_runtime.tasks.base import Frame
from geminifusion_service.errors import InternalError
from geminifusion_service.models.registry import SelfTestResult
from geminifusion_service.request import TaskRequest

MAX_FRAMES = 8  # of a golden set, evenly spread: more would only cost engine time and memory
TIMEOUT_S = 60.0
_log = logging.getLogger(__name__)

Probe = Callable[[Model, TaskRequest], Awaitable[NDArray[np.generic]]]  # what the task observes of the response


@dataclass(frozen=True, kw_only=True)
class SelfTestFrames:
    """Frames by modality name, in the dtype and unit of the model, and what is expected of each."""

    kind: Literal["golden", "self"]
    frames: tuple[Frame, ...]
    expected: tuple[NDArray[np.generic], ...]
    budget: float  # least share that agrees, 0…1


def self_test_frames(directory: Path, model: Model) -> SelfTestFrames:
    """The artifact's golden frames; where it has none that fit, a random frame with the model's outputs of now.

    Its own outputs cannot show whether a model is right, only whether it stays the same; so all of them have to agree.

    Raises:
        ArtifactError: the golden set cannot be read.
        RuntimeError: the runtime failed.
    """
    golden = _golden_frames(directory, model)
    if golden is not None:
        return golden
    _log.warning(
        "%s has no golden frames that it can be tested with: its self-test only sees whether labels change; "
        "export it again with a golden set",
        model.reference,
    )
    frame = model.task.own_frame()
    return SelfTestFrames(kind="self", frames=(frame,), expected=(observed_alone(model, frame),), budget=1.0)


def observed_alone(model: Model, frame: Frame) -> NDArray[np.generic]:
    """Run the model on a frame, without the queue and the pools; blocks. Returns what is compared of its prediction.

    Raises:
        RuntimeError: the runtime failed.
    """
    (prediction,) = model.run([model.prepare(frame)])
    return model.task.observed(prediction)


async def run_self_test(model: Model, expected: SelfTestFrames, probe: Probe) -> SelfTestResult | None:
    """Send the frames through the serving path and compare; None if the service was too busy or is stopping."""
    task = model.task
    equal = total = 0
    for frame, wanted in zip(expected.frames, expected.expected, strict=True):
        # Golden depth may have more holes than a sensor policy allows: it is the model that is tested.
        request = TaskRequest(parts=frame, options=task.self_test_options())
        try:
            async with asyncio.timeout(TIMEOUT_S):
                observed = await probe(model, request)
        except TimeoutError:
            return _result(expected, task.compared, None, f"no response within {TIMEOUT_S:g} s")
        except InternalError as error:
            return _result(expected, task.compared, None, f"no response ({error.code})")
        except GeminiFusionError as error:
            _log.info("the self-test of %s was postponed: %s", model.reference, error)
            return None
        agreeing, size = task.agreeing(observed, wanted)
        equal, total = equal + agreeing, total + size
    return _result(expected, task.compared, equal / total)


def self_test_alone(model: Model, expected: SelfTestFrames) -> SelfTestResult:
    """Compare without the serving path, of a model that is no part of it; blocks.

    Raises:
        RuntimeError: the runtime failed.
    """
    counts = [
        model.task.agreeing(observed_alone(model, frame), wanted)
        for frame, wanted in zip(expected.frames, expected.expected, strict=True)
    ]
    equal, total = (sum(each) for each in zip(*counts, strict=True))
    return _result(expected, model.task.compared, equal / total)


def _result(expected: SelfTestFrames, compared: str, agreement: float | None, problem: str = "") -> SelfTestResult:
    passed = agreement is not None and agreement >= expected.budget
    if agreement is not None and not passed:
        whose = "torch's" if expected.kind == "golden" else "its own when it was loaded"
        problem = (
            f"{100 * agreement:.3f} % of the {compared} agree with {whose}, {100 * expected.budget:g} % are expected; "
            "check the hardware and the runtime's version, and `geminifusion verify` the artifact"
        )
    return SelfTestResult(
        kind=expected.kind,
        frames=len(expected.frames),
        agreement=agreement,
        budget=expected.budget,
        passed=passed,
        problem=problem,
    )


def _golden_frames(directory: Path, model: Model) -> SelfTestFrames | None:
    golden = model.task.golden_frames(directory, size_problem=model.backend.size_problem)
    if not golden:
        return None
    indices = np.unique(np.linspace(0, len(golden) - 1, min(MAX_FRAMES, len(golden))).round().astype(int))
    chosen = [golden[index] for index in indices]
    return SelfTestFrames(
        kind="golden",
        # copies: a view would keep the whole set in memory
        frames=tuple({name: array.copy() for name, array in frame.parts.items()} for frame in chosen),
        expected=tuple(frame.expected.copy() for frame in chosen),
        budget=model.task.min_agreement(precision_of(model.metadata, model.backend.name)),
    )
