"""How a loaded model looks to clients of the Open Inference Protocol.

Every model has two faces: `NAME` takes encoded images and answers an encoded mask, `NAME_raw` takes and answers pixels.
They differ in what their metadata says and in what is answered when a request names no outputs; either takes both kinds
of inputs, told apart by their datatype.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from geminifusion_runtime.model import Model
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
# What may be asked for by name; the last costs a second run, so no metadata offers it to clients that take everything.
OUTPUT_NAMES = (*(name for name, _, _ in (_MASK, *_PLANES)), "disagreement")
_TensorForm = tuple[str, str, tuple[int, ...]]


class Face(enum.Enum):
    """What a model's metadata describes."""

    ENCODED = "encoded"
    RAW = "raw"

    @property
    def default_outputs(self) -> tuple[str, ...]:
        """What is answered when a request names nothing."""
        return tuple(name for name, _, _ in _outputs(self))


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a client's model name and version mean: one loaded model and one face of it."""

    name: str  # as the client says it
    reference: str  # what the segmenter is asked for: `name`, or `name@version` where a version was asked for
    model: Model
    face: Face


def resolve(models: ModelRegistry, name: str, version: str | None) -> Target:
    """What is meant by a model's name, with or without the suffix `_raw`, and a version or none for the current one.

    Raises:
        ModelNotFoundError: no such model, listing what there is.
    """
    try:
        return _target(models, name, name, version, Face.ENCODED)
    except ModelNotFoundError as error:
        if not name.endswith(_RAW_SUFFIX):
            raise
        try:
            return _target(models, name, name.removesuffix(_RAW_SUFFIX), version, Face.RAW)
        except ModelNotFoundError:
            raise error from None


def _target(models: ModelRegistry, asked: str, name: str, version: str | None, face: Face) -> Target:
    # The version of a protocol's client is never part of the name.
    reference = f"{name}@{version}" if version else name
    return Target(name=asked, reference=reference, model=models.find(reference), face=face)


def metadata(target: Target, versions: list[str]) -> dict[str, Any]:
    """Names, datatypes and shapes of what goes in and out, with the batch axis; -1 is any size."""

    def described(forms: list[_TensorForm]) -> list[dict[str, Any]]:
        return [{"name": name, "datatype": datatype, "shape": [_ANY, *axes]} for name, datatype, axes in forms]

    return {
        "name": target.name,
        "versions": versions,
        "platform": target.model.backend.name,
        "inputs": described(_inputs(target)),
        "outputs": described(_outputs(target.face)),
    }


def configuration(target: Target, *, max_batch: int) -> dict[str, Any]:
    """The same in the words of Triton's model configuration, where the batch axis is implied."""

    def configured(forms: list[_TensorForm]) -> list[dict[str, Any]]:
        return [{"name": name, "data_type": _config_type(kind), "dims": list(axes)} for name, kind, axes in forms]

    inputs = configured(_inputs(target))
    for entry, spec in zip(inputs, target.model.metadata.modalities, strict=True):
        if spec.optional:
            entry["optional"] = True
    return {
        "name": target.name,
        "platform": target.model.backend.name,
        "backend": target.model.backend.name,
        "max_batch_size": max_batch,
        "input": inputs,
        "output": configured(_outputs(target.face)),
        "model_transaction_policy": {"decoupled": False},
    }


def _inputs(target: Target) -> list[_TensorForm]:
    specs = target.model.metadata.modalities
    if target.face is Face.ENCODED:
        return [(spec.name, BYTES, (1,)) for spec in specs]
    return [
        (spec.name, _datatype(spec.dtype), (_ANY, _ANY, spec.channels) if spec.channels > 1 else (_ANY, _ANY))
        for spec in specs
    ]


def _outputs(face: Face) -> list[_TensorForm]:
    return [_MASK] if face is Face.ENCODED else list(_PLANES)


def _datatype(dtype: str) -> str:
    return next(datatype for datatype, known in DTYPES.items() if known == dtype)


def _config_type(datatype: str) -> str:
    return "TYPE_STRING" if datatype == BYTES else f"TYPE_{datatype}"
