"""Translation by the Open Inference Protocol: files or pixels in; `file`, or `image` or `depth` as pixels out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_runtime.tasks.translation.options import MEDIA_TYPES, TRANSLATE_OPTIONS, TranslateOptions
from geminifusion_service.api.open_inference.forms import Signature, TensorForm, output_form
from geminifusion_service.api.open_inference.parameters import Parameter, task_options
from geminifusion_service.api.open_inference.tensor_batch import files_axes, stacked
from geminifusion_service.api.open_inference.tensors import BYTES, Tensor, array_tensor, bytes_tensor
from geminifusion_service.request import TaskResponse, TranslateResponse, translate_response_of

_FILE: TensorForm = ("file", BYTES, (1,))
OUTPUT_NAMES = ("file", "image", "depth")


def outputs(metadata: ArtifactMetadata, signature: Signature) -> list[TensorForm]:
    """The image as a file, or its pixels."""
    return [_FILE] if signature is Signature.ENCODED else [output_form(each) for each in metadata.outputs]


def output_names(metadata: ArtifactMetadata) -> tuple[str, ...]:
    """The file, and what the model makes."""
    return ("file", *(each.name for each in metadata.outputs))


def options(
    parameters: Mapping[str, Parameter],
    *,
    model: str,
    outputs: Sequence[str],
    milliseconds_left: float | None,
    request_id: str,
) -> TranslateOptions:
    """See `task_options`."""
    return task_options(
        TRANSLATE_OPTIONS,
        parameters,
        model=model,
        milliseconds_left=milliseconds_left,
        request_id=request_id,
        formats=tuple(MEDIA_TYPES),
        settled=lambda given: {"format": given.format if "file" in outputs else None},
    )


def tensors(responses: Sequence[TaskResponse], outputs: Sequence[str], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The requested outputs.

    Raises:
        SizeMismatchError: images of different size, whose pixels make no tensor.
    """
    found: list[TranslateResponse] = [translate_response_of(response) for response in responses]
    shape = (len(found), 1)[: files_axes(inputs)]
    return tuple(
        bytes_tensor(name, [response.file for response in found], shape)
        if name == "file"
        else array_tensor(name, stacked(name, [response.output for response in found], alone="file"))
        for name in outputs
    )
