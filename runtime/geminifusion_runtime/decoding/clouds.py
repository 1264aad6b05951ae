"""Decoding of LiDAR point clouds: KITTI's `.bin`, and npy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.decoding.cloud_width import POINT_NUMBERS, evidence_of_another_width
from geminifusion_runtime.decoding.npy_layout import NPY_SIGNATURE, read_npy_layout
from geminifusion_runtime.errors import GeminiFusionError, TooManyPointsError, UndecodablePointsError

POINT_BYTES = 4 * POINT_NUMBERS  # of a decoded point, and of one in KITTI's `.bin`
_FORM = "little-endian float32 x y z reflectance (KITTI's .bin), or an npy of P x 4 or P x 3 numbers, in metres"
# Signatures of formats that hold clouds and are not read here.
_OTHERS = {
    b"ply\n": "a PLY file",
    b"ply\r": "a PLY file",
    b"# .PCD": "a PCD file",
    b"VERSION ": "a PCD file",
    b"LASF": "a LAS or LAZ file",
    b"PK\x03\x04": "a ZIP archive, such as an npz",
    b"\x1f\x8b": "compressed by gzip",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedCloud:
    """Points `P 4` float32: x y z in metres in LiDAR axes, and reflectance; with warnings for the client."""

    points: NDArray[np.float32]
    warnings: tuple[str, ...] = ()


def decode_cloud(data: bytes | NDArray[np.generic], *, max_points: int, field: str = "points") -> DecodedCloud:
    """Decode a cloud; an array is taken as decoded.

    Args:
        data: KITTI's `.bin`, an `.npy` file, or an array `P 4` or `P 3`. Without a fourth number reflectance is 0.
        max_points: reject a cloud of more before it is decoded.
        field: its name in the request, for messages.

    Raises:
        UndecodablePointsError: no cloud, another number of numbers for each point (of a `.bin`: where its numbers
            show that), or points that are NaN or infinite.
        TooManyPointsError: more points than `max_points`.
    """
    stored = data if isinstance(data, np.ndarray) else _stored(data, field)
    if stored.ndim != 2 or stored.shape[1] not in (3, POINT_NUMBERS) or stored.dtype.kind not in "fiu":
        raise UndecodablePointsError(
            f"{field} is {stored.dtype} of shape {stored.shape}, expected P x 4 or P x 3 numbers; send {_FORM}"
        )
    check_number(len(stored), max_points=max_points, field=field)
    points = np.zeros((len(stored), POINT_NUMBERS), np.float32)
    with np.errstate(over="ignore"):
        points[:, : stored.shape[1]] = stored
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        raise UndecodablePointsError(
            f"{field} has {np.count_nonzero(~finite)} points of {len(points)} that are NaN or infinite; "
            "leave out the returns that were not measured"
        )
    return DecodedCloud(points=points, warnings=_warnings(stored.shape[1], points, field))


def check_number(num_points: int, *, max_points: int, field: str = "points") -> None:
    """Check that a cloud has not too many points.

    Raises:
        TooManyPointsError: more than `max_points`.
    """
    if num_points > max_points:
        raise TooManyPointsError(
            f"{field} has {num_points} points; this server takes {max_points}: send one sweep, or every other point"
        )


def declared_points(data: bytes | NDArray[np.generic]) -> int:
    """Points that a cloud has by its size or header, before it is decoded; 0 for what is none."""
    if isinstance(data, np.ndarray):
        return len(data) if data.ndim == 2 else 0
    if not data.startswith(NPY_SIGNATURE):
        return len(data) // POINT_BYTES
    try:
        shape, *_ = read_npy_layout(data, "points")
    except GeminiFusionError:
        return 0
    return shape[0] if len(shape) == 2 else 0


def _stored(data: bytes, field: str) -> NDArray[np.generic]:
    if data.startswith(NPY_SIGNATURE):
        try:
            shape, fortran, dtype, offset = read_npy_layout(data, field)
        except GeminiFusionError as error:
            raise UndecodablePointsError(str(error)) from None
        return np.frombuffer(data, dtype, offset=offset).reshape(shape, order="F" if fortran else "C")
    for signature, name in _OTHERS.items():
        if data.startswith(signature):
            raise UndecodablePointsError(f"{field} is {name}, which is not read here; send {_FORM}")
    if len(data) % POINT_BYTES:
        raise UndecodablePointsError(
            f"{field} has {len(data)} bytes, which is no whole number of points of {POINT_BYTES} bytes; send {_FORM}"
        )
    numbers = np.frombuffer(data, "<f4")
    if evidence := evidence_of_another_width(numbers):
        raise UndecodablePointsError(f"{field} is no P x {POINT_NUMBERS} sweep: {evidence}; send {_FORM}")
    return numbers.reshape(-1, POINT_NUMBERS)


def _warnings(num_columns: int, points: NDArray[np.float32], field: str) -> tuple[str, ...]:
    if num_columns < POINT_NUMBERS:
        return (f"{field} came without reflectance, taken as 0; answers are less sure where the model relies on it",)
    if len(points) and (highest := float(points[:, 3].max())) > 1:
        return (f"{field} has reflectances up to {highest:g}; the model was trained on 0 to 1, so divide them",)
    return ()
