"""How a LiDAR and a camera stand to each other: KITTI's calibration text, and the same numbers as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.camera import Intrinsics
from geminifusion_runtime.errors import CalibrationMismatchError, UndecodableCalibrationError

PACKED_NUMBERS = 35
MAX_BYTES = 64 * 1024  # KITTI's have 1.6 kB
_SHAPES = {"P2": (3, 4), "R0_rect": (3, 3), "Tr_velo_to_cam": (3, 4)}
_FORM = "KITTI's text (lines P2:, R0_rect: and Tr_velo_to_cam:) or a JSON object with these names"
_ROTATION_TOLERANCE = 1e-3  # of the products of a rotation's rows: as many digits as people copy
_LONGEST_SIDE = 2**20  # pixels, as much as OpenCV decodes
_FARTHEST_M = 20.0  # of a LiDAR from its camera; more is millimetres
_SHOWN = 60  # characters of what came


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """One camera and one LiDAR.

    Attributes:
        p2: `3 4` float64, from rectified camera axes to pixels of the camera's image.
        r0_rect: `3 3` float64 rotation, from the reference camera's axes to the rectified ones.
        tr_velo_to_cam: `3 4` float64, from LiDAR axes to the reference camera's, metres.
        image_size: height and width of the image that it is for, where it says that.

    Raises:
        UndecodableCalibrationError: a matrix is no rotation, cannot be inverted or is not finite, or the size is that
            of no image.
    """

    p2: NDArray[np.float64]
    r0_rect: NDArray[np.float64]
    tr_velo_to_cam: NDArray[np.float64]
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name, matrix in (("P2", self.p2), ("R0_rect", self.r0_rect), ("Tr_velo_to_cam", self.tr_velo_to_cam)):
            if not np.isfinite(matrix).all():
                raise UndecodableCalibrationError(
                    f"{name} of the calibration holds NaN or infinity; send finite numbers"
                )
            if abs(float(np.linalg.det(matrix[:, :3]))) < np.finfo(np.float32).eps:
                raise UndecodableCalibrationError(
                    f"{name} of the calibration cannot be inverted; send the matrix of a real camera and LiDAR"
                )
        for name, rotation in (("R0_rect", self.r0_rect), ("Tr_velo_to_cam", self.tr_velo_to_cam[:, :3])):
            off = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
            if off > _ROTATION_TOLERANCE or np.linalg.det(rotation) < 0:
                what = "mirrors" if off <= _ROTATION_TOLERANCE else f"is no rotation (off by {off:.3g})"
                raise UndecodableCalibrationError(
                    f"{name} of the calibration {what}; send rows of length 1 at right angles, whose determinant is 1"
                )
        if (distance := float(np.linalg.norm(self.tr_velo_to_cam[:, 3]))) > _FARTHEST_M:
            raise UndecodableCalibrationError(
                f"Tr_velo_to_cam puts the LiDAR {distance:.4g} m from the camera; send the translation in metres"
            )
        if min(self.p2[0, 0], self.p2[1, 1]) <= 0:
            raise UndecodableCalibrationError(
                f"P2 has focal lengths {self.p2[0, 0]:g} and {self.p2[1, 1]:g}; expected positive numbers of pixels"
            )
        if self.image_size is not None and not all(0 < side <= _LONGEST_SIDE for side in self.image_size):
            height, width = self.image_size
            raise UndecodableCalibrationError(
                f"image_size of the calibration is {str([width, height])[:_SHOWN]}; send [width, height] in pixels, "
                f"each at most {_LONGEST_SIDE}"
            )

    @cached_property
    def lidar_to_camera(self) -> NDArray[np.float64]:
        """`4 4` from LiDAR axes to rectified camera axes."""
        rectify, pose = np.eye(4), np.eye(4)
        rectify[:3, :3], pose[:3] = self.r0_rect, self.tr_velo_to_cam
        return rectify @ pose

    @cached_property
    def lidar2image(self) -> NDArray[np.float64]:
        """`4 4` from LiDAR axes to (x·depth, y·depth, depth, 1) in pixels of the image and metres."""
        projection = np.eye(4)
        projection[:3] = self.p2
        return projection @ self.lidar_to_camera

    def check_size(self, size: tuple[int, int]) -> None:
        """Check that this can be the calibration of an image of `size`, height and width.

        Raises:
            CalibrationMismatchError: it is that of an image of another size.
        """
        height, width = size
        if self.image_size is not None and self.image_size != size:
            rows, columns = self.image_size
            raise CalibrationMismatchError(
                f"the calibration is for an image of {columns}x{rows}, and this one has {width}x{height}; "
                "send the image it was made for, or P2 of this size"
            )
        if problem := self._intrinsics.problem(size):
            raise CalibrationMismatchError(f"the numbers of P2 {problem}; send P2 for the image that comes with it")

    def size_warnings(self, size: tuple[int, int]) -> tuple[str, ...]:
        """What a client should know whose image, of this height and width, `check_size` has accepted.

        Nothing where the calibration states its size.
        """
        doubt = self._intrinsics.doubt(size) if self.image_size is None else None
        if doubt is None:
            return ()
        return (
            f"the numbers of P2 {doubt}; if the image was resized or cropped, boxes are off: send P2 of this size, or "
            "JSON with image_size if it is right",
        )

    @property
    def _intrinsics(self) -> Intrinsics:
        return Intrinsics(fx=self.p2[0, 0], fy=self.p2[1, 1], cx=self.p2[0, 2], cy=self.p2[1, 2])

    def resized(self, size: tuple[int, int], new_size: tuple[int, int]) -> Calibration:
        """The calibration of the same image brought from one size, height and width, to another.

        Pixels are counted as the original network does, in shares of the width and height, from the edge.
        """
        factors = np.array([[new_size[1] / size[1]], [new_size[0] / size[0]], [1.0]])
        return dataclasses.replace(self, p2=self.p2 * factors, image_size=None)

    def packed(self) -> NDArray[np.float64]:
        """All of it as 35 numbers, for between processes; `Calibration.of_packed` reads them."""
        size = self.image_size or (0, 0)
        return np.concatenate([self.p2.ravel(), self.r0_rect.ravel(), self.tr_velo_to_cam.ravel(), size])

    @classmethod
    def of_packed(cls, numbers: NDArray[np.generic]) -> Calibration:
        """The calibration of `packed`.

        Raises:
            UndecodableCalibrationError: the numbers are none.
        """
        if numbers.shape != (PACKED_NUMBERS,) or numbers.dtype.kind != "f":
            raise UndecodableCalibrationError(
                f"the calibration is {numbers.dtype} of shape {numbers.shape}; send {_FORM}"
            )
        values = np.asarray(numbers, np.float64)
        height, width = int(values[33]), int(values[34])
        return cls(
            p2=values[:12].reshape(3, 4),
            r0_rect=values[12:21].reshape(3, 3),
            tr_velo_to_cam=values[21:33].reshape(3, 4),
            image_size=(height, width) if height and width else None,
        )

    def as_document(self) -> dict[str, Any]:
        """JSON-ready form, which `decode_calibration` reads."""
        document: dict[str, Any] = {
            "P2": self.p2.tolist(),
            "R0_rect": self.r0_rect.tolist(),
            "Tr_velo_to_cam": self.tr_velo_to_cam.tolist(),
        }
        if self.image_size is not None:
            document["image_size"] = [self.image_size[1], self.image_size[0]]
        return document


def decode_calibration(data: bytes) -> Calibration:
    """Read a calibration: KITTI's text, or a JSON object.

    Args:
        data: UTF-8. The text has a line `P2: …` of 12 numbers, `R0_rect: …` of 9 and `Tr_velo_to_cam: …` of 12, row by
            row, among others that are passed over. The object has lists of that many numbers, or of rows, under the
            same names, and may have `image_size`, width and height.

    Raises:
        UndecodableCalibrationError: too large, not text, a matrix is missing or has another number of numbers, is
            singular, or no rotation where one is needed.
    """
    if len(data) > MAX_BYTES:
        raise UndecodableCalibrationError(
            f"the calibration has {len(data)} bytes, expected at most {MAX_BYTES}; send {_FORM}"
        )
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise UndecodableCalibrationError(f"the calibration is not text; send {_FORM}") from None
    found = _from_json(text) if text.lstrip().startswith("{") else _from_lines(text)
    return Calibration(
        p2=_matrix(found, "P2"),
        r0_rect=_matrix(found, "R0_rect"),
        tr_velo_to_cam=_matrix(found, "Tr_velo_to_cam"),
        image_size=_image_size(found.get("image_size")),
    )


def _from_json(text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise UndecodableCalibrationError(f"the calibration begins as JSON but is none; send {_FORM}") from None
    if unknown := sorted(set(document) - {*_SHAPES, "image_size"}):
        raise UndecodableCalibrationError(f"the calibration has {unknown[0][:_SHOWN]!r}; send {_FORM}, and image_size")
    return dict(document)


def _from_lines(text: str) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for line in text.splitlines():
        name, separator, numbers = line.partition(":")
        if separator and name.strip() in _SHAPES:
            found[name.strip()] = numbers.split()
    return found


def _matrix(found: Mapping[str, Any], name: str) -> NDArray[np.float64]:
    shape = _SHAPES[name]
    if name not in found:
        came = ", ".join(found) or "none of its lines"
        raise UndecodableCalibrationError(f"the calibration has no {name} ({came} came); send {_FORM}")
    wanted = shape[0] * shape[1]
    try:
        numbers = np.asarray(found[name], np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        raise UndecodableCalibrationError(f"{name} of the calibration is not {wanted} numbers; send {_FORM}") from None
    if numbers.size != wanted:
        raise UndecodableCalibrationError(
            f"{name} of the calibration has {numbers.size} numbers, expected {wanted}, row by row"
        )
    return numbers.reshape(shape)


def _image_size(value: Any) -> tuple[int, int] | None:  # noqa: ANN401 - whatever JSON can hold
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(type(side) is int for side in value):
        raise UndecodableCalibrationError(
            f"image_size of the calibration is {str(value)[:_SHOWN]}; send [width, height] in pixels"
        )
    width, height = value
    return height, width
