"""Model signatures: the inputs and outputs of a loaded model, as clients of the Open Inference Protocol see them.

Every model has two: `NAME` takes encoded images and returns an encoded mask, `NAME_raw` takes and returns pixels. They
differ in their metadata and in the outputs of a request that names none; either accepts both kinds of inputs, which are
told apart by their datatype.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from geminifusion_runtime.artifact import DetectionMetadata
from geminifusion_runtime.model import Model
from geminifusion_service.api.open_inference import detection
from geminifusion_service.api.open_inference.tensors import BYTES, DTYPES
from geminifusion_service.errors import ModelNotFoundError
from geminifusion_service.models.registry import ModelRegistry

_RAW_SUFFIX = "_raw"
_ANY = -1

# name -> datatype, and the axes after the batch's
_MASK = ("mask", BYTES, (1,))
_PLANES = (
    ("labels", "UINT8", (_ANY, _ANY)),
    ("confidence", "FP32", (_ANY, _ANY)),
    ("gate", "FP32", (_ANY, _ANY)),
)
_WEIGHTS = "modality_weights"  # of models of more than two modalities
# Outputs that a request may name; the last costs a second run, so no metadata offers it to clients that take all.
OUTPUT_NAMES = (*(name for name, _, _ in (_MASK, *_PLANES)), _WEIGHTS, "disagreement")
_TensorForm = tuple[str, str, tuple[int, ...]]


class Signature(enum.Enum):
    """Kind of the inputs and outputs in a model's metadata."""

    ENCODED = "encoded"
    RAW = "raw"


@dataclass(frozen=True, kw_only=True)
class ResolvedModel:
    """A loaded model with one of its signatures, as a request names them.

    Attributes:
        name: as the request says it.
        reference: of the model in the segmenter: `name`, or `name@version` where the request names a version.
        model: the model.
        signature: the signature.
    """

    name: str
    reference: str
    model: Model
    signature: Signature

    @property
    def default_outputs(self) -> tuple[str, ...]:
        """Outputs of a request that names none."""
        return tuple(name for name, _, _ in _outputs(self))

    @property
    def output_names(self) -> tuple[str, ...]:
        """Outputs that a request may name."""
        if is_detector(self.model):
            return detection.OUTPUT_NAMES
        return tuple(name for name in OUTPUT_NAMES if name != _WEIGHTS or _has_weights(self.model))


def resolve(models: ModelRegistry, name: str, version: str | None) -> ResolvedModel:
    """The model of a name, with or without the suffix `_raw`, and of a version or None for the current one.

    Raises:
        ModelNotFoundError: no such model; the message lists those there are.
    """
    try:
        return _resolved(models, name, name, version, Signature.ENCODED)
    except ModelNotFoundError as error:
        if not name.endswith(_RAW_SUFFIX):
            raise
        try:
            return _resolved(models, name, name.removesuffix(_RAW_SUFFIX), version, Signature.RAW)
        except ModelNotFoundError:
            raise error from None


def _resolved(models: ModelRegistry, asked: str, name: str, version: str | None, signature: Signature) -> ResolvedModel:
    # This protocol has a field for the version, so the name never contains one.
    reference = f"{name}@{version}" if version else name
    return ResolvedModel(name=asked, reference=reference, model=models.find(reference), signature=signature)


def metadata(resolved: ResolvedModel, versions: list[str]) -> dict[str, Any]:
    """Names, datatypes and shapes of inputs and outputs with the batch axis; -1 is any size."""

    def described(forms: list[_TensorForm]) -> list[dict[str, Any]]:
        return [{"name": name, "datatype": datatype, "shape": [_ANY, *axes]} for name, datatype, axes in forms]

    return {
        "name": resolved.name,
        "versions": versions,
        "platform": resolved.model.backend.name,
        "inputs": described(_inputs(resolved)),
        "outputs": described(_outputs(resolved)),
    }


def configuration(resolved: ResolvedModel, *, max_batch: int) -> dict[str, Any]:
    """The same as Triton's model configuration, where the batch axis is implied."""

    def configured(forms: list[_TensorForm]) -> list[dict[str, Any]]:
        return [{"name": name, "data_type": _config_type(kind), "dims": list(axes)} for name, kind, axes in forms]

    inputs = configured(_inputs(resolved))
    optional = {spec.name for spec in resolved.model.metadata.modalities if spec.optional}
    for entry in inputs:
        if entry["name"] in optional:
            entry["optional"] = True
    return {
        "name": resolved.name,
        "platform": resolved.model.backend.name,
        "backend": resolved.model.backend.name,
        "max_batch_size": max_batch,
        "input": inputs,
        "output": configured(_outputs(resolved)),
        "model_transaction_policy": {"decoupled": False},
    }


def is_detector(model: Model) -> bool:
    """Whether its tensors are those of detection."""
    return isinstance(model.metadata, DetectionMetadata)


def _inputs(resolved: ResolvedModel) -> list[_TensorForm]:
    if is_detector(resolved.model):
        return list(detection.INPUTS)
    specs = resolved.model.metadata.modalities
    if resolved.signature is Signature.ENCODED:
        return [(spec.name, BYTES, (1,)) for spec in specs]
    return [
        (spec.name, _datatype(spec.dtype), (_ANY, _ANY, spec.channels) if spec.channels > 1 else (_ANY, _ANY))
        for spec in specs
    ]


def _outputs(resolved: ResolvedModel) -> list[_TensorForm]:
    if is_detector(resolved.model):
        return list(detection.OUTPUTS)
    if resolved.signature is Signature.ENCODED:
        return [_MASK]
    others = len(resolved.model.metadata.modalities) - 1
    weights = [(_WEIGHTS, "FP32", (others, _ANY, _ANY))] if _has_weights(resolved.model) else []
    return [*_PLANES, *weights]


def _has_weights(model: Model) -> bool:
    return len(model.metadata.modalities) > 2


def _datatype(dtype: str) -> str:
    return next(datatype for datatype, known in DTYPES.items() if known == dtype)


def _config_type(datatype: str) -> str:
    return "TYPE_STRING" if datatype == BYTES else f"TYPE_{datatype}"
