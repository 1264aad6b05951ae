"""The self-test of a model: whether its labels are still those it had when it was exported.

Golden frames of the artifact take the path of any request, and their labels are compared with torch's, which the
artifact holds. Both are kept in memory: the artifact may be deleted while it is served.
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
from geminifusion_runtime.errors import GeminiFusionError, UnprocessableError
from geminifusion_runtime.golden_set import MIN_LABEL_AGREEMENT, read_golden_set
from geminifusion_runtime.model import Model
from geminifusion_runtime.options import SegmentOptions
from geminifusion_service.errors import InternalError
from geminifusion_service.models.registry import SelfTestResult
from geminifusion_service.request import SegmentRequest

MAX_FRAMES = 8  # of a golden set, evenly spread: more would only cost engine time and memory
TIMEOUT_S = 60.0
_log = logging.getLogger(__name__)

Frame = Mapping[str, NDArray[np.generic]]
Probe = Callable[[Model, SegmentRequest], Awaitable[NDArray[np.uint8]]]  # the labels, `H W`


@dataclass(frozen=True, kw_only=True)
class SelfTestFrames:
    """Frames by modality name, in the dtype and unit of the model, and the expected labels `H W` of each."""

    kind: Literal["golden", "self"]
    frames: tuple[Frame, ...]
    labels: tuple[NDArray[np.uint8], ...]
    budget: float  # least share of equal labels, 0…1


def self_test_frames(directory: Path, model: Model) -> SelfTestFrames:
    """The artifact's golden frames; where it has none that fit, a random frame with the model's labels of now.

    Its own labels cannot show whether a model is right, only whether it stays the same; so all of them have to agree.

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
    frame = _own_frame(model.metadata)
    return SelfTestFrames(kind="self", frames=(frame,), labels=(labels_alone(model, frame),), budget=1.0)


def labels_alone(model: Model, frame: Frame) -> NDArray[np.uint8]:
    """Run the model on a frame, without the queue and the pools; blocks. Returns the labels `H W`.

    Raises:
        RuntimeError: the runtime failed.
    """
    (prediction,) = model.run([model.prepare(frame)])
    return prediction.labels


async def run_self_test(model: Model, expected: SelfTestFrames, probe: Probe) -> SelfTestResult | None:
    """Send the frames through the serving path and compare; None if the service was too busy or is stopping."""
    equal = total = 0
    for frame, labels in zip(expected.frames, expected.labels, strict=True):
        # Golden depth may have more holes than a sensor policy allows: it is the model that is tested.
        request = SegmentRequest(images=frame, options=SegmentOptions(format=None, sensor_policy="warn"))
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
        equal += int(np.count_nonzero(labels_now == labels)) if labels_now.shape == labels.shape else 0
        total += labels.size
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


def _golden_frames(directory: Path, model: Model) -> SelfTestFrames | None:
    metadata = model.metadata
    batches = read_golden_set(directory, metadata)
    if not batches:
        return None
    first = {name: array[0] for name, array in batches[0].inputs.items()}
    try:
        shape = model.prepare(first).shape
    except UnprocessableError:
        return None
    if shape != batches[0].shape[1:]:  # reduced, so that the labels are others
        return None
    indices = np.unique(np.linspace(0, len(batches) - 1, min(MAX_FRAMES, len(batches))).round().astype(int))
    chosen = [batches[index] for index in indices]
    return SelfTestFrames(
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
