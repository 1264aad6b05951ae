"""What each task makes of tensors: the forms of its models, its parameters, and its requests and responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_runtime.model import Model
from geminifusion_runtime.option_types import RequestOptions
from geminifusion_runtime.task_names import DETECTION, SEGMENTATION, TRANSLATION
from geminifusion_service.api.open_inference import detection, segmentation, translation
from geminifusion_service.api.open_inference.forms import Signature, TensorForm
from geminifusion_service.api.open_inference.tensor_batch import Images
from geminifusion_service.api.open_inference.tensors import Tensor
from geminifusion_service.request import TaskResponse
from geminifusion_service.settings import LimitSettings


@dataclass(frozen=True, kw_only=True)
class TaskTensors:
    """One task in the protocol.

    Args:
        inputs, outputs: of a signature of a model, in order.
        output_names: outputs that a request to a model may name.
        options: of every item of a request; see `parameters.task_options`.
        items: the parts of each item of the inputs, within the limits.
        tensors: the outputs asked for, of the responses to a request with these inputs.
    """

    inputs: Callable[[ArtifactMetadata, Signature], list[TensorForm]]
    outputs: Callable[[ArtifactMetadata, Signature], list[TensorForm]]
    output_names: Callable[[ArtifactMetadata], tuple[str, ...]]
    options: Callable[..., RequestOptions]
    items: Callable[[Sequence[Tensor], LimitSettings], Sequence[Images]]
    tensors: Callable[[Sequence[TaskResponse], Sequence[str], Sequence[Tensor]], tuple[Tensor, ...]]


_TASKS: Mapping[str, TaskTensors] = {
    SEGMENTATION: TaskTensors(
        inputs=segmentation.inputs,
        outputs=segmentation.outputs,
        output_names=segmentation.output_names,
        options=segmentation.options,
        items=segmentation.items,
        tensors=segmentation.tensors,
    ),
    TRANSLATION: TaskTensors(
        inputs=segmentation.inputs,
        outputs=translation.outputs,
        output_names=translation.output_names,
        options=translation.options,
        items=segmentation.items,
        tensors=translation.tensors,
    ),
    DETECTION: TaskTensors(
        inputs=detection.inputs,
        outputs=detection.outputs,
        output_names=detection.output_names,
        options=detection.options,
        items=detection.items,
        tensors=detection.tensors,
    ),
}

ALL_OUTPUT_NAMES = tuple(
    dict.fromkeys((*segmentation.OUTPUT_NAMES, *translation.OUTPUT_NAMES, *detection.OUTPUT_NAMES))
)


def tensors_of(model: Model) -> TaskTensors:
    """The tensors of a model's task."""
    return _TASKS[model.metadata.task]
