"""Point clouds as files: PLY, PCD and npz."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.camera import Intrinsics
from geminifusion_runtime.geometry.points import PointCloud
from geminifusion_runtime.npz_encoder import npz
from geminifusion_runtime.types import CloudFormat

_PLY = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3), ("label", "u1"), ("confidence", "<f4")])
_PCD = np.dtype([("xyz", "<f4", 3), ("rgb", "<u4"), ("label", "<u4"), ("confidence", "<f4")])


def encode_cloud(cloud: PointCloud, file_format: CloudFormat, comments: Sequence[str] = ()) -> bytes:
    """A point cloud as a file.

    Args:
        cloud: the points.
        file_format: `ply`: binary little-endian, `x y z red green blue label confidence`; `pcd`: version 0.7, binary,
            `x y z rgb label confidence` with the color in three bytes of a number as PCL has it; `cloud-npz`: the
            arrays `xyz`, `rgb`, `label` and `confidence`.
        comments: lines for the header of PLY and PCD; other than ASCII characters become question marks.
    """
    return _WRITERS[file_format](cloud, [_ascii(line) for line in comments])


def cloud_comments(model: str, camera: Intrinsics, classes: Mapping[int, str]) -> list[str]:
    """What a file of points says of itself.

    Args:
        model: `name@version`.
        camera: of the points.
        classes: names of the classes present, by id.
    """
    return [
        f"model {model}",
        f"camera fx {camera.fx:g} fy {camera.fy:g} cx {camera.cx:g} cy {camera.cy:g}",
        "metres; x right, y down, z forward",
        *(f"label {class_id} {name}" for class_id, name in sorted(classes.items())),
    ]


def _ply(cloud: PointCloud, comments: Sequence[str]) -> bytes:
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {line}" for line in comments),
        f"element vertex {len(cloud)}",
        *(f"property float {name}" for name in ("x", "y", "z")),
        *(f"property uchar {name}" for name in ("red", "green", "blue", "label")),
        "property float confidence",
        "end_header",
    ]
    records: NDArray[np.void] = np.empty(len(cloud), _PLY)
    for name in ("xyz", "rgb", "label", "confidence"):
        records[name] = getattr(cloud, name)
    return _file(header, records)


def _pcd(cloud: PointCloud, comments: Sequence[str]) -> bytes:
    header = [
        "# .PCD v0.7 - Point Cloud Data file format",
        *(f"# {line}" for line in comments),
        "VERSION 0.7",
        "FIELDS x y z rgb label confidence",
        "SIZE 4 4 4 4 4 4",
        "TYPE F F F F U F",
        "COUNT 1 1 1 1 1 1",
        f"WIDTH {len(cloud)}",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(cloud)}",
        "DATA binary",
    ]
    records: NDArray[np.void] = np.empty(len(cloud), _PCD)
    red, green, blue = cloud.rgb.T.astype(np.uint32)
    records["xyz"], records["rgb"] = cloud.xyz, red << 16 | green << 8 | blue
    records["label"], records["confidence"] = cloud.label, cloud.confidence
    return _file(header, records)


def _npz(cloud: PointCloud, _: Sequence[str]) -> bytes:
    return npz({"xyz": cloud.xyz, "rgb": cloud.rgb, "label": cloud.label, "confidence": cloud.confidence})


def _file(header: Sequence[str], records: NDArray[np.void]) -> bytes:
    return b"".join(("\n".join((*header, "")).encode("ascii"), records.data))


def _ascii(text: str) -> str:
    return "".join(character if " " <= character <= "~" else "?" for character in text)


_WRITERS: dict[CloudFormat, Callable[[PointCloud, Sequence[str]], bytes]] = {
    "ply": _ply,
    "pcd": _pcd,
    "cloud-npz": _npz,
}
