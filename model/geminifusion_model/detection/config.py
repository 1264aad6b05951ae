"""The configuration of a detector: one frozen, validated value."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ConfigDict

from geminifusion_model.encoder_sizes import MIT_SIZES
from geminifusion_model.fusions.point_fusion import NUM_HEADS
from geminifusion_model.validation import validated
from geminifusion_runtime.detection.settings import AnchorClass, AnchorSettings, GridSettings, SelectionSettings

RESNET = "resnet50_caffe"


# Sizes are length, width and height; all of KITTI's.
KITTI_ANCHORS = AnchorSettings(
    classes=(
        AnchorClass(name="pedestrian", size=(0.8, 0.6, 1.73), bottom=-0.6),
        AnchorClass(name="cyclist", size=(1.76, 0.6, 1.73), bottom=-0.6),
        AnchorClass(name="car", size=(3.9, 1.6, 1.56), bottom=-1.78),
    )
)


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """A detector, without its weights. The defaults are a small detector on pillars; `MVXNET` is the published one.

    Raises:
        ValueError: a field is out of range; the message names it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    middle: Literal["sparse", "pillars"] = "pillars"
    """Between voxels and the bird's-eye view: `sparse` convolutions in three dimensions, or `pillars`, voxels as
    high as the range."""
    image_encoder: str = "mit_b0"
    """`mit_b0` … `mit_b5`, or `resnet50_caffe`, the published detector's; unused without a fusion."""
    fusion: Literal["none", "sum", "geminifusion"] = "geminifusion"
    """How images and points meet: `none` sees no images, `sum` is stock MVX-Net."""
    fusion_layers: Literal["last", "both"] = "both"
    """Behind the last of the two point layers, as in stock MVX-Net, or behind both, as in GeminiFusion's."""
    anchors: AnchorSettings = KITTI_ANCHORS
    """Classes, in the order of the labels, and the boxes the head starts from."""
    positive_ious: tuple[float, ...] = (0.35, 0.35, 0.6)
    """For each class: an anchor that overlaps a box this much or more, seen from above, is to find it."""
    negative_ious: tuple[float, ...] = (0.2, 0.2, 0.45)
    """For each class: an anchor that overlaps every box less is to find none; those in between do not count."""
    point_range: tuple[float, float, float, float, float, float] = (0.0, -20.48, -3.0, 40.96, 20.48, 1.0)
    """Lowest x, y, z and highest x, y, z in metres; points and boxes outside are left out."""
    voxel_size: tuple[float, float, float] = (0.16, 0.16, 4.0)
    """Metres along x, y, z."""
    pyramid_channels: int = 64
    """Of every level of the image pyramid."""
    point_channels: tuple[int, int] = (64, 64)
    """Widths of the two point layers; the first a multiple of 8 where geminifusion is behind both."""
    fused_channels: int = 64
    """Width behind the last fusion, a multiple of 8 for geminifusion."""
    bev_channels: tuple[int, ...] = (64, 128, 256)
    """Widths of the blocks on the bird's-eye view."""
    bev_depths: tuple[int, ...] = (3, 5, 5)
    """Convolutions of each block behind its first."""
    bev_strides: tuple[int, ...] = (2, 2, 2)
    """Stride of each block's first convolution; the head's map has the first block's size."""
    neck_channels: int = 128
    """To which each block's output is brought, at the first one's size."""
    selection: SelectionSettings = field(default_factory=SelectionSettings)
    """Which boxes are kept."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        if self.image_encoder != RESNET and self.image_encoder not in MIT_SIZES:
            raise ValueError(
                f"image_encoder is {self.image_encoder!r}; expected one of {', '.join((*MIT_SIZES, RESNET))}"
            )
        self._check_grid()
        self._check_widths()
        self._check_ious()

    def _check_grid(self) -> None:
        spans = [high - low for low, high in zip(self.point_range[:3], self.point_range[3:], strict=True)]
        if min(spans) <= 0 or min(self.voxel_size) <= 0:
            raise ValueError(
                f"point_range is {self.point_range} and voxel_size {self.voxel_size}; expected each highest above its "
                "lowest, and positive sizes"
            )
        for axis, span, size in zip("xyz", spans, self.voxel_size, strict=True):
            if abs(span / size - round(span / size)) > 1e-4:
                raise ValueError(
                    f"the range along {axis} is {span:g} m, voxel_size {size:g} m; expected a whole number of voxels"
                )
        depth, rows, columns = self.grid_shape
        if self.middle == "pillars" and depth != 1:
            raise ValueError(
                f"voxel_size is {self.voxel_size}, and pillars are as high as the range; expected {spans[2]:g} along z"
            )
        if self.middle == "sparse" and (depth < 24 or rows % 8 or columns % 8):
            raise ValueError(
                f"the grid is {depth} x {rows} x {columns} voxels; sparse convolutions need at least 24 layers, and "
                "rows and columns in multiples of 8"
            )
        stride = 1
        for each in self.bev_strides:
            stride *= each
        rows, columns = self.bev_shape
        if min(self.bev_strides, default=0) < 1 or rows % stride or columns % stride:
            raise ValueError(
                f"bev_strides are {self.bev_strides} and the map is {rows} x {columns}; expected positive strides "
                "whose product divides both"
            )

    def _check_widths(self) -> None:
        if not len(self.bev_channels) == len(self.bev_depths) == len(self.bev_strides) > 0:
            raise ValueError(
                f"bev_channels, bev_depths and bev_strides have {len(self.bev_channels)}, {len(self.bev_depths)} and "
                f"{len(self.bev_strides)} entries; expected the same number of blocks, at least one"
            )
        if min(self.bev_depths) < 0:
            raise ValueError(f"bev_depths are {self.bev_depths}; expected none below 0")
        widths = {
            "pyramid_channels": (self.pyramid_channels,),
            "point_channels": self.point_channels,
            "fused_channels": (self.fused_channels,),
            "bev_channels": self.bev_channels,
            "neck_channels": (self.neck_channels,),
        }
        for name, values in widths.items():
            if min(values) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected positive widths")
        if self.fusion != "geminifusion":
            return
        if self.fused_channels % NUM_HEADS:
            raise ValueError(
                f"fused_channels is {self.fused_channels}; expected a multiple of {NUM_HEADS}, the heads of the fusion"
            )
        if self.fusion_layers == "both" and self.point_channels[0] % NUM_HEADS:
            raise ValueError(
                f"point_channels is {self.point_channels} with fusion_layers both; expected the first to be a multiple "
                f"of {NUM_HEADS}, the heads of the fusion"
            )

    def _check_ious(self) -> None:
        if not len(self.positive_ious) == len(self.negative_ious) == len(self.anchors.classes):
            raise ValueError(
                f"positive_ious and negative_ious have {len(self.positive_ious)} and {len(self.negative_ious)} entries "
                f"for {len(self.anchors.classes)} classes; expected one for each"
            )
        for positive, negative in zip(self.positive_ious, self.negative_ious, strict=True):
            if not 0.0 < negative <= positive <= 1.0:
                raise ValueError(
                    f"a class has {positive} in positive_ious and {negative} in negative_ious; expected 0 < negative "
                    "<= positive <= 1"
                )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the labels."""
        return self.anchors.class_names

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        """Voxels along z, y and x."""
        spans = [high - low for low, high in zip(self.point_range[:3], self.point_range[3:], strict=True)]
        columns, rows, depth = (round(span / size) for span, size in zip(spans, self.voxel_size, strict=True))
        return depth, rows, columns

    @property
    def bev_shape(self) -> tuple[int, int]:
        """Rows and columns of the map that enters the bird's-eye view."""
        _, rows, columns = self.grid_shape
        return (rows, columns) if self.middle == "pillars" else (rows // 8, columns // 8)

    @property
    def anchor_shape(self) -> tuple[int, int]:
        """Rows and columns of the head's maps."""
        rows, columns = self.bev_shape
        return rows // self.bev_strides[0], columns // self.bev_strides[0]

    @property
    def grid(self) -> GridSettings:
        """The range and its columns, as the runtime has them."""
        low, high = self.point_range[:3], self.point_range[3:]
        return GridSettings(low=low, high=high, pillar_size=self.voxel_size[:2])

    @property
    def uses_images(self) -> bool:
        """Whether there is anything to see images with."""
        return self.fusion != "none"

    def to_dict(self) -> dict[str, Any]:
        """The configuration as a plain dict for JSON or YAML."""
        return _as_lists(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DetectorConfig:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a field is unknown, of another type or out of range; the message names it.
        """
        return validated(cls, values, "network")


def _as_lists(value: Any) -> Any:  # noqa: ANN401 - whatever a configuration holds
    """Mappings and sequences as JSON has them."""
    if isinstance(value, dict):
        return {name: _as_lists(each) for name, each in value.items()}
    return [_as_lists(each) for each in value] if isinstance(value, list | tuple) else value


MVXNET = DetectorConfig(
    middle="sparse",
    image_encoder=RESNET,
    point_range=(0.0, -40.0, -3.0, 70.4, 40.0, 1.0),
    voxel_size=(0.05, 0.05, 0.1),
    pyramid_channels=256,
    fused_channels=128,
    bev_channels=(128, 256),
    bev_depths=(5, 5),
    bev_strides=(1, 2),
    neck_channels=256,
)
