"""Segment in this process: the code that a server runs, without a server and without torch."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload
from uuid import uuid4

import numpy as np

from geminifusion_runtime.artifact import ArtifactMetadata, SegmentationMetadata, require_segmentation
from geminifusion_runtime.bundled import artifact_path
from geminifusion_runtime.encoding.class_shares import class_shares, distances
from geminifusion_runtime.option_types import modality_options
from geminifusion_runtime.options import OPTION_NAMES, SegmentOptions
from geminifusion_runtime.tasks.registry import TASKS
from geminifusion_runtime.types import SensorPolicy

from .array_inputs import plain_image
from .detection.calls import CalibrationInput, CloudInput
from .detection.results import DetectionResult
from .errors import InvalidInputError, requires_extra
from .images import ImageInput, PlainImage, check_array, file_bytes
from .options import LOCAL_OPTIONS, checked_options, split_arguments
from .results import Result
from .translation.results import TranslationResult

with requires_extra("geminifusion.load()", "runtime"):
    from geminifusion_runtime.decoding.decode import DecodedImage, decode_modality, measured_arrays
    from geminifusion_runtime.model import Model
    from geminifusion_runtime.tasks.segmentation.runtime import SegmentationTask

# A caller's own files need no guard against strangers; this is as much as OpenCV decodes.
_MAX_PIXELS = 2**30


class LocalModel:
    """A model in this process; call it with images. The labels are those a server with the same artifact gives.

    Safe to share between threads, which then share the cores.
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def metadata(self) -> ArtifactMetadata:
        """Description of the artifact: classes, modalities, limits, scores, licenses."""
        return self._model.metadata

    @functools.cached_property
    def _task(self) -> SegmentationTask:
        return SegmentationTask(require_segmentation(self.metadata))

    @overload
    def __call__(
        self,
        rgb: ImageInput | None = None,
        depth: ImageInput | None = None,
        depth_scale: float | None = None,
        depth_invalid: float | Sequence[float] = (),
    ) -> Result: ...
    @overload
    def __call__(
        self,
        rgb: ImageInput | None = None,
        depth: ImageInput | None = None,
        **others: Any,  # noqa: ANN401 - images of further modalities, and their options
    ) -> Result: ...
    def __call__(
        self,
        rgb: ImageInput | None = None,
        depth: ImageInput | None = None,
        depth_scale: float | None = None,
        depth_invalid: float | Sequence[float] = (),
        **others: Any,
    ) -> Result:
        """Segment one scene, of which there is an image by each modality of the model.

        Modalities that `metadata` says are optional may be left out, rgb included.

        Args:
            rgb: `H W 3` uint8, or path or bytes of a PNG, JPEG or WebP.
            depth: `H W`, floats in metres or uint16 counting units of `depth_scale`; or path or bytes of a
                16-bit PNG, TIFF or npy. 0, NaN, infinite and negative mean "no measurement".
            depth_scale: metres per unit of stored depth; None takes 0.001 for integers and 1 for floats.
            depth_invalid: stored values, before scaling, that mean "no measurement" too, such as 65535; at most eight.
            others: images of further modalities by name, such as `thermal="thermal.tiff"`; and their options, such as
                `lidar_scale=0.01`, `thermal_invalid=65535`, `intrinsics=(fx, fy, cx, cy)`, `align="resize"` or
                `sensor_policy="reject"`; of all options those about the images.

        Raises:
            InvalidInputError: a file cannot be read, or an argument is of the wrong type or out of range.
            geminifusion_runtime.errors.GeminiFusionError: as a server responds: undecodable, too small,
                sizes that differ, 8-bit depth without a scale…
        """
        if not isinstance(self.metadata, SegmentationMetadata):
            task = self.metadata.task
            raise InvalidInputError(f"{self.metadata.reference} is a model for {task}; call {TASKS[task].verb}()")
        started = time.perf_counter()
        inputs, given = split_arguments(rgb, depth, others)
        options = checked_options({"depth_scale": depth_scale, "depth_invalid": depth_invalid, **given})
        _check_local(given)
        came = self._decode({name: plain_image(image, name) for name, image in inputs.items()}, options)
        decoded_images = self._model.completed(options, came)
        prepared = self._task.prepare(
            options, decoded_images, self._model.sensor_policy, size_problem=self._model.backend.size_problem
        )
        arrays = measured_arrays(prepared.decoded.images)
        decoded = time.perf_counter()
        prediction = self._model.run(prepared.items)[0]
        computed = time.perf_counter()
        weights = () if prediction.modality_weights is None else prediction.modality_weights
        names = [spec.name for spec in self.metadata.modalities[1:]]
        return Result(
            labels=prediction.labels,
            classes=class_shares(
                prediction.labels,
                distances(self.metadata, arrays),
                self._task.metadata.classes,
                prepared.decoded.camera,
            ),
            model=self.metadata.reference,
            confidence=prediction.confidence,
            gate=prediction.gate,
            modality_weights=dict(sorted(zip(names, weights, strict=False))),
            timings_ms={"decode": (decoded - started) * 1e3, "compute": (computed - decoded) * 1e3},
            warnings=prepared.warnings,
            sensors=prepared.sensors,
            request_id=uuid4().hex,
            sources=arrays,
            posted=dataclasses.replace(options, intrinsics=options.intrinsics or self._task.metadata.intrinsics or ()),
            depth_m=distances(self.metadata, measured_arrays(decoded_images)),
        )

    def detect(
        self,
        rgb: ImageInput,
        points: CloudInput,
        calibration: CalibrationInput,
        *,
        min_score: float | None = None,
        sensor_policy: SensorPolicy | None = None,
    ) -> DetectionResult:
        """Detect objects in one frame, with a model for 3-D object detection.

        Args:
            rgb, points, calibration: as `Client.detect` takes them.
            min_score: boxes have to be surer than this, 0…1; None takes the model's limit.
            sensor_policy: what to do about a broken camera.

        Raises:
            InvalidInputError: a file cannot be read, an argument is out of range, or the model has another task.
            geminifusion_runtime.errors.GeminiFusionError: as a server responds.
        """
        from .detection.local import detect

        options = {"min_score": min_score, "sensor_policy": sensor_policy}
        return detect(
            self._model, rgb, points, calibration, {name: one for name, one in options.items() if one is not None}
        )

    def translate(
        self,
        rgb: ImageInput | None = None,
        depth: ImageInput | None = None,
        **others: Any,  # noqa: ANN401 - images of further inputs, and options about the images
    ) -> TranslationResult:
        """Translate one view to another domain, with a model for image translation.

        Args:
            rgb, depth, others: as `Client.translate` takes them; of the options those about the images.

        Raises:
            InvalidInputError: a file cannot be read, an argument is out of range, or the model has another task.
            geminifusion_runtime.errors.GeminiFusionError: as a server responds.
        """
        from .translation.local import translate

        return translate(self._model, {"rgb": rgb, "depth": depth, **others})

    def _decode(self, inputs: Mapping[str, PlainImage], options: SegmentOptions) -> dict[str, DecodedImage]:
        """The images as the model takes them, in its order."""
        given = self._model.accept(options, inputs)
        images = {}
        for spec in self.metadata.modalities:
            if spec.name not in given:
                continue
            image = given[spec.name]
            if isinstance(image, np.ndarray):
                check_array(image, spec.name)
            images[spec.name] = decode_modality(
                image if isinstance(image, np.ndarray) else file_bytes(image, spec.name),
                spec,
                max_pixels=_MAX_PIXELS,
                intrinsics=options.intrinsics or self._task.metadata.intrinsics,
                **modality_options(options, spec)._asdict(),
            )
        return images


