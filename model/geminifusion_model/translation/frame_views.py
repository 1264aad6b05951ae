"""Views computed from RGB-D frames with depth in metres, and from rendered rooms, whose geometry is exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.folder import folder_camera
from geminifusion_model.data.nyuv2 import NYU_CAMERA
from geminifusion_model.data.sample import Dataset, DatasetError
from geminifusion_model.data.synthetic_rooms import Rooms
from geminifusion_model.translation.derived import (
    edge_occlusion_of,
    edge_texture_of,
    image_normals,
    normals_of,
    shade_of,
)
from geminifusion_model.translation.domains import FRAME_DOMAINS, Domain
from geminifusion_model.translation.views import View
from geminifusion_runtime.camera import Intrinsics

Floats = NDArray[np.float32]
CameraOf = Callable[[tuple[int, int]], Intrinsics]

_NYU_SIZE = (480, 640)


class FrameViews:
    """Views of the frames of a data set. Implements `Views`.

    Args:
        dataset: with a modality `depth` in metres; RGB alone has no domain but `rgb` and `edge_texture`.
        camera_of: from the size of a frame to its camera, for normals.

    Raises:
        DatasetError: the depth is in no known unit.
    """

    counts_unmeasured = False

    def __init__(self, dataset: Dataset, camera_of: CameraOf) -> None:
        self.dataset, self._camera_of = dataset, camera_of
        self.data, self.data_license = dataset.task.data, dataset.task.data_license
        depth = [modality for modality in dataset.task.modalities if modality.name == "depth"]
        if depth and depth[0].unit != "metre":
            raise DatasetError(
                f"the depth of {self.data} is in no known unit; give it, as --metres-per-unit for nyuv2-lists and "
                "sunrgbd, as metres_per_unit in a dataset.yaml"
            )
        known = FRAME_DOMAINS if depth else {name: FRAME_DOMAINS[name] for name in ("rgb", "edge_texture")}
        self.domains: Mapping[str, Domain] = known

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int, names: Sequence[str]) -> View:
        """See `Views`."""
        sample = self.dataset[index]
        depth = sample.others.get("depth")
        camera = self._camera_of(sample.rgb.shape[:2])
        return _view(sample.name, names, sample.rgb, depth, lambda: normals_of(_there(depth), camera))


class RoomViews:
    """Views of rendered rooms, whose depth and normals are exact. Implements `Views`.

    Args:
        rooms: the rooms.
        first: index of the first one; with `count`, a split.
        count: how many.
    """

    counts_unmeasured = False
    domains: Mapping[str, Domain] = FRAME_DOMAINS

    def __init__(self, rooms: Rooms, first: int = 0, count: int | None = None) -> None:
        self.rooms, self._first = rooms, first
        self._count = len(rooms) - first if count is None else count
        self.data, self.data_license = "rendered rooms, exact geometry", rooms.task.data_license

    def __len__(self) -> int:
        return self._count

    def read(self, index: int, names: Sequence[str]) -> View:
        """See `Views`."""
        sample, surfaces = self.rooms.with_geometry(self._first + index)
        return _view(sample.name, names, sample.rgb, surfaces.depth, lambda: image_normals(surfaces.normal))


def camera_of_dataset(kind: str, root: Path | str) -> CameraOf:
    """The camera of a data set's frames by their size, height and width.

    NYU Depth V2 and rendered rooms have its published one, own folders what their contract says. Others are taken to
    have that focal length for their width, and their center in the middle.

    Args:
        kind: one of `data.dataset_names.DATASETS`.
        root: the data set's folder.
    """
    if kind in ("nyuv2", "nyuv2-lists"):
        return lambda size: NYU_CAMERA.resized(_NYU_SIZE, size)
    if kind == "folder" and (known := folder_camera(root)) is not None:
        return lambda _: known
    return assumed_camera


def assumed_camera(size: tuple[int, int]) -> Intrinsics:
    """A camera with the angle of view of NYU Depth V2's, centered."""
    height, width = size
    focal = NYU_CAMERA.fx * width / _NYU_SIZE[1]
    return Intrinsics(fx=focal, fy=focal, cx=(width - 1) / 2, cy=(height - 1) / 2)


def _view(
    name: str,
    names: Sequence[str],
    rgb: NDArray[np.uint8],
    depth: Floats | None,
    normals: Callable[[], Floats],
) -> View:
    """The wanted domains of a frame, nothing else computed."""
    everywhere = np.ones(rgb.shape[:2], np.bool_)
    values: dict[str, NDArray[np.generic]] = {}
    masks = dict.fromkeys(names, everywhere)
    if {"normal", "shade"} & set(names):
        normal = normals()
        known = np.asarray((normal * normal).sum(axis=2) > 0)
        values |= {"normal": normal, "shade": shade_of(normal)}
        masks |= {"normal": known, "shade": known}
    if "rgb" in names:
        values["rgb"] = rgb
    if "edge_texture" in names:
        values["edge_texture"] = edge_texture_of(rgb)
    if {"depth", "edge_occlusion"} & set(names):
        values["depth"] = _there(depth)
        masks["depth"] = np.asarray((_there(depth) > 0) & (_there(depth) < np.inf))
    if "edge_occlusion" in names:
        values["edge_occlusion"] = edge_occlusion_of(_there(depth))
        masks["edge_occlusion"] = masks["depth"]
    images = {wanted: FRAME_DOMAINS[wanted].encode(values[wanted]) for wanted in names}
    return View(name, images, {wanted: masks[wanted] for wanted in names})


def _there(depth: Floats | None) -> Floats:
    assert depth is not None, "domains of depth are only offered with depth"
    return depth
