"""Segmentation by the Open Inference Protocol: files or pixels in; a mask, or the label map and its maps out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_runtime.options import SegmentOptions
from geminifusion_service.api.open_inference.forms import Signature, TensorForm, image_inputs, output_form
from geminifusion_service.api.open_inference.parameters import Parameter, options_from
from geminifusion_service.api.open_inference.tensor_batch import Images, files_axes, join_batch, split_batch
from geminifusion_service.api.open_inference.tensors import BYTES, Tensor
from geminifusion_service.request import TaskResponse, segment_response_of
from geminifusion_service.settings import LimitSettings

_MASK: TensorForm = ("mask", BYTES, (1,))
_WEIGHTS = "modality_weights"  # of models of more than two modalities
# Outputs that a request may name; the last costs a second run, so no metadata offers it to clients that take all.
OUTPUT_NAMES = ("mask", "labels", "confidence", "gate", _WEIGHTS, "disagreement")


def inputs(metadata: ArtifactMetadata, signature: Signature) -> list[TensorForm]:
    """An image of each modality."""
    return image_inputs(metadata.modalities, signature)


def outputs(metadata: ArtifactMetadata, signature: Signature) -> list[TensorForm]:
    """The mask as a file, or the outputs of the graph."""
    return [_MASK] if signature is Signature.ENCODED else [output_form(each) for each in metadata.outputs]


def output_names(metadata: ArtifactMetadata) -> tuple[str, ...]:
    """All, but the weights of a model that has no more than two modalities."""
    return tuple(name for name in OUTPUT_NAMES if name != _WEIGHTS or len(metadata.modalities) > 2)


def options(
    parameters: Mapping[str, Parameter],
    *,
    model: str,
    outputs: Sequence[str],
    milliseconds_left: float | None,
    request_id: str,
) -> SegmentOptions:
    """See `options_from`."""
    return options_from(
        parameters, model=model, outputs=outputs, milliseconds_left=milliseconds_left, request_id=request_id
    )


def items(inputs: Sequence[Tensor], limits: LimitSettings) -> Sequence[Images]:
    """See `split_batch`."""
    return split_batch(inputs, max_batch=limits.queue_size, max_pixels=limits.max_pixels)


def tensors(responses: Sequence[TaskResponse], outputs: Sequence[str], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """See `join_batch`."""
    return join_batch([segment_response_of(one) for one in responses], outputs, files_axes=files_axes(inputs))
