"""The task of a segmentation network: how its inputs are encoded and what its classes are.

Stored in the checkpoint and carried to the artifact, so that no unit has to be guessed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ConfigDict

from geminifusion_model.validation import validated

# encoding -> possible numbers of channels of the measurements
ENCODING_CHANNELS = {
    "imagenet": (3,),
    "metric": (1,),
    "inverse": (1,),
    "log": (1,),
    "hha": (3,),
    "raw": (1, 3),
}

# encoding -> possible units of the measurements
ENCODING_UNITS = {
    "imagenet": ("intensity",),
    "metric": ("metre",),
    "inverse": ("metre",),
    "log": ("metre",),
    "hha": ("intensity",),
    "raw": ("intensity", "count", "metre"),
}


@dataclass(frozen=True, kw_only=True)
class ModalityEncoding:
    """The encoding of one modality's measurements as network input.

    | encoding | measurements | encoded, before mean and std |
    |---|---|---|
    | `imagenet` | `B H W 3` uint8 | value / 255 |
    | `metric` | `B H W` metres | metres |
    | `inverse` | `B H W` metres | 1 / metres |
    | `log` | `B H W` metres | natural logarithm of metres |
    | `hha` | `B H W 3`, 0…255 | value / 255; the image itself is computed from depth by `data.hha` |
    | `raw` | `B H W` or `B H W 3` | value / 255, whatever the unit |
    | `raw` in metres | `B H W` metres | metres / `metres_per_unit` / 255 |

    Args:
        name: `rgb`, `depth`, …
        encoding: one of the above.
        unit: of the measurements: `intensity` (8-bit pictures), `count` (stored numbers of more than 8 bits, without a
            physical unit: radiometric thermal, 16-bit pictures) or `metre`.
        range: measurements outside are clipped to it: in metres, in stored numbers for `count`, and for `intensity`
            as a share of full scale (value / 255).
        mean, std: subtracted from and divided by after encoding, one value per channel; one channel is repeated to
            three.
        metres_per_unit: of the stored numbers that a network with `raw` depth was trained on, if it is fed from metres.

    In metres, 0, negative, infinite and NaN readings are no measurement; they become 0 after normalization, which is
    the mean. In `hha` and in `raw` without metres nothing marks them; readings that are not finite are taken for 0.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    encoding: str
    unit: str
    range: tuple[float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    metres_per_unit: float | None = None

    def __post_init__(self) -> None:
        channels = ENCODING_CHANNELS.get(self.encoding)
        if channels is None:
            raise ValueError(f"encoding of {self.name} is {self.encoding!r}; expected {', '.join(ENCODING_CHANNELS)}")
        for field in ("range", "mean", "std"):
            object.__setattr__(self, field, tuple(float(v) for v in getattr(self, field)))
        if len(self.mean) not in channels or len(self.std) != len(self.mean) or min(self.std) <= 0:
            wanted = " or ".join(map(str, channels))
            raise ValueError(f"{self.name} needs {wanted} mean and positive std values, has {self.mean}, {self.std}")
        if self.range[0] >= self.range[1]:
            raise ValueError(f"range of {self.name} is {self.range}; expected low < high")
        if self.encoding in ("inverse", "log") and self.range[0] <= 0:
            raise ValueError(f"range of {self.name} is {self.range}; {self.encoding} depth needs a positive low end")
        self._check_unit()

    def _check_unit(self) -> None:
        if self.unit not in ENCODING_UNITS[self.encoding]:
            wanted = " or ".join(ENCODING_UNITS[self.encoding])
            raise ValueError(f"unit of {self.name} is {self.unit!r}; {self.encoding} takes {wanted}")
        stored_metres = self.encoding == "raw" and self.unit == "metre"
        if stored_metres and (self.metres_per_unit is None or not 0 < self.metres_per_unit < float("inf")):
            raise ValueError(
                f"metres_per_unit of {self.name} is {self.metres_per_unit}; raw depth in metres needs a positive number"
            )
        if stored_metres and self.channels != 1:
            raise ValueError(f"{self.name} has {self.channels} channels; metres come in one")
        if not stored_metres and self.metres_per_unit is not None:
            raise ValueError(f"metres_per_unit of {self.name} belongs to encoding raw with unit metre, and only there")

    @property
    def channels(self) -> int:
        """Number of channels of the measurements, 1 (`B H W`) or 3 (`B H W 3`)."""
        return len(self.mean)


_ADDED_FIELDS = ("input_policy", "label_upsampling", "evaluation_protocol")


@dataclass(frozen=True, kw_only=True)
class InputPolicy:
    """The size at which the network sees a frame.

    Args:
        shorter_side: frames are resized bilinearly so that their shorter side has this many pixels; None leaves them at
            their own size.
        multiple_of: both sides are then enlarged to multiples of this; needs a `shorter_side`.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    shorter_side: int | None = None
    multiple_of: int = 1

    def __post_init__(self) -> None:
        if self.shorter_side is not None and self.shorter_side < 1:
            raise ValueError(
                f"shorter_side is {self.shorter_side}; expected at least 1, or null for the frame's own size"
            )
        if self.multiple_of < 1 or (self.shorter_side is None and self.multiple_of != 1):
            raise ValueError(
                f"multiple_of is {self.multiple_of} with shorter_side {self.shorter_side}; expected at least 1, and 1 "
                "without a shorter_side"
            )

    def describe(self) -> str:
        """The policy in words."""
        if self.shorter_side is None:
            return "native size"
        multiple = f", sides up to multiples of {self.multiple_of}" if self.multiple_of > 1 else ""
        return f"shorter side {self.shorter_side}{multiple}"


@dataclass(frozen=True, kw_only=True)
class Task:
    """Inputs, classes and the label value that marks unlabeled pixels.

    Args:
        data: the data set's name.
        modalities: in the network's order.
        palette: one RGB color per class.
        input_scale: factor 0.25…1, a multiple of 1/16, by which frames are reduced before the network: a network
            trained on reduced frames knows things at that size.
        input_policy: the size frames are brought to before that. Labels are always at the frame's own size.
        label_upsampling: how logits reach that size.
        evaluation_protocol: name of the protocol its scores are published by; None if there is no customary one.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    data: str
    modalities: tuple[ModalityEncoding, ...]
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_index: int = 255
    data_license: str = "unknown"
    input_scale: float = 1.0
    input_policy: InputPolicy = InputPolicy()
    label_upsampling: Literal["bilinear", "bicubic"] = "bilinear"
    evaluation_protocol: str | None = None

    def __post_init__(self) -> None:
        if len(self.palette) != len(self.class_names):
            raise ValueError(f"{len(self.palette)} colors for {len(self.class_names)} classes")
        check_input_scale(self.input_scale)

    def only(self, names: tuple[str, ...]) -> Task:
        """The same task with only these of its modalities, in this order.

        Raises:
            ValueError: rgb does not come first, a name comes twice, or the task has no such modality.
        """
        encodings = {modality.name: modality for modality in self.modalities}
        if names[:1] != ("rgb",) or len(set(names)) < len(names) or not set(names) <= set(encodings):
            raise ValueError(
                f"{self.data} has the modalities {', '.join(encodings)}, and {', '.join(names) or 'none'} were asked "
                "for; ask for rgb, then any of the others: network.modalities of training, --modalities elsewhere"
            )
        return dataclasses.replace(self, modalities=tuple(encodings[name] for name in names))

    def identity(self) -> dict[str, Any]:
        """What labels and measurements mean: classes, encodings and the ignore value, as plain data."""
        values = self.to_dict()
        kept = {name: values[name] for name in ("class_names", "modalities", "ignore_index")}
        for modality in kept["modalities"]:
            if modality["metres_per_unit"] is None:  # as the records of older runs, which did not know the field
                del modality["metres_per_unit"]
        return kept

    def to_dict(self) -> dict[str, Any]:
        """The task as a plain dict for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Task:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a field is unknown, missing, of another type or out of range; the message names it.
        """
        # defaults are for new tasks: what a file leaves out (a reduced input scale, say) must not be guessed, except
        # what the tasks of older files could not say
        absent = [f.name for f in dataclasses.fields(cls) if f.name not in values and f.name not in _ADDED_FIELDS]
        if absent:
            raise ValueError(f"the task has no {', '.join(absent)}; copy the checkpoint again")
        return validated(cls, values, "task")


def check_input_scale(scale: float) -> float:
    """The scale itself; raises `ValueError` unless it is one of 0.25, 0.3125 … 1."""
    if not (0.25 <= scale <= 1.0 and (16 * scale).is_integer()):
        raise ValueError(f"input_scale is {scale}; expected a multiple of 1/16 from 0.25 to 1")
    return scale


IMAGENET_RGB = ModalityEncoding(
    name="rgb",
    encoding="imagenet",
    unit="intensity",
    range=(0.0, 1.0),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
