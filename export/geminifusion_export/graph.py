"""From a trained network to `model.onnx`: sensor data in, label map out, every size dynamic.

Signature: `rgb` uint8 `B H W 3`, `depth` float32 metres `B H W` (0 or NaN: no measurement), further modalities by name;
outputs `labels` uint8 `B H W`, `confidence` float32 `B H/4 W/4` (probability of the winning class), `gate` float32
`B H/4 W/4` (attention of the RGB stream to the other modality, 0…1). H/4 and W/4 are rounded up. A network of RGB alone
has one input and the same outputs; it attends to nothing else, so its gate is 0 everywhere.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import cast, get_args

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_export.errors import ExportError
from geminifusion_export.fusion_node import attach_function, translation
from geminifusion_export.storage import save_model
from geminifusion_model.encoding import encode_inputs
from geminifusion_model.inference_form import InferenceForm
from geminifusion_model.network import GeminiFusion
from geminifusion_model.task import ModalityEncoding, Task
from geminifusion_runtime.artifact import Encoding, ModalitySpec
from geminifusion_runtime.backends.protocol import OUTPUT_NAMES, BatchShape
from geminifusion_runtime.dummy_inputs import random_inputs

OPSET = 20
TRACED_SHAPE: BatchShape = (2, 96, 128)  # a batch of 1 would be taken for a constant
_NO_MEASUREMENT: tuple[float | None, ...] = (0.0, None)


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
        self.network = InferenceForm(net)

    def forward(self, *modalities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute labels, confidence and gate from raw modalities in the task's order; see the module's docstring."""
        height, width = modalities[0].shape[1:3]
        logits, gate = self.network(*encode_inputs(modalities, self.task))
        tempered = logits if self.temperature == 1.0 else logits / self.temperature
        confidence = tempered.softmax(1).amax(1)
        full = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
        if self.task.input_scale != 1.0:
            quarter = ((height + 3) // 4, (width + 3) // 4)
            maps = torch.stack([confidence, gate], dim=1)
            confidence, gate = F.interpolate(maps, size=quarter, mode="bilinear", align_corners=False).unbind(1)
        return full.argmax(1).to(torch.uint8), confidence, gate


def modality_spec(encoding: ModalityEncoding, *, optional: bool = False) -> ModalitySpec:
    """One graph input, as the artifact's metadata describes it.

    Args:
        optional: training has seen frames without it.

    Raises:
        ExportError: the service cannot decode measurements of this encoding yet.
    """
    kind = encoding.encoding
    if kind not in get_args(Encoding):
        raise ExportError(
            f"{encoding.name} is encoded as {kind}, which cannot be served yet; train with metric, inverse or log depth"
        )
    is_image = kind == "imagenet"
    return ModalitySpec(
        name=encoding.name,
        dtype="uint8" if is_image else "float32",
        channels=3 if is_image else 1,
        unit="intensity" if is_image else "metre",
        encoding=cast(Encoding, kind),
        range=encoding.range,
        invalid=() if is_image else _NO_MEASUREMENT,
        mean=encoding.mean,
        std=encoding.std,
        optional=optional,
    )


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
    names = [modality.name for modality in graph.task.modalities]
    dynamic = tuple({0: "batch", 1: "height", 2: "width"} for _ in names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations; its failures are exceptions
        # it warns once for each operator of torchvision, which we do not use
        logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
        program = torch.onnx.export(
            graph,
            example_inputs(graph.task, *TRACED_SHAPE),
            dynamo=True,
            input_names=names,
            output_names=list(OUTPUT_NAMES),
            dynamic_shapes=(dynamic,),
            custom_translation_table={torch.ops.geminifusion.pixelwise_fusion.default: translation()},
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise ExportError("torch.onnx.export returned nothing")
    model = program.model_proto
    _name_axes(model)
    used = attach_function(model)
    if used == 0 and graph.network.config.fusion == "geminifusion":
        raise ExportError("the exported graph holds no PixelwiseFusion node; the exporter decomposed the op")
    save_model(model, path)
    onnx.checker.check_model(path, full_check=True)  # by its path, which may name weights in a file of their own
    return model


def _name_axes(model: onnx.ModelProto) -> None:
    """Require symbolic axes on every input, and describe the outputs with the same names."""
    for value in model.graph.input:
        axes = value.type.tensor_type.shape.dim
        for axis, name in zip(axes, ("batch", "height", "width"), strict=False):
            if not axis.dim_param:
                raise ExportError(f"axis {name} of input {value.name} was fixed to {axis.dim_value} by the trace")
            axis.dim_param = name
    for value in model.graph.output:
        quarter = "" if value.name == "labels" else "_4"
        for axis, name in zip(value.type.tensor_type.shape.dim, ("batch", "height", "width"), strict=True):
            axis.dim_param = name if name == "batch" else name + quarter
