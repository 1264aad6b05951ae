"""Forms of tensors: what a signature of a model takes and gives, whatever its task."""

from __future__ import annotations

import enum

from geminifusion_runtime.artifact import ModalitySpec, OutputTensor
from geminifusion_service.api.open_inference.tensors import BYTES, DTYPES

ANY = -1
TensorForm = tuple[str, str, tuple[int, ...]]  # name, datatype, and the axes after the batch's


class Signature(enum.Enum):
    """Kind of the inputs and outputs in a model's metadata."""

    ENCODED = "encoded"
    RAW = "raw"


def image_inputs(specs: tuple[ModalitySpec, ...], signature: Signature) -> list[TensorForm]:
    """An image of each modality: an encoded file, or pixels."""
    if signature is Signature.ENCODED:
        return [(spec.name, BYTES, (1,)) for spec in specs]
    return [
        (spec.name, datatype_of(spec.dtype), (ANY, ANY, spec.channels) if spec.channels > 1 else (ANY, ANY))
        for spec in specs
    ]


def output_form(output: OutputTensor) -> TensorForm:
    """An output of the graph as it is answered."""
    axes = (ANY, ANY) if output.channels is None else (ANY, ANY, output.channels)
    if output.channels_first and output.channels is not None:
        axes = (output.channels, ANY, ANY)
    return output.name, datatype_of(output.dtype), axes


def datatype_of(dtype: str) -> str:
    """The protocol's name of a type of numpy's."""
    return next(datatype for datatype, known in DTYPES.items() if known == dtype)