def _check_local(given: Mapping[str, Any]) -> None:
    """Reject options that only a server has a use for."""
    for name in given:
        if name in OPTION_NAMES and name not in LOCAL_OPTIONS:
            raise InvalidInputError(f"{name} is an option of a server; leave it out, or ask one with Client")


def load(
    path: str | Path | None = None,
    *,
    threads: int | None = None,
    trusted_keys: str | Path | None = None,
    synthesizer: str | Path | None = None,
) -> LocalModel:
    """Open an artifact in this process.

    Args:
        path: its directory; None takes the bundled model.
        threads: how many the network may use; None takes the cores this process may use.
        trusted_keys: a file of Ed25519 public keys in PEM, one of which must have signed the artifact; None asks for no
            signature, and neither of the synthesizer.
        synthesizer: directory of a translator, which makes the modality that is missing or whose sensor seems broken;
            calls may choose another `sensor_policy`. None does without.

    Raises:
        geminifusion_runtime.artifact.ArtifactError: the artifact is missing, damaged, of another release, or not signed
            by a trusted key.
        BundledArtifactMissingError: no path was given and this copy of the package has no bundled model.
        geminifusion_runtime.synthesis.SynthesizerError: the synthesizer does not make what the model takes.
    """
    keys = None if trusted_keys is None else Path(trusted_keys)
    model = Model.open(artifact_path() if path is None else path, threads=threads, trusted_keys=keys)
    if synthesizer is not None:
        model.synthesize_with(Model.open(synthesizer, threads=threads, trusted_keys=keys))
        model.sensor_policy = "synthesize"
    return LocalModel(model)
