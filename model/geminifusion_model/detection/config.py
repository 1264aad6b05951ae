"""The configuration of a detector: one frozen, validated value."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ConfigDict

from geminifusion_model.encoder_sizes import MIT_SIZES
from geminifusion_model.validation import validated

RESNET = "resnet50_caffe"


@dataclass(frozen=True, kw_only=True)
class AnchorClass:
    """A class and its anchors.

    Raises:
        ValueError: a field is out of range; the message names it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str
    """As in the data, in lower case."""
    size: tuple[float, float, float]
    """Length, width and height in metres."""
    bottom: float
    """Height of the bottom above the LiDAR's origin, metres."""
    positive_iou: float
    """An anchor that overlaps a box of its class this much or more, seen from above, is a positive."""
    negative_iou: float
    """Below this with all boxes it is a negative; in between it does not count."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(self.size))
        if min(self.size) <= 0:
            raise ValueError(f"size of {self.name} is {self.size}; expected three positive lengths in metres")
        if not 0.0 < self.negative_iou <= self.positive_iou <= 1.0:
            raise ValueError(
                f"negative_iou and positive_iou of {self.name} are {self.negative_iou} and {self.positive_iou}; "
                "expected 0 < negative_iou <= positive_iou <= 1"
            )


KITTI_CLASSES = (
    AnchorClass(name="pedestrian", size=(0.8, 0.6, 1.73), bottom=-0.6, positive_iou=0.35, negative_iou=0.2),
    AnchorClass(name="cyclist", size=(1.76, 0.6, 1.73), bottom=-0.6, positive_iou=0.35, negative_iou=0.2),
    AnchorClass(name="car", size=(3.9, 1.6, 1.56), bottom=-1.78, positive_iou=0.6, negative_iou=0.45),
)


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """A detector, without its weights. The defaults are a small detector on pillars; `MVXNET` is the published one.

    Raises:
        ValueError: a field is out of range; the message names it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    middle: Literal["sparse", "pillars"] = "pillars"
    """Between voxels and the bird's-eye view: `sparse` convolutions in three dimensions, or `pillars`, voxels as high as
    the range."""
    image_encoder: str = "mit_b0"
    """`mit_b0` … `mit_b5`, or `resnet50_caffe`, the published detector's; unused without a fusion."""
    fusion: Literal["none", "sum", "geminifusion"] = "geminifusion"
    """How images and points meet: `none` sees no images, `sum` is stock MVX-Net."""
    fusion_layers: Literal["last", "both"] = "both"
    """Behind the last of the two point layers, as in stock MVX-Net, or behind both, as GeminiFusion's authors have it."""
    classes: tuple[AnchorClass, ...] = KITTI_CLASSES
    """Classes in the order of the labels."""
    anchor_yaws: tuple[float, ...] = (0.0, 1.57)
    """Radians."""
    point_range: tuple[float, float, float, float, float, float] = (0.0, -20.48, -3.0, 40.96, 20.48, 1.0)
    """Lowest x, y, z and highest x, y, z in metres; points and boxes outside are left out."""
    voxel_size: tuple[float, float, float] = (0.16, 0.16, 4.0)
    """Metres along x, y, z."""
    pyramid_channels: int = 64
    """Of every level of the image pyramid."""
    point_channels: tuple[int, int] = (64, 64)
    """Widths of the two point layers."""
    fused_channels: int = 64
    """Width behind the last fusion."""
    bev_channels: tuple[int, ...] = (64, 128, 256)
    """Widths of the blocks on the bird's-eye view."""
    bev_depths: tuple[int, ...] = (3, 5, 5)
    """Convolutions of each block behind its first."""
    bev_strides: tuple[int, ...] = (2, 2, 2)
    """Stride of each block's first convolution; the head's map has the first block's size."""
    neck_channels: int = 128
    """To which each block's output is brought, at the first one's size."""
    score_threshold: float = 0.1
    """Detections with a lower score are dropped."""
    nms_iou: float = 0.01
    """Of two boxes of a class that overlap more than this, seen from above, the one with the higher score stays."""
    nms_candidates: int = 100
    """Anchors with the highest scores that are decoded at all."""
    max_boxes: int = 50
    """Detections of a frame."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        if self.image_encoder != RESNET and self.image_encoder not in MIT_SIZES:
            raise ValueError(
                f"image_encoder is {self.image_encoder!r}; expected one of {', '.join((*MIT_SIZES, RESNET))}"
            )
        if not self.classes or len({each.name for each in self.classes}) != len(self.classes):
            raise ValueError(f"classes are {self.class_names}; expected at least one, with different names")
        if not self.anchor_yaws:
            raise ValueError("anchor_yaws is empty; expected at least one angle in radians")
        self._check_grid()
        self._check_widths()
        for name in ("score_threshold", "nms_iou"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 <= {name} <= 1")
        for name in ("nms_candidates", "max_boxes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")

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
                    f"the range along {axis} is {span:g} m and voxel_size {size:g} m; expected a whole number of voxels"
                )
        depth, rows, columns = self.grid_shape
        if self.middle == "pillars" and depth != 1:
            raise ValueError(
                f"voxel_size is {self.voxel_size} and the range is {spans[2]:g} m high; pillars are as high as the range"
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
                f"bev_strides are {self.bev_strides} and the map is {rows} x {columns}; expected positive strides whose "
                "product divides both"
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

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the labels."""
        return tuple(each.name for each in self.classes)

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
    def anchors_per_cell(self) -> int:
        """Every class with every yaw."""
        return len(self.classes) * len(self.anchor_yaws)

    @property
    def uses_images(self) -> bool:
        """Whether there is anything to see images with."""
        return self.fusion != "none"

    def to_dict(self) -> dict[str, Any]:
        """The configuration as a plain dict for JSON or YAML."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()
        } | {"classes": [dataclasses.asdict(each) | {"size": list(each.size)} for each in self.classes]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DetectorConfig:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a field is unknown, of another type or out of range; the message names it.
        """
        return validated(cls, values, "network")


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
