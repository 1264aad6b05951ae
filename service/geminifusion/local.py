"""Segment in this process: the code that a server runs, without a server and without torch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_runtime.bundled import artifact_path
from geminifusion_runtime.encoding.class_shares import class_shares

from .errors import InvalidInputError, requires_extra
from .images import ImageInput, file_bytes
from .options import checked_options
from .results import Result

with requires_extra("geminifusion.load()", "runtime"):
    from geminifusion_runtime.decoding.depth import DepthImage, to_metres
    from geminifusion_runtime.decoding.images import decode_depth, decode_rgb
    from geminifusion_runtime.model import Model
    from geminifusion_runtime.preprocessing import absence_warnings

# A caller's own files need no guard against strangers; this is as much as OpenCV decodes.
_MAX_PIXELS = 2**30


class LocalModel:
    """A model in this process; call it with a pair. The labels are those a server with the same artifact gives.

    Safe to share between threads, which then share the cores.
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def metadata(self) -> ArtifactMetadata:
        """Description of the artifact: classes, modalities, limits, scores, licenses."""
        return self._model.metadata

    def __call__(
        self,
        rgb: ImageInput,
        depth: ImageInput | None = None,
        depth_scale: float | None = None,
        depth_invalid: float | Sequence[float] = (),
    ) -> Result:
        """Segment one RGB-D pair.

        Args:
            rgb: `H W 3` uint8, or path or bytes of a PNG, JPEG or WebP.
            depth: `H W`, floats in metres or uint16 counting units of `depth_scale`; or path or bytes of a
                16-bit PNG, TIFF or npy. 0, NaN, infinite and negative mean "no measurement". Left out if the model
                sees the RGB alone, or if `metadata` says that depth is optional.
            depth_scale: metres per unit of stored depth; None takes 0.001 for integers and 1 for floats.
            depth_invalid: stored values, before scaling, that mean "no measurement" too, such as 65535; at most eight.

        Raises:
            InvalidInputError: a file cannot be read, or an argument is of the wrong type or out of range.
            geminifusion_runtime.errors.GeminiFusionError: as a server responds: undecodable, too small,
                sizes that differ, 8-bit depth without a scale…
        """
        started = time.perf_counter()
        options = checked_options({"depth_scale": depth_scale, "depth_invalid": depth_invalid})
        pixels = _rgb_pixels(rgb)
        distance = None if depth is None else _depth_image(depth, options.depth_scale, options.depth_invalid)
        decoded = time.perf_counter()
        item = self._model.prepare({"rgb": pixels} if distance is None else {"rgb": pixels, "depth": distance.metres})
        prediction = self._model.run([item])[0]
        computed = time.perf_counter()
        return Result(
            labels=prediction.labels,
            classes=class_shares(prediction.labels, distance.metres if distance else None, self.metadata.classes),
            model=self.metadata.reference,
            confidence=prediction.confidence,
            gate=prediction.gate,
            timings_ms={"decode": (decoded - started) * 1e3, "compute": (computed - decoded) * 1e3},
            warnings=absence_warnings(self._model.metadata, {"rgb"} if distance is None else {"rgb", "depth"})
            + (distance.warnings if distance else ()),
            request_id=uuid4().hex,
            source=pixels,
        )


def load(path: str | Path | None = None, *, threads: int | None = None) -> LocalModel:
    """Open an artifact in this process.

    Args:
        path: its directory; None takes the bundled model.
        threads: how many the network may use; None takes the cores this process may use.

    Raises:
        geminifusion_runtime.artifact.ArtifactError: the artifact is missing, damaged, or of another release.
        ArtifactMissing: no path was given and this copy of the package has no bundled model.
    """
    return LocalModel(Model.open(artifact_path() if path is None else path, threads=threads))


def _rgb_pixels(rgb: ImageInput) -> NDArray[np.uint8]:
    if not isinstance(rgb, np.ndarray):
        return decode_rgb(file_bytes(rgb, "rgb"), max_pixels=_MAX_PIXELS)
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise InvalidInputError(f"rgb is a {rgb.dtype} array of shape {rgb.shape}; give HxWx3 uint8 in RGB order")
    return rgb


def _depth_image(depth: ImageInput, depth_scale: float | None, depth_invalid: tuple[float, ...]) -> DepthImage:
    if not isinstance(depth, np.ndarray):
        return decode_depth(
            file_bytes(depth, "depth"), max_pixels=_MAX_PIXELS, depth_scale=depth_scale, depth_invalid=depth_invalid
        )
    readings: NDArray[Any] = depth
    if readings.ndim != 2:
        raise InvalidInputError(f"depth has shape {readings.shape}; give HxW")
    return to_metres(readings, depth_scale=depth_scale, depth_invalid=depth_invalid)
