"""The options of a translation request; see `geminifusion_runtime.options` for how they are used.

Clients import this module: it needs pydantic and nothing else.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from geminifusion_runtime.option_sets import OptionSet
from geminifusion_runtime.option_types import (
    DeadlineOption,
    DepthInvalidOption,
    DepthScaleOption,
    Markers,
    ModelOption,
    PriorityOption,
    RequestIdOption,
    Scale,
    SensorPolicyOption,
)
from geminifusion_runtime.task_names import TRANSLATION

TranslationFormat = Literal["png", "npy", "picture"]
MEDIA_TYPES: dict[TranslationFormat, str] = {
    "picture": "image/png",
    "png": "image/png",  # what the type means where a client names it alone
    "npy": "application/x-npy",
}


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
class TranslateOptions:
    """What a client asks for. Types are strict: 1 is not a flag and "1" not a number.

    Args:
        scales: `NAME_scale` of inputs other than depth, by name; see `modality_options`.
        invalids: `NAME_invalid` of inputs other than depth, by name.

    Raises:
        pydantic.ValidationError: a wrong type or a value out of range; those of `TRANSLATE_OPTIONS` raise
            `InvalidOptionError` instead.
    """

    task: ClassVar[str] = TRANSLATION

    model: ModelOption = None
    depth_scale: DepthScaleOption = None
    depth_invalid: DepthInvalidOption = ()
    align: Annotated[
        Literal["none", "resize"], Field(description="resize all to the size of rgb, or the first; none: reject them")
    ] = "none"
    sensor_policy: SensorPolicyOption = None
    # None, for transports that send tensors: no file, the pixels alone.
    format: Annotated[
        TranslationFormat | None,
        Field(
            description="png: 8-bit RGB, or depth of 16 bits in millimetres; npy: uint8 RGB, or float32 metres; "
            "picture: 8-bit RGB, depth in false colors"
        ),
    ] = "png"
    priority: PriorityOption = "normal"
    deadline_ms: DeadlineOption = None
    request_id: RequestIdOption = None
    scales: dict[str, Scale] = dataclasses.field(default_factory=dict)
    invalids: dict[str, Markers] = dataclasses.field(default_factory=dict)


TRANSLATE_OPTIONS = OptionSet(TranslateOptions)
