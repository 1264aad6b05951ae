"""Share, distance and place of each class in a mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactMetadata, ClassSpec
from geminifusion_runtime.camera import Intrinsics
from geminifusion_runtime.geometry.measures import STRAY, ClassSpace, class_spaces

__all__ = ["ClassShare", "ClassSpace", "class_shares", "distances"]


@dataclass(frozen=True, kw_only=True)
class ClassShare:
    """One class of a mask. `fraction` is of all pixels, 0…1; `median_depth_m` of those that were measured.

    `nearest_depth_m` is the second percentile of their distances: the nearest pixel itself is often a stray reading.
    `space` is known where the camera is, and the class was measured.
    """

    id: int
    name: str
    color: tuple[int, int, int]
    pixels: int
    fraction: float
    median_depth_m: float | None
    nearest_depth_m: float | None = None
    space: ClassSpace | None = None


def distances(metadata: ArtifactMetadata, arrays: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32] | None:
    """Metres, `H W`, for `class_shares`: the first modality that measures distance, of those that came; else None.

    Args:
        metadata: of the model.
        arrays: the decoded images by modality.
    """
    name = metadata.distance_modality(arrays)
    return None if name is None else arrays[name].astype(np.float32, copy=False)


def class_shares(
    labels: NDArray[np.uint8],
    depth_m: NDArray[np.float32] | None,
    classes: Sequence[ClassSpec],
    camera: Intrinsics | None = None,
) -> tuple[ClassShare, ...]:
    """Shares of the classes that occur, the largest first.

    Args:
        labels: `H W` class indices.
        depth_m: `H W` metres, 0 where nothing was measured; None where no distances came.
        classes: the model's classes, by index.
        camera: that the pixels belong to; None where it is not known.
    """
    pixels = np.bincount(labels.ravel(), minlength=len(classes))
    spaces = {} if depth_m is None or camera is None else class_spaces(depth_m, labels, camera)
    shares = []
    for spec in classes:
        count = int(pixels[spec.id])
        if not count:
            continue
        median = nearest = None
        if depth_m is not None:
            distances = depth_m[labels == spec.id]
            distances = distances[distances > 0]
            if distances.size:
                nearest, median = (float(value) for value in np.percentile(distances, (STRAY, 50)))
        shares.append(
            ClassShare(
                id=spec.id,
                name=spec.name,
                color=spec.color,
                pixels=count,
                fraction=count / labels.size,
                median_depth_m=median,
                nearest_depth_m=nearest,
                space=spaces.get(spec.id),
            )
        )
    return tuple(sorted(shares, key=lambda share: (-share.pixels, share.id)))
