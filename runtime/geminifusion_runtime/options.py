"""The options of a segmentation request: one definition for every transport, the client and the command line.

A field of `SegmentOptions` gives an option its name, type, range, default and description. Derived from it (see
`OptionSet`) are the query of `POST /v1/segment`, the messages of the WebSocket, the parameters of Open Inference, the
OpenAPI document, the mapping to and from gRPC messages, the arguments of the client and those of `geminifusion
predict`. A new option is a field here and one of `SegmentRequest` in protos/geminifusion/v1/segmentation.proto; a test
walks every field through every transport.

Clients import this module: it needs pydantic and nothing else.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from geminifusion_runtime.option_sets import OptionSet
from geminifusion_runtime.option_types import (
    DeadlineOption,
    DepthInvalidOption,
    DepthScaleOption,
    Expected,
    Extrinsics,
    Flag,
    Intrinsics,
    Markers,
    ModelOption,
    PriorityOption,
    RequestIdOption,
    Scale,
    SensorPolicyOption,
    numbers_field,
)
from geminifusion_runtime.task_names import SEGMENTATION
from geminifusion_runtime.types import Align, MaskFormat


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
class SegmentOptions:
    """What a client asks for. Types are strict: 1 is not a flag and "1" not a number.

    Args:
        scales: `NAME_scale` of modalities other than depth, by name; see `modality_options`.
        invalids: `NAME_invalid` of modalities other than depth, by name.

    Raises:
        pydantic.ValidationError: a wrong type or a value out of range; those of `SEGMENT_OPTIONS` raise
            `InvalidOptionError` instead.
    """

    task: ClassVar[str] = SEGMENTATION

    model: ModelOption = None
    depth_scale: DepthScaleOption = None
    depth_invalid: DepthInvalidOption = ()
    intrinsics: Annotated[
        Intrinsics,
        Expected("fx,fy,cx,cy of the depth camera in pixels, the focal lengths above 0"),
        numbers_field(4, "fx,fy,cx,cy of the depth camera in pixels, for points and measures, and HHA of depth"),
    ] = ()
    rgb_intrinsics: Annotated[
        Intrinsics,
        Expected("fx,fy,cx,cy of the rgb camera in pixels, the focal lengths above 0"),
        numbers_field(4, "fx,fy,cx,cy of the rgb camera in pixels, for align=register"),
    ] = ()
    extrinsics: Annotated[
        Extrinsics,
        Expected("the twelve numbers of [R|t] from the depth camera to the rgb camera, row by row, t in metres"),
        numbers_field(12, "[R|t] from the depth camera to the rgb camera, row by row, metres, for align=register"),
    ] = ()
    align: Annotated[
        Align,
        Field(description="resize all to the size of rgb, or the first; register depth to rgb; none: reject them"),
    ] = "none"
    sensor_policy: SensorPolicyOption = None
    # None, for transports that send tensors: no file, the label map alone.
    format: Annotated[
        MaskFormat | None,
        Field(
            description="png: class indices; palette: in class colours; overlay; json; npz; points: ply, pcd, cloud-npz"
        ),
    ] = "png"
    overlay_on: Annotated[
        str | None,
        Expected("the name of a modality"),
        Field(description="modality that format=overlay is drawn on; rgb when left out, or else the first that came"),
    ] = None
    confidence: Annotated[Flag, Field(description="add the map of the winner's probability; npz always has it")] = False
    gate: Annotated[
        Flag, Field(description="add the map of how much rgb attends to the others, and which; npz always has it")
    ] = False
    disagreement: Annotated[
        Flag, Field(description="add the map of how much the labels depend on the others, 0 to 1; runs the frame twice")
    ] = False
    classes: Annotated[
        Flag, Field(description="add the share and the distance of each class; json always has them")
    ] = False
    priority: PriorityOption = "normal"
    deadline_ms: DeadlineOption = None
    request_id: RequestIdOption = None
    scales: dict[str, Scale] = dataclasses.field(default_factory=dict)
    invalids: dict[str, Markers] = dataclasses.field(default_factory=dict)


SEGMENT_OPTIONS = OptionSet(SegmentOptions)
OPTION_NAMES = SEGMENT_OPTIONS.names
