"""From a trained network to `model.onnx`: sensor data in, label map out, every size dynamic.

Inputs are the task's modalities by name, as their `ModalitySpec` describes them: `rgb` uint8 `B H W 3`, `depth` float32
metres `B H W` (0 or NaN: no measurement), … Outputs are `labels` uint8 `B H W`, `confidence` float32 `B H/4 W/4`
(probability of the winning class), `gate` float32 `B H/4 W/4` (attention of the RGB stream to the other modality, 0…1),
and with N > 2 modalities `modality_weights` float32 `B N-1 H/4 W/4` (share of each modality beside the first in their
merge). H/4 and W/4 are rounded up. A network of RGB alone attends to nothing else, so its gate is 0 everywhere.

The input policy is part of the graph: it resizes what comes to the size that the network was trained for, and enlarges
the logits straight to the size that came.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_export.build_traces import remove_build_traces
from geminifusion_export.chaining import chain
from geminifusion_export.errors import ExportError
from geminifusion_export.fusion_node import attach_function, translation
from geminifusion_export.storage import save_model
from geminifusion_model.data.sample import Sample
from geminifusion_model.encoding import network_inputs
from geminifusion_model.inference_form import InferenceForm
from geminifusion_model.network import GeminiFusion
from geminifusion_model.task import ModalityEncoding, Task
from geminifusion_runtime.artifact import Encoding, ModalitySpec, OutputTensor, Unit, segmentation_outputs
from geminifusion_runtime.backends.protocol import BatchShape
from geminifusion_runtime.dummy_inputs import random_inputs

OPSET = 20
TRACED_SHAPE: BatchShape = (2, 96, 128)  # a batch of 1 would be taken for a constant
_INVALID: dict[str, tuple[float | None, ...]] = {"metre": (0.0, None), "count": (None,)}


class SegmentationGraph(nn.Module):
    """The inference form with the task's encodings before it and the label map after it.

    Args:
        temperature: fitted on held-out frames (arXiv:1706.04599); divides the logits before the confidence is taken and
            changes no label.

    Raises:
        ExportError: network and task have other modalities or classes.
        ValueError: the temperature is not positive.
    """

    def __init__(self, net: GeminiFusion, task: Task, temperature: float = 1.0) -> None:
        super().__init__()
        names = tuple(modality.name for modality in task.modalities)
        if names != net.config.modalities:
            raise ExportError(f"the task's modalities are {names}, the network's {net.config.modalities}")
        if len(task.class_names) != net.config.num_classes:
            raise ExportError(f"the task has {len(task.class_names)} classes, the network {net.config.num_classes}")
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}; expected a positive number")
        self.task = task
        self.temperature = temperature
        self.encode = _Encode(task)
        self.network = InferenceForm(net)
        self.answer = _Answer(task, temperature)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs, in the order of `forward`."""
        return tuple(each.name for each in segmentation_outputs(len(self.task.modalities)))

    @property
    def resizes(self) -> bool:
        """Whether the network sees other sizes than those that come."""
        return self.answer.resizes

    def forward(self, *modalities: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs from raw modalities in the task's order; see the module's docstring."""
        logits, gate, weights = self.network(*self.encode(*modalities))
        results = (logits, gate) if weights is None else (logits, gate, weights)
        return self.answer(modalities[0], *results)


class _Encode(nn.Module):
    """Raw modalities to what the network sees."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, *modalities: Tensor) -> tuple[Tensor, ...]:
        return network_inputs(modalities, self.task)


class _Network(nn.Module):
    """The inference form without the output that a network of two modalities does not have."""

    def __init__(self, network: InferenceForm) -> None:
        super().__init__()
        self.network = network

    def forward(self, *encoded: Tensor) -> tuple[Tensor, ...]:
        return tuple(each for each in self.network(*encoded) if each is not None)


class _Answer(nn.Module):
    """The network's results to the graph's outputs, at the size of the first raw modality."""

    def __init__(self, task: Task, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.label_upsampling = task.label_upsampling
        self.resizes = task.input_scale != 1.0 or task.input_policy.shorter_side is not None

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        first, logits, gate, *weights = tensors
        height, width = first.shape[1:3]
        tempered = logits if self.temperature == 1.0 else logits / self.temperature
        maps = [tempered.softmax(1).amax(1, keepdim=True), gate.unsqueeze(1), *weights]
        if self.resizes:
            quarter = ((height + 3) // 4, (width + 3) // 4)
            maps = [F.interpolate(one, size=quarter, mode="bilinear", align_corners=False) for one in maps]
        confidence, gate, *rest = maps
        full = F.interpolate(logits, size=(height, width), mode=self.label_upsampling, align_corners=False)
        return full.argmax(1).to(torch.uint8), confidence.squeeze(1), gate.squeeze(1), *rest


def modality_spec(encoding: ModalityEncoding, *, optional: bool = False) -> ModalitySpec:
    """One graph input, as the artifact's metadata describes it.

    Args:
        optional: training has seen frames without it.

    Raises:
        ExportError: no service could decode measurements of this encoding and unit.
    """
    unit, (low, high) = encoding.unit, encoding.range
    if encoding.encoding == "raw" and unit == "intensity" and high > 1.0:  # 16-bit files, as older checkpoints say it
        unit, low, high = "count", 255.0 * low, 255.0 * high
    try:
        return ModalitySpec(
            name=encoding.name,
            dtype="uint8" if unit == "intensity" else "float32",
            channels=cast(Literal[1, 3], encoding.channels),
            unit=cast(Unit, unit),
            encoding=cast(Encoding, encoding.encoding),
            range=(low, high),
            invalid=_INVALID.get(unit, ()),
            mean=encoding.mean,
            std=encoding.std,
            optional=optional,
            metres_per_unit=encoding.metres_per_unit,
        )
    except ValidationError as error:
        problems = "; ".join(entry["msg"].removeprefix("Value error, ") for entry in error.errors())
        raise ExportError(f"{encoding.name} cannot be served as the task describes it: {problems}") from None


def frame_inputs(sample: Sample, task: Task) -> dict[str, NDArray[np.generic]]:
    """A frame of a data set as the graph takes it, as a batch of one by graph input name.

    Raises:
        ExportError: it lacks one of the task's modalities.
    """
    arrays: dict[str, NDArray[np.generic]] = {"rgb": sample.rgb, **sample.others}
    if missing := [modality.name for modality in task.modalities if modality.name not in arrays]:
        raise ExportError(
            f"frame {sample.name} has {', '.join(arrays)}, the network also takes {', '.join(missing)}; "
            "give the data set with all the modalities it was trained on"
        )
    return {
        modality.name: _as_input(arrays[modality.name], np.dtype(modality_spec(modality).dtype))[np.newaxis]
        for modality in task.modalities
    }


def _as_input(values: NDArray[np.generic], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Measurements, which data sets give as floats, in the type of a graph input; fractions are rounded for uint8."""
    if values.dtype == dtype:
        return values
    return np.rint(values).clip(0, 255).astype(dtype) if dtype == np.uint8 else values.astype(dtype)


def random_batch(task: Task, shape: BatchShape, seed: int = 0) -> dict[str, NDArray[np.generic]]:
    """Random raw modalities of a task by graph input name; see `random_inputs`."""
    return random_inputs([modality_spec(modality) for modality in task.modalities], shape, seed)


def example_inputs(task: Task, batch: int, height: int, width: int, seed: int = 0) -> tuple[Tensor, ...]:
    """`random_batch` as tensors in the task's order, which `SegmentationGraph` is called with."""
    return tuple(torch.from_numpy(array) for array in random_batch(task, (batch, height, width), seed).values())


def export_onnx(graph: SegmentationGraph, path: Path) -> onnx.ModelProto:
    """Trace `graph`, attach the fusion's function, check the model and write it.

    Raises:
        ExportError: the exporter or the checker rejects the graph, or a size was traced as a constant.
    """
    model = _trace_in_parts(graph) if graph.resizes else _trace_whole(graph)
    save_traced(
        model,
        path,
        outputs=segmentation_outputs(len(graph.task.modalities)),
        has_fusion_nodes=graph.network.config.fusion == "geminifusion",
    )
    return model


def save_traced(model: onnx.ModelProto, path: Path, *, outputs: Sequence[OutputTensor], has_fusion_nodes: bool) -> None:
    """Name the axes of a traced graph, attach the fusion's function, write the file and check it.

    Args:
        outputs: of the graph.
        has_fusion_nodes: the network fuses by `PixelwiseFusion`.

    Raises:
        ExportError: the checker rejects the graph, or a size was traced as a constant.
    """
    _name_axes(model, outputs)
    used = attach_function(model)
    if used == 0 and has_fusion_nodes:
        raise ExportError("the exported graph holds no PixelwiseFusion node; the exporter decomposed the op")
    remove_build_traces(model)
    save_model(model, path)
    onnx.checker.check_model(path, full_check=True)  # by its path, which may name weights in a file of their own


def _trace_whole(graph: SegmentationGraph) -> onnx.ModelProto:
    names = [modality.name for modality in graph.task.modalities]
    raw = ("batch", "height", "width")
    return trace(graph, example_inputs(graph.task, *TRACED_SHAPE), dict.fromkeys(names, raw), graph.output_names)


def _trace_in_parts(graph: SegmentationGraph) -> onnx.ModelProto:
    """Trace encoding and resizing, the network, and the outputs on their own; see `chaining`."""
    raw = example_inputs(graph.task, *TRACED_SHAPE)
    network = _Network(graph.network)
    with torch.no_grad():
        encoded = graph.encode(*raw)
        results = network(*encoded)
    names = [modality.name for modality in graph.task.modalities]
    encoded_names = [f"{name}.encoded" for name in names]
    result_names = ["logits", "network_gate", "network_weights"][: len(results)]
    at_posted: tuple[str, ...] = ("batch", "height", "width")
    at_network = ("batch", "", "network_height", "network_width")
    at_quarter = {4: ("batch", "", "quarter_height", "quarter_width"), 3: ("batch", "quarter_height", "quarter_width")}
    axes_of_results = {name: at_quarter[each.ndim] for name, each in zip(result_names, results, strict=True)}
    parts = [
        trace(graph.encode, raw, dict.fromkeys(names, at_posted), encoded_names),
        trace(network, encoded, dict.fromkeys(encoded_names, at_network), result_names),
        trace(graph.answer, (raw[0], *results), {names[0]: at_posted} | axes_of_results, graph.output_names),
    ]
    return chain(parts, names, graph.output_names)


def trace(
    module: nn.Module, inputs: tuple[Tensor, ...], axes: Mapping[str, Sequence[str]], outputs: Sequence[str]
) -> onnx.ModelProto:
    """One ONNX graph; `axes` names the dynamic axes of each input, "" being a fixed one."""
    dynamic = tuple({axis: name for axis, name in enumerate(names) if name} for names in axes.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations; its failures are exceptions
        # it warns once for each operator of torchvision, which we do not use
        logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module,
            inputs,
            dynamo=True,
            input_names=list(axes),
            output_names=list(outputs),
            dynamic_shapes=(dynamic,),
            custom_translation_table={torch.ops.geminifusion.pixelwise_fusion.default: translation()},
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise ExportError("torch.onnx.export returned nothing")
    return program.model_proto


def _name_axes(model: onnx.ModelProto, outputs: Sequence[OutputTensor]) -> None:
    """Require symbolic axes on every input, and describe the outputs with the same names."""
    for value in model.graph.input:
        axes = value.type.tensor_type.shape.dim
        for axis, name in zip(axes, ("batch", "height", "width"), strict=False):
            if not axis.dim_param:
                raise ExportError(f"axis {name} of input {value.name} was fixed to {axis.dim_value} by the trace")
            axis.dim_param = name
    described = {each.name: each for each in outputs}
    for value in model.graph.output:
        each = described[value.name]
        suffix = "" if each.reduction == 1 else f"_{each.reduction}"
        batch, *sides = value.type.tensor_type.shape.dim
        height, width = sides[-2:] if each.channels is None or each.channels_first else sides[:2]
        for axis, name in ((batch, "batch"), (height, f"height{suffix}"), (width, f"width{suffix}")):
            axis.dim_param = name
