"""From a trained detector on pillars to `model.onnx`: one frame in, the head's numbers for every anchor out.

| input | shape, dtype | |
|---|---|---|
| `rgb` | `1 H W 3` uint8 | the image as `geminifusion_runtime.detection.images` fits it into the network's |
| `points` | `P 4` float32 | in range; at least one |
| `pillar_index` | `P` int64 | see `geminifusion_runtime.detection.pillars` |
| `lidar2image` | `1 4 4` float32 | to pixels of `rgb` |

| output | shape, float32 |
|---|---|
| `class_logits` | `1 rows columns A K` |
| `box_numbers` | `1 rows columns A 7` |
| `direction_logits` | `1 rows columns A 2` |

H, W and P are free, H and W up to the network's image. The graph normalizes the image and pads it to that size.
A detector that sees no images has the same inputs, so that it is served alike, and reads two of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from geminifusion_export.build_traces import remove_build_traces
from geminifusion_export.errors import ExportError
from geminifusion_export.fusion_node import attach_function
from geminifusion_export.graph import trace
from geminifusion_export.storage import save_model
from geminifusion_model.detection.detector import Detector
from geminifusion_model.detection.head import DIRECTIONS
from geminifusion_model.detection.image_pyramid import normalized
from geminifusion_model.fusions.geminifusion import GeminiFusionBlock
from geminifusion_model.inference_form.fusion import opaque_fusion
from geminifusion_runtime.artifact import DETECTION_OUTPUTS
from geminifusion_runtime.detection.boxes import BOX_NUMBERS
from geminifusion_runtime.detection.frames import INPUT_NAMES
from geminifusion_runtime.detection.images import MULTIPLE
from geminifusion_runtime.detection.pillars import pillars

_AXES = {"rgb": ("", "height", "width"), "points": ("num_points",), "pillar_index": ("num_points",), "lidar2image": ()}
OUTPUT_NAMES = tuple(output.name for output in DETECTION_OUTPUTS)
_TRACED_POINTS = 200


class DetectionGraph(nn.Module):
    """A detector behind the normalization of its image, and before the arrangement of its numbers by anchor.

    Args:
        detector: in eval mode; its fusions become single nodes of the graph.
        image_size: height and width of the network's image, multiples of 32.

    Raises:
        ExportError: the detector has sparse convolutions, which no runtime has, or the image's sides do not fit.
    """

    def __init__(self, detector: Detector, image_size: tuple[int, int]) -> None:
        super().__init__()
        if detector.config.middle != "pillars":
            raise ExportError(
                f"the detector has {detector.config.middle} convolutions, which no runtime computes; "
                "export one that was trained with middle: pillars"
            )
        if any(side % MULTIPLE or side < MULTIPLE for side in image_size):
            raise ExportError(f"the image is {image_size[1]}x{image_size[0]}; expected multiples of {MULTIPLE}")
        for module in detector.modules():
            if isinstance(module, GeminiFusionBlock):
                module.mix_values = opaque_fusion
        self.detector = detector
        self.image_size = image_size

    @property
    def input_names(self) -> tuple[str, ...]:
        """The inputs, in the order of `forward`."""
        return INPUT_NAMES

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs, in their order."""
        return OUTPUT_NAMES

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs of the inputs in their order; see the module's docstring."""
        rgb, points, pillar_index, lidar2image = inputs
        config = self.detector.config
        images = projection = None
        if config.uses_images:
            images, projection = self._padded(normalized(rgb, config.image_encoder)), lidar2image
        found = self.detector.forward_pillars(images, points, pillar_index, projection)
        return tuple(
            feature.permute(0, 2, 3, 1).unflatten(-1, (config.anchors.per_cell, numbers))
            for feature, numbers in zip(found, (len(config.class_names), BOX_NUMBERS, DIRECTIONS), strict=True)
        )

    def _padded(self, images: Tensor) -> Tensor:
        height, width = self.image_size
        return F.pad(images, (0, width - images.shape[3], 0, height - images.shape[2]))


def example_inputs(
    graph: DetectionGraph, num_points: int = _TRACED_POINTS, size: tuple[int, int] | None = None, seed: int = 0
) -> dict[str, NDArray[np.generic]]:
    """A random frame by graph input name: points spread over the range and noise for an image.

    Args:
        graph: whose range and image it is for.
        num_points: in range.
        size: height and width of the image; None takes one that has to be padded.
    """
    generator = np.random.default_rng(seed)
    grid = graph.detector.config.grid
    low, high = np.array(grid.low), np.array(grid.high)
    places = low + generator.random((num_points, 3)) * (high - low) * 0.999
    cloud = np.column_stack([places, generator.random(num_points)]).astype(np.float32)
    found = pillars(cloud, grid)
    height, width = size or tuple(side - 3 for side in graph.image_size)
    return {
        "rgb": generator.integers(0, 256, (1, height, width, 3), dtype=np.uint8),
        "points": found.points,
        "pillar_index": found.index,
        "lidar2image": _looking_ahead(height, width)[None],
    }


def _looking_ahead(height: int, width: int) -> NDArray[np.float32]:
    """The projection of a camera at the LiDAR's place with an angle of view of 90 degrees, to `height` and `width`."""
    focal = width / 2
    return np.array([[width / 2, -focal, 0, 0], [height / 2, 0, -focal, 0], [1, 0, 0, 0], [0, 0, 0, 1]], np.float32)


def export_onnx(graph: DetectionGraph, path: Path) -> onnx.ModelProto:
    """Trace `graph`, attach the fusion's function, check the model and write it.

    Raises:
        ExportError: the exporter or the checker rejects the graph, or a size was traced as a constant.
    """
    example = tuple(torch.from_numpy(array) for array in example_inputs(graph).values())
    model = trace(graph, example, _AXES, OUTPUT_NAMES)
    for value in model.graph.input:
        for axis, name in zip(value.type.tensor_type.shape.dim, _AXES[value.name], strict=False):
            if name and not axis.dim_param:
                raise ExportError(f"axis {name} of input {value.name} was fixed to {axis.dim_value} by the trace")
            if name:
                axis.dim_param = name
    used = attach_function(model)
    if used == 0 and graph.detector.config.fusion == "geminifusion":
        raise ExportError("the exported graph holds no PixelwiseFusion node; the exporter decomposed the op")
    remove_build_traces(model)
    save_model(model, path)
    onnx.checker.check_model(path, full_check=True)  # by its path, which may name weights in a file of their own
    return model
