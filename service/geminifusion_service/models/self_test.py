"""Does a model still answer what it answered when it was exported?

Frames from the artifact go the road of any request and their labels are compared with torch's, which the artifact
holds. Both are kept in memory: the artifact may be deleted while it is served.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_runtime.backends.selection import precision_of
from geminifusion_runtime.dummy_inputs import random_inputs
from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.golden_set import MIN_LABEL_AGREEMENT, read_golden_set
from geminifusion_runtime.model import Model
from geminifusion_runtime.options import SegmentOptions
from geminifusion_service.errors import InternalError
from geminifusion_service.models.registry import CanaryResult
from geminifusion_service.request import SegmentRequest

MAX_FRAMES = 8  # of a golden set, evenly spread: more would only cost engine time and memory
ANSWER_TIMEOUT_S = 60.0
_log = logging.getLogger(__name__)

Frame = Mapping[str, NDArray[np.generic]]
Probe = Callable[[Model, SegmentRequest], Awaitable[NDArray[np.uint8]]]  # the labels, `H W`


@dataclass(frozen=True, kw_only=True)
class CanaryFrames:
    """Frames by modality name, `H W 3` uint8 or `H W` in metres, and the labels `H W` expected of each."""

    kind: Literal["golden", "self"]
    frames: tuple[Frame, ...]
    labels: tuple[NDArray[np.uint8], ...]
    budget: float  # least share of equal labels, 0…1


def canary_frames(directory: Path, model: Model) -> CanaryFrames:
    """The artifact's golden frames; where it has none that fit, a frame of our own with what the model says now.

    Its own answer cannot tell whether a model is right, only whether it stays the same; so all of it has to.

    Raises:
        ArtifactError: the golden set cannot be read.
        RuntimeError: the runtime failed.
    """
    golden = _golden_frames(directory, model)
    if golden is not None:
        return golden
    _log.warning(
        "%s has no golden frames it can be checked with: its canary only sees whether answers change; "
        "export it again with a golden set",
        model.reference,
    )
    frame = _own_frame(model.metadata)
    return CanaryFrames(kind="self", frames=(frame,), labels=(answer_alone(model, frame),), budget=1.0)


def answer_alone(model: Model, frame: Frame) -> NDArray[np.uint8]:
    """The labels `H W` of a frame, past the queue and the pools; blocks.

    Raises:
        RuntimeError: the runtime failed.
    """
    others = {name: array for name, array in frame.items() if name != "rgb"}
    (answer,) = model.run([model.prepare(np.asarray(frame["rgb"], np.uint8), others)])
    return answer.labels


async def check(model: Model, expected: CanaryFrames, probe: Probe) -> CanaryResult | None:
    """Send the frames through the serving path and compare; None if the service was too busy or stopping to tell."""
    equal = total = 0
    for frame, labels in zip(expected.frames, expected.labels, strict=True):
        # Golden depth may hold more holes than a sensor policy allows: it is the model that is tested.
        request = SegmentRequest(images=frame, options=SegmentOptions(format=None, sensor_policy="warn"))
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answer = await probe(model, request)
        except TimeoutError:
            return _result(expected, None, f"no answer within {ANSWER_TIMEOUT_S:g} s")
        except InternalError as error:
            return _result(expected, None, f"no answer ({error.code})")
        except GeminiFusionError as error:
            _log.info("the canary of %s was put off: %s", model.reference, error)
            return None
        equal += int(np.count_nonzero(answer == labels)) if answer.shape == labels.shape else 0
        total += labels.size
    return _result(expected, equal / total)


def _result(expected: CanaryFrames, agreement: float | None, problem: str = "") -> CanaryResult:
    passed = agreement is not None and agreement >= expected.budget
    if agreement is not None and not passed:
        whose = "torch's" if expected.kind == "golden" else "its own when it was loaded"
        problem = (
            f"{100 * agreement:.3f} % of the labels agree with {whose}, {100 * expected.budget:g} % are expected; "
            "check the hardware and the runtime's version, and `geminifusion verify` the artifact"
        )
    return CanaryResult(
        kind=expected.kind,
        frames=len(expected.frames),
        agreement=agreement,
        budget=expected.budget,
        passed=passed,
        problem=problem,
    )


def _golden_frames(directory: Path, model: Model) -> CanaryFrames | None:
    metadata = model.metadata
    batches = read_golden_set(directory, metadata)
    if not batches:
        return None
    _, height, width = batches[0].shape
    policy = metadata.size
    if height * width > policy.max_pixels or min(height, width) < policy.min_side:
        return None
    if model.backend.size_problem(height, width) is not None:
        return None
    indices = np.unique(np.linspace(0, len(batches) - 1, min(MAX_FRAMES, len(batches))).round().astype(int))
    chosen = [batches[index] for index in indices]
    return CanaryFrames(
        kind="golden",
        # copies: a view would keep the whole set in memory
        frames=tuple({name: array[0].copy() for name, array in batch.inputs.items()} for batch in chosen),
        labels=tuple(batch.outputs.labels[0].copy() for batch in chosen),
        budget=MIN_LABEL_AGREEMENT[precision_of(metadata, model.backend.name)],
    )


def _own_frame(metadata: ArtifactMetadata) -> Frame:
    """The same noise for the same metadata, at the reference size."""
    inputs = random_inputs(metadata.modalities, (1, *metadata.size.reference))
    return {name: array[0] for name, array in inputs.items()}
