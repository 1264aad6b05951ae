"""Boxes that scenes are made of, and the rays that meet them. R rays, n parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SCENERY = -1  # the owner of what is no object
GROUND = -1  # instead of a part
NOTHING = -2


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """Boxes that stand upright, in LiDAR axes.

    Attributes:
        centers: `n 3` metres, of the whole box.
        halves: `n 3` metres, half of length, width and height.
        yaws: `n` radians.
        colors: `n 3`, 0…1.
        reflectances: `n`, 0…1.
        owners: `n`, index of the object it is part of, or `SCENERY`.
        lit: `n`, whether its front and back have a car's lights; `windows`, whether its sides have a house's.
    """

    centers: Floats
    halves: Floats
    yaws: Floats
    colors: Floats
    reflectances: Floats
    owners: NDArray[np.int64]
    lit: NDArray[np.bool_]
    windows: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.yaws)


@dataclass(frozen=True, kw_only=True, eq=False)
class Hits:
    """Where rays end.

    Attributes:
        distances: `R` metres, infinite without a hit.
        parts: `R`, index of the part, `GROUND` or `NOTHING`.
        alone: by object, how many rays would meet it if nothing else were there.
    """

    distances: Floats
    parts: NDArray[np.int64]
    alone: dict[int, int]


def cast(parts: Parts, origin: Floats, directions: Floats, ground: float) -> Hits:
    """Follow rays from one point.

    Args:
        origin: `3`.
        directions: `R 3` of length 1.
        ground: height of the plane z that rays end at.
    """
    down = directions[:, 2] < -1e-4
    distances = np.full(len(directions), np.inf, np.float32)
    distances[down] = (ground - origin[2]) / directions[down, 2]
    found = np.where(down, GROUND, NOTHING)
    met: dict[int, list[NDArray[np.int64]]] = {}
    for index in range(len(parts)):
        offset = parts.centers[index] - origin
        near, radius = float(np.linalg.norm(offset)), float(np.linalg.norm(parts.halves[index]))
        if near > radius:  # only rays within the cone around the part's surrounding sphere
            cosine = np.sqrt(max(1 - (radius / near) ** 2, 0.0)) - 1e-4
            (rays,) = np.nonzero(directions @ (offset / near) >= cosine)
        else:
            rays = np.arange(len(directions))
        entry = _entries(offset, parts.halves[index], float(parts.yaws[index]), directions[rays])
        rays, entry = rays[np.isfinite(entry)], entry[np.isfinite(entry)]
        if parts.owners[index] != SCENERY:
            met.setdefault(int(parts.owners[index]), []).append(rays)
        nearer = entry < distances[rays]
        distances[rays[nearer]], found[rays[nearer]] = entry[nearer], index
    return Hits(
        distances=distances,
        parts=found,
        alone={owner: len(np.unique(np.concatenate(rays))) for owner, rays in met.items()},
    )


def local(parts: Parts, which: NDArray[np.int64], points: Floats) -> tuple[Floats, Floats]:
    """Points `k 3` on parts `which`, in each part's own axes as shares of its halves (-1…1), and the outward normals.

    Returns:
        `k 3` each; normals are in LiDAR axes.
    """
    offset = points - parts.centers[which]
    cosine, sine = np.cos(parts.yaws[which]), np.sin(parts.yaws[which])
    own = np.stack([offset[:, 0] * cosine + offset[:, 1] * sine, offset[:, 1] * cosine - offset[:, 0] * sine], axis=1)
    shares = np.concatenate([own, offset[:, 2:]], axis=1) / parts.halves[which]
    face = np.abs(shares).argmax(axis=1)
    rows = np.arange(len(which))
    normals = np.zeros_like(shares)
    normals[rows, face] = np.sign(shares[rows, face])
    along, across = normals[:, 0], normals[:, 1]
    turned = np.stack([along * cosine - across * sine, along * sine + across * cosine, normals[:, 2]], axis=1)
    return shares.astype(np.float32), turned.astype(np.float32)


def _entries(offset: Floats, halves: Floats, yaw: float, directions: Floats) -> Floats:
    """Distances at which rays enter a box whose centre is at `offset` from their origin; infinite if they miss it."""
    cosine, sine = np.float32(np.cos(yaw)), np.float32(np.sin(yaw))
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], np.float32)
    ray, center = directions @ turn, offset @ turn
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (center - halves) / ray, (center + halves) / ray
    enter, leave = np.fmin(first, second).max(axis=1), np.fmax(first, second).min(axis=1)
    return np.where((leave >= enter) & (enter > 0), enter, np.float32(np.inf))
