"""From a trained generator to `model.onnx`: images as files hold them in, an image or depth out.

Inputs are the domains of the task by name, as their `ModalitySpec` describes them: uint8 `B H W 3` pictures, uint8
`B H W` of one channel, float32 `B H W` metres. The output is `image` uint8 `B H W 3`, or `depth` float32 `B H W` in
metres: the generator's ensemble. Batch and sides are dynamic; sides are multiples of 32, to which the runtime pads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geminifusion_export.graph import TRACED_SHAPE, modality_spec, save_traced, trace
from geminifusion_model.encoding import encode
from geminifusion_model.task import ModalityEncoding
from geminifusion_model.translation.domains import to_bytes
from geminifusion_model.translation.generator import Generator
from geminifusion_model.translation.inference_form import TranslatorInferenceForm
from geminifusion_model.translation.task import TranslationTask
from geminifusion_runtime.artifact import ModalitySpec, OutputTensor, translation_output
from geminifusion_runtime.backends.protocol import BatchShape
from geminifusion_runtime.dummy_inputs import random_inputs


class TranslationGraph(nn.Module):
    """A generator with the encodings of its inputs before it, and its image in the target's unit behind it."""

    def __init__(self, net: Generator, task: TranslationTask) -> None:
        super().__init__()
        self.network = TranslatorInferenceForm(net)
        self.task = task

    @property
    def encodings(self) -> tuple[ModalityEncoding, ...]:
        """Of the inputs, in order."""
        return tuple(domain.modality() for domain in self.task.inputs)

    @property
    def specs(self) -> tuple[ModalitySpec, ...]:
        """The inputs as the artifact's metadata describe them."""
        return tuple(modality_spec(encoding) for encoding in self.encodings)

    @property
    def kind(self) -> Literal["image", "depth"]:
        """What the output is."""
        return "depth" if self.task.target.kind == "depth" else "image"

    @property
    def outputs(self) -> tuple[OutputTensor, ...]:
        """The graph's only output."""
        return (translation_output(self.kind),)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Its name."""
        return (self.kind,)

    def forward(self, *raw: Tensor) -> tuple[Tensor, ...]:
        """Compute the output from raw inputs in the task's order; see the module's docstring."""
        images = [encode(values, how) for values, how in zip(raw, self.encodings, strict=True)]
        image = self.network(*images)
        target = self.task.target
        if target.kind == "depth":
            return (target.decode(image),)
        if target.kind == "normal":
            image = target.decode(image)
        elif target.channels == 1:
            image = image.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
        return (to_bytes(image).permute(0, 2, 3, 1),)


def random_batch(graph: TranslationGraph, shape: BatchShape, seed: int = 0) -> dict[str, NDArray[np.generic]]:
    """Random raw inputs by graph input name; see `random_inputs`."""
    return random_inputs(graph.specs, shape, seed)


def export_onnx(graph: TranslationGraph, path: Path) -> onnx.ModelProto:
    """Trace `graph`, attach the fusion's function, check the model and write it.

    Raises:
        ExportError: the exporter or the checker rejects the graph, or a size was traced as a constant.
    """
    example = tuple(torch.from_numpy(array) for array in random_batch(graph, TRACED_SHAPE).values())
    axes = dict.fromkeys((spec.name for spec in graph.specs), ("batch", "height", "width"))
    model = trace(graph, example, axes, graph.output_names)
    save_traced(model, path, outputs=graph.outputs, has_fusion_nodes=graph.network.config.fusion == "geminifusion")
    return model
