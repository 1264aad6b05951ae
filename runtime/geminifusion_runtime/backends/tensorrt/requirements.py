"""What a TensorRT engine can be loaded with, and which batches it takes: everything decided before CUDA is touched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from geminifusion_runtime.artifact import ArtifactMetadata, EngineRequirements, RuntimeFile, ShapeRange, sha256_of
from geminifusion_runtime.backends.protocol import BackendError

_REBUILD = "build it again on this machine: geminifusion export ARTIFACT DESTINATION --to tensorrt"


class TensorRtError(BackendError):
    """An engine cannot be loaded or run here; the message says why and what to do."""


class Part(NamedTuple):
    """Frames `start` to `stop` of a batch, which run with one optimization profile."""

    profile: int
    start: int
    stop: int


def engine_of(metadata: ArtifactMetadata) -> tuple[RuntimeFile, EngineRequirements]:
    """The artifact's engine and what it needs.

    Raises:
        TensorRtError: it has none.
    """
    entry = next((entry for entry in metadata.runtimes if entry.runtime == "tensorrt"), None)
    if entry is None or metadata.engine is None:
        raise TensorRtError(
            f"{metadata.reference} holds no TensorRT engine; build one: "
            "geminifusion export ARTIFACT DESTINATION --to tensorrt"
        )
    return entry, metadata.engine


def require_version(engine: EngineRequirements, tensorrt_version: str) -> None:
    """Reject another TensorRT than the one that built the engine: an engine loads into exactly that release.

    Raises:
        TensorRtError: another TensorRT is installed.
    """
    if tensorrt_version != engine.tensorrt_version:
        raise TensorRtError(
            f"the engine was built with TensorRT {engine.tensorrt_version}, {tensorrt_version} is installed; install "
            f"that release or {_REBUILD}"
        )


def require_capability(engine: EngineRequirements, compute_capability: str) -> None:
    """Reject a GPU of another kind than the engine was built for.

    Args:
        compute_capability: of this machine's GPU, such as `8.9`.

    Raises:
        TensorRtError: it does not fit.
    """
    if compute_capability == engine.compute_capability:
        return
    if engine.hardware_compatibility == "ampere_plus" and _number(compute_capability) >= (8, 0):
        return
    allowed = {"ampere_plus": "8.0 or newer"}.get(engine.hardware_compatibility, f"exactly {engine.compute_capability}")
    raise TensorRtError(
        f"the engine was built for compute capability {allowed}, this GPU has {compute_capability}; {_REBUILD}"
    )


def plugin_of(directory: Path, engine: EngineRequirements) -> Path | None:
    """Path of the plugin library the engine was built with, or None if it needs none.

    Raises:
        TensorRtError: the file is missing or another one.
    """
    if engine.plugin_file is None:
        return None
    path = directory / engine.plugin_file
    if not path.is_file():
        raise TensorRtError(f"the engine needs the plugin {path}, which is missing; copy the whole artifact again")
    found = sha256_of(path)
    if found != engine.plugin_sha256:
        raise TensorRtError(
            f"{path} has SHA-256 {found[:12]}…, the engine was built with {str(engine.plugin_sha256)[:12]}…; copy the "
            f"artifact again or {_REBUILD}"
        )
    return path


def size_problem(profiles: Sequence[ShapeRange], height: int, width: int) -> str | None:
    """Why no profile takes frames of this size, one at a time; None if one does."""
    try:
        plan_parts(profiles, 1, height, width)
    except TensorRtError as error:
        return str(error)
    return None


def plan_parts(profiles: Sequence[ShapeRange], batch: int, height: int, width: int) -> tuple[Part, ...]:
    """Split a batch into as few runs as the profiles allow, in order.

    Of two profiles that take the same number of frames, the smaller one is used: it was tuned closer to them.

    Raises:
        TensorRtError: no profile takes frames of this size, naming the ranges.
    """
    parts: list[Part] = []
    start = 0
    while start < batch:
        fitting = [
            (min(batch - start, profile.maximum[0]), -_volume(profile), index)
            for index, profile in enumerate(profiles)
            if profile.minimum[1] <= height <= profile.maximum[1]
            and profile.minimum[2] <= width <= profile.maximum[2]
            and profile.minimum[0] <= batch - start
        ]
        if not fitting:
            raise TensorRtError(
                f"{batch - start} frame(s) of {height}x{width} (height x width) are outside what the engine was built "
                f"for: {describe_profiles(profiles)}; send another size, or build an engine with a wider profile"
            )
        count, _, index = max(fitting)
        parts.append(Part(index, start, start + count))
        start += count
    return tuple(parts)


def describe_profiles(profiles: Sequence[ShapeRange]) -> str:
    """The profiles in words: smallest and largest value of each axis."""
    return " or ".join(
        f"batch {low[0]} to {high[0]}, height {low[1]} to {high[1]}, width {low[2]} to {high[2]}"
        for low, high in ((profile.minimum, profile.maximum) for profile in profiles)
    )


def _volume(profile: ShapeRange) -> int:
    batch, height, width = profile.maximum
    return batch * height * width


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
