"""The options of a detection request: one definition for every transport, the client and the command line."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from geminifusion_runtime.option_sets import OptionSet
from geminifusion_runtime.option_types import (
    DeadlineOption,
    Expected,
    ModelOption,
    PriorityOption,
    RequestIdOption,
    SensorPolicyOption,
)
from geminifusion_runtime.task_names import DETECTION

DetectionFormat = Literal["json", "kitti", "overlay", "bev"]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
class DetectOptions:
    """What a client asks for. Types are strict: "1" is no number.

    Raises:
        pydantic.ValidationError: a wrong type or a value out of range; those of `DETECT_OPTIONS` raise
            `InvalidOptionError` instead.
    """

    task: ClassVar[str] = DETECTION

    model: ModelOption = None
    # None, for transports that carry the boxes themselves.
    format: Annotated[
        DetectionFormat | None,
        Field(
            description="json: boxes in LiDAR and camera axes and in the image; kitti: KITTI's result text; overlay: a "
            "PNG of the image with the boxes; bev: a PNG of the points and boxes from above"
        ),
    ] = "json"
    min_score: Annotated[
        float | None,
        Expected("a number from 0 to 1"),
        Field(ge=0, le=1, description="boxes have to be surer than this; the model's own limit when left out"),
    ] = None
    sensor_policy: SensorPolicyOption = None
    priority: PriorityOption = "normal"
    deadline_ms: DeadlineOption = None
    request_id: RequestIdOption = None


DETECT_OPTIONS = OptionSet(DetectOptions)
