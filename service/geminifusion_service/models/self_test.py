"""Does a model still answer what it answered when it was exported?

Frames from the artifact go the road of any request and their labels are compared with torch's, which the artifact
holds. Both are kept in memory: the artifact may be deleted while it is served.
"""

from __future__ import annotations

import asyncio
import logging
import zipfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactError, ArtifactMetadata, Precision
from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_runtime.model import Model
from geminifusion_runtime.options import SegmentOptions
from geminifusion_service.errors import InternalError
from geminifusion_service.models.registry import CanaryResult
from geminifusion_service.request import SegmentRequest

# Least share of equal labels, by what the runtime computes in: the exporter's own limits (a test compares them).
AGREEMENT_BUDGETS: Final[dict[Precision, float]] = {
    "float32": 0.999,
    "float16": 0.995,
    "bfloat16": 0.97,
    "int8": 0.85,
}
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


def precision_of(metadata: ArtifactMetadata, backend: str) -> Precision:
    """What a backend computes in, by its name: OpenVINO is told, an engine is as it was built, ONNX as exported."""
    for precision in AGREEMENT_BUDGETS:
        if backend.endswith(f"-{precision}"):
            return precision
    if backend.startswith("openvino"):
        return "float32"
    for entry in metadata.runtimes:
        if entry.runtime == backend:
            return entry.precision
    return metadata.precision


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
    if metadata.golden is None:
        return None
    path = directory / metadata.golden.file
    names = [spec.name for spec in metadata.modalities]
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in (*names, "labels")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path} cannot be read as golden frames ({error}); export the artifact again") from None
    labels = arrays["labels"]
    if labels.ndim != 3 or labels.dtype != np.uint8 or any(arrays[n].shape[:3] != labels.shape for n in names):
        shapes = {name: array.shape for name, array in arrays.items()}
        raise ArtifactError(f"{path} holds {shapes}, expected frames of one size; export the artifact again")
    height, width = labels.shape[1:]
    policy = metadata.size
    if height * width > policy.max_pixels or min(height, width) < policy.min_side:
        return None
    if model.backend.size_problem(height, width) is not None:
        return None
    chosen = np.unique(np.linspace(0, len(labels) - 1, min(MAX_FRAMES, len(labels))).round().astype(int))
    return CanaryFrames(
        kind="golden",
        # copies: a view would keep the whole set in memory
        frames=tuple({name: arrays[name][index].copy() for name in names} for index in chosen),
        labels=tuple(labels[index].copy() for index in chosen),
        budget=AGREEMENT_BUDGETS[precision_of(metadata, model.backend.name)],
    )


def _own_frame(metadata: ArtifactMetadata) -> Frame:
    """The same soft noise for the same metadata, at the reference size, within each modality's range."""
    rng = np.random.default_rng(0)
    height, width = metadata.size.reference
    frame: dict[str, NDArray[np.generic]] = {}
    for spec in metadata.modalities:
        low, high = (0.0, 255.0) if spec.unit == "intensity" else spec.range
        shape = (height, width, 3) if spec.channels == 3 else (height, width)
        frame[spec.name] = rng.uniform(low, high, shape).astype(spec.dtype)
    return frame
