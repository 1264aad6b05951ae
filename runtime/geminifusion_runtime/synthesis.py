"""A modality that a request lacks, made from the others by a translator.

What a translator can make for a model, what of a request is to be made, and how the answer says so. Whoever runs the
model runs the translator too: `model.Model` here, the pipeline of the service in batches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactMetadata, ModalitySpec, TranslationMetadata
from geminifusion_runtime.decoding.decode import DecodedImage
from geminifusion_runtime.errors import MissingPartError, SensorBrokenError
from geminifusion_runtime.option_types import RequestOptions
from geminifusion_runtime.tasks.base import TaskRuntime

T = TypeVar("T")

SYNTHESIZED = "synthesized_modality"  # the code that the warning begins with
# Least share that the distances which the translator and the model tell apart have in common, of all that either does.
_LEAST_COMMON_RANGE = 0.5


class SynthesizerError(ValueError):
    """A translator does not make what a model takes; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What of a request is to be made: the translator's inputs by name, decoded, and why."""

    inputs: Mapping[str, NDArray[np.generic]]
    reason: str


class Synthesis:
    """What one translator does for one model; it holds nothing of any request.

    Args:
        translator: metadata of an artifact.
        model: of another one, to whose requests it adds a modality.

    Attributes:
        makes: the modality.

    Raises:
        SynthesizerError: the artifact is for another task, or its inputs, its output or its distances do not fit.
    """

    def __init__(self, translator: ArtifactMetadata, model: ArtifactMetadata) -> None:
        if not isinstance(translator, TranslationMetadata):
            raise SynthesizerError(
                f"the synthesizer {translator.reference} is for {translator.task}; give a model for image-translation"
            )
        specs = {spec.name: spec for spec in model.modalities}
        self.makes = translator.output.name
        if self.makes not in specs:
            raise SynthesizerError(
                f"the synthesizer {translator.reference} makes {self.makes}, and {model.reference} takes "
                f"{', '.join(specs)}; give one that makes what the model takes"
            )
        _check_inputs(translator, model, {name: spec for name, spec in specs.items() if name != self.makes})
        _check_output(translator, model, specs[self.makes])
        self._translator, self._model = translator, model

    def accept(
        self, task: TaskRuntime[Any, Any, Any], options: RequestOptions, parts: Mapping[str, T]
    ) -> Mapping[str, T]:
        """As `TaskRuntime.accept`, of a request whose gap the translator fills.

        Raises:
            MissingPartError, UnknownPartError, InvalidOptionError: see `TaskRuntime.accept`; and a modality is missing
                that the translator needs or does not make.
        """
        accepted = task.accept(options, parts, made=(self.makes,))
        for spec in self._model.modalities:
            if spec.name not in accepted and spec.name != self.makes:
                raise MissingPartError(
                    f"{spec.name} is missing, and {self._translator.reference} makes {self.makes} alone; send "
                    f"{spec.name}, or another sensor_policy than synthesize"
                )
        return accepted

    def gap(self, images: Mapping[str, DecodedImage]) -> Gap | None:
        """What is to be made for a request; None where nothing is missing and no sensor seems broken.

        Args:
            images: by modality name; of the model's, at most `makes` is absent.

        Raises:
            SensorBrokenError: a frame of a broken sensor that the translator does not make.
        """
        for name, image in images.items():
            if name != self.makes and image.health.problem is not None:
                raise SensorBrokenError(
                    f"{name} seems to come from a broken sensor: {image.health.problem}; "
                    f"{self._translator.reference} makes {self.makes} and not {name}: check the sensor, or send "
                    "sensor_policy=warn"
                )
        sent = images.get(self.makes)
        if sent is not None and sent.health.problem is None:
            return None
        return Gap(
            inputs={spec.name: images[spec.name].array for spec in self._translator.modalities},
            reason="none was sent" if sent is None else f"its sensor seems broken: {sent.health.problem}",
        )

    def filled(
        self, images: Mapping[str, DecodedImage], gap: Gap, made: NDArray[np.generic]
    ) -> dict[str, DecodedImage]:
        """The images with what was made among them, in the model's order, and a warning that says so.

        Args:
            images: those of `gap`.
            made: the translator's output for `gap.inputs`.
        """
        sources = " and ".join(gap.inputs)
        text = (
            f"{SYNTHESIZED}: {self.makes} was made from {sources} by {self._translator.reference}, because {gap.reason}"
        )
        sent = images.get(self.makes)
        new = DecodedImage(array=made, measured=False, warnings=(text,))
        if sent is not None:
            new = dataclasses.replace(new, health=sent.health)
        found = {**images, self.makes: new}
        return {spec.name: found[spec.name] for spec in self._model.modalities}

    def places(self, parts: Mapping[str, T]) -> Mapping[str, T]:
        """The parts, and under the name of what is to be made because it did not come, one that has its size."""
        return parts if self.makes in parts else {**parts, self.makes: parts[self._translator.modalities[0].name]}


def _check_inputs(translator: TranslationMetadata, model: ArtifactMetadata, others: Mapping[str, ModalitySpec]) -> None:
    for spec in translator.modalities:
        same = others.get(spec.name)
        if same is None:
            raise SynthesizerError(
                f"the synthesizer {translator.reference} makes {translator.output.name} from {spec.name}, which is no "
                f"other input of {model.reference}: {', '.join(others) or 'it has none'}; give one that makes it from "
                "those"
            )
        if (same.unit, same.channels) != (spec.unit, spec.channels):
            raise SynthesizerError(
                f"the synthesizer {translator.reference} takes {spec.name} as {spec.unit} of {spec.channels} channels, "
                f"and {model.reference} as {same.unit} of {same.channels}; give one for the same data"
            )


def _check_output(translator: TranslationMetadata, model: ArtifactMetadata, wanted: ModalitySpec) -> None:
    output = translator.output
    made = "metre" if output.kind == "depth" else "intensity"
    if made != wanted.unit or (made == "intensity" and wanted.channels != 3):
        raise SynthesizerError(
            f"the synthesizer {translator.reference} makes {output.name} as {made}, and {model.reference} takes "
            f"{wanted.unit} of {wanted.channels} channels; give one for the same data"
        )
    if made != "metre":
        return
    (low, high), (nearest, farthest) = output.range, wanted.range
    common = min(high, farthest) - max(low, nearest)
    if common < _LEAST_COMMON_RANGE * (max(high, farthest) - min(low, nearest)):
        raise SynthesizerError(
            f"the synthesizer {translator.reference} makes {output.name} of {low:g} to {high:g} m, and "
            f"{model.reference} tells {nearest:g} to {farthest:g} m apart; give one that was trained for such distances"
        )
