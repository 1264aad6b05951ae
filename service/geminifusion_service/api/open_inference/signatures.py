"""Model signatures: the inputs and outputs of a loaded model, as clients of the Open Inference Protocol see them.

Every model has two: `NAME` takes encoded images and returns an encoded mask, `NAME_raw` takes and returns pixels. They
differ in their metadata and in the outputs of a request that names none; either accepts both kinds of inputs, which are
told apart by their datatype.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from geminifusion_runtime.model import Model
from geminifusion_service.api.open_inference.forms import ANY, Signature, TensorForm
from geminifusion_service.api.open_inference.task_tensors import TaskTensors, tensors_of
from geminifusion_service.api.open_inference.tensors import BYTES
from geminifusion_service.errors import ModelNotFoundError
from geminifusion_service.models.registry import ModelRegistry

_RAW_SUFFIX = "_raw"


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
    def tensors(self) -> TaskTensors:
        """Those of its task."""
        return tensors_of(self.model)

    @property
    def inputs(self) -> list[TensorForm]:
        """The inputs of the signature."""
        return self.tensors.inputs(self.model.metadata, self.signature)

    @property
    def outputs(self) -> list[TensorForm]:
        """The outputs of the signature."""
        return self.tensors.outputs(self.model.metadata, self.signature)

    @property
    def default_outputs(self) -> tuple[str, ...]:
        """Outputs of a request that names none."""
        return tuple(name for name, _, _ in self.outputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Outputs that a request may name."""
        return self.tensors.output_names(self.model.metadata)


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

    def described(forms: list[TensorForm]) -> list[dict[str, Any]]:
        return [{"name": name, "datatype": datatype, "shape": [ANY, *axes]} for name, datatype, axes in forms]

    return {
        "name": resolved.name,
        "versions": versions,
        "platform": resolved.model.backend.name,
        "inputs": described(resolved.inputs),
        "outputs": described(resolved.outputs),
    }


def configuration(resolved: ResolvedModel, *, max_batch: int) -> dict[str, Any]:
    """The same as Triton's model configuration, where the batch axis is implied."""

    def configured(forms: list[TensorForm]) -> list[dict[str, Any]]:
        return [{"name": name, "data_type": _config_type(kind), "dims": list(axes)} for name, kind, axes in forms]

    inputs = configured(resolved.inputs)
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
        "output": configured(resolved.outputs),
        "model_transaction_policy": {"decoupled": False},
    }


def _config_type(datatype: str) -> str:
    return "TYPE_STRING" if datatype == BYTES else f"TYPE_{datatype}"
