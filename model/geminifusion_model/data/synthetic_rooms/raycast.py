"""The first surface that each ray meets, and the point.

Every shape is tested only inside the rectangle its enclosing box projects to. A ray's direction has forward
component 1, so its parameter is the depth a camera reports. H W: rays down and across. N: shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.synthetic_rooms.shapes import BOX, Shape, enter, surface_normal

Array = NDArray[np.float32]

_NEAR_M = 0.05
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
_EDGES = np.array([(a, b) for a in range(8) for b in range(a) if bin(a ^ b).count("1") == 1])


@dataclass(frozen=True)
class View:
    """A pinhole camera's rays.

    Args:
        origin: `3` metres.
        axes: `3 3`, columns right, down and forward in the world.
        x: `W` tangents across, evenly spaced.  y: `H` tangents down, evenly spaced.
    """

    origin: Array
    axes: Array
    x: Array
    y: Array


@dataclass(frozen=True)
class Surfaces:
    """The surfaces that the rays met.

    Args:
        depth: `H W` metres along the view's forward axis.
        shape: `H W` indices into the list of shapes.
        point: `3 H W` metres in the world.
        normal: `3 H W` of length 1, towards the side seen.
        local: `3 H W`, coordinates in the shape's cube.
        facing: `H W`, the local axis (0, 1, 2) most along the normal.
    """

    depth: Array
    shape: NDArray[np.int32]
    point: Array
    normal: Array
    local: Array
    facing: NDArray[np.int8]


def cast(shapes: Sequence[Shape], room_size: Array, view: View) -> tuple[Array, NDArray[np.int32]]:
    """Depth and shape index per ray, `H W` each.

    Args:
        shapes: the first six are the room's sides x low, x high, y low, y high, floor, ceiling.
        room_size: `3` metres; the room is [0, size]³ and the view is inside it.
        view: the rays.
    """
    depth, index = _room_sides(room_size, view)
    if len(shapes) > 6:
        for number, rows, columns in _rectangles(shapes, view):
            shape = shapes[number]
            found = _meet(shape, view, rows, columns)
            if found is not None:
                before = depth[rows, columns]
                closer = found < before
                np.copyto(before, found, where=closer)
                np.copyto(index[rows, columns], np.int32(number), where=closer)
    return depth, index


def resolve(shapes: Sequence[Shape], view: View, depth: Array, index: NDArray[np.int32]) -> Surfaces:
    """Points, normals and local coordinates where the rays of `cast` end."""
    x, y = view.x[None, :], view.y[:, None]
    point = np.stack([view.origin[i] + depth * _direction(view.axes[i], x, y) for i in range(3)])
    centers = np.stack([shape.center for shape in shapes])
    to_local = np.stack([_to_local(shape) for shape in shapes])
    offset = np.stack([point[i] - centers[:, i].take(index) for i in range(3)])
    local = np.empty_like(point)
    for i in range(3):
        local[i] = sum(to_local[:, i, j].take(index) * offset[j] for j in range(3))
    size = np.abs(local)
    facing = np.where(size[0] >= np.maximum(size[1], size[2]), 0, np.where(size[1] >= size[2], 1, 2)).astype(np.int8)
    # A box's normal is one of its axes, seen from outside.
    sign = np.sign(np.choose(facing, local)).astype(np.float32)
    flat = index * 3 + facing
    axes = np.stack([shape.axes for shape in shapes])  # N 3 3
    normal = np.stack([axes[:, i, :].reshape(-1).take(flat) * sign for i in range(3)])
    for number in np.unique(index):
        shape = shapes[number]
        if shape.kind != BOX:
            here = np.nonzero(index == number)
            inner = surface_normal(shape, local[:, here[0], here[1]])
            outer = _to_local(shape).T @ inner
            outer /= np.maximum(np.linalg.norm(outer, axis=0), np.float32(1e-6))
            normal[:, here[0], here[1]] = outer
            facing[here] = np.abs(shape.axes.T @ outer).argmax(0)
    return Surfaces(depth, index, point, normal, local, facing)


def _direction(row: Array, x: Array, y: Array) -> Array:
    """One component of every ray's direction; `x` is `1 W`, `y` is `H 1`."""
    return np.asarray(row[0] * x + (row[1] * y + row[2]), np.float32)


def _to_local(shape: Shape) -> Array:
    return np.asarray(shape.axes.T / shape.half[:, None], np.float32)


def _room_sides(size: Array, view: View) -> tuple[Array, NDArray[np.int32]]:
    x, y = view.x[None, :], view.y[:, None]
    depth = np.full((len(view.y), len(view.x)), np.inf, np.float32)
    index = np.zeros(depth.shape, np.int32)
    for axis in range(3):
        direction = _direction(view.axes[axis], x, y)
        direction[direction == 0] = 1e-9
        ahead = direction > 0
        t = np.where(ahead, size[axis] - view.origin[axis], -view.origin[axis]) / direction
        closer = t < depth
        np.copyto(depth, t, where=closer)
        np.copyto(index, np.where(ahead, np.int32(2 * axis + 1), np.int32(2 * axis)), where=closer)
    return depth, index


def _rectangles(shapes: Sequence[Shape], view: View) -> list[tuple[int, slice, slice]]:
    """The part of the image each shape can appear in; shapes out of sight are left out."""
    inside = shapes[6:]
    reach = np.stack([shape.axes * shape.half for shape in inside])  # n 3 3
    corners = np.stack([shape.center for shape in inside])[:, None] + np.einsum("nij,cj->nci", reach, _CORNERS)
    seen = (corners - view.origin) @ view.axes  # n 8 3: right, down, forward
    start, end = seen[:, _EDGES[:, 0]], seen[:, _EDGES[:, 1]]
    # Where an edge passes the near plane, the crossing stands for the end behind it.
    span = end[..., 2:] - start[..., 2:]
    along = np.clip((_NEAR_M - start[..., 2:]) / np.where(np.abs(span) < 1e-9, 1e-9, span), 0, 1)
    points = np.concatenate([seen, start + along * (end - start)], axis=1)
    valid = points[..., 2] >= _NEAR_M * 0.999
    z = np.maximum(points[..., 2], _NEAR_M * 0.5)
    step_x, step_y = view.x[1] - view.x[0], view.y[1] - view.y[0]
    column = (points[..., 0] / z - view.x[0]) / step_x
    row = (points[..., 1] / z - view.y[0]) / step_y
    left = np.clip(np.floor(np.where(valid, column, np.inf).min(1)), 0, len(view.x))
    right = np.clip(np.ceil(np.where(valid, column, -np.inf).max(1)) + 1, 0, len(view.x))
    top = np.clip(np.floor(np.where(valid, row, np.inf).min(1)), 0, len(view.y))
    bottom = np.clip(np.ceil(np.where(valid, row, -np.inf).max(1)) + 1, 0, len(view.y))
    return [
        (
            int(number) + 6,
            slice(int(top[number]), int(bottom[number])),
            slice(int(left[number]), int(right[number])),
        )
        for number in np.nonzero((right > left) & (bottom > top))[0]
    ]


def _meet(shape: Shape, view: View, rows: slice, columns: slice) -> Array | None:
    """Depth at which the rays of a rectangle enter the shape, infinite where they do not."""
    x, y = view.x[None, columns], view.y[rows, None]
    inverse = _to_local(shape)
    origin = inverse @ (view.origin - shape.center)
    turned = inverse @ view.axes
    directions = [_direction(turned[i], x, y) for i in range(3)]
    near: Array | None = None
    far: Array | None = None
    for start, direction in zip(origin, directions, strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            reciprocal = 1 / direction
            # Entry and exit of a slab: the middle minus and plus half its width.
            middle = -start * reciprocal
            width = np.abs(reciprocal)
            enters, leaves = middle - width, middle + width
        near = enters if near is None else np.fmax(near, enters)
        far = leaves if far is None else np.fmin(far, leaves)
    assert near is not None
    assert far is not None
    hit = (near < far) & (near > _NEAR_M)
    if shape.kind == BOX:
        return np.where(hit, near, np.float32(np.inf))
    where = np.nonzero(hit)
    if len(where[0]) == 0:
        return None
    found = np.full(hit.shape, np.inf, np.float32)
    chosen = np.stack([direction[where] for direction in directions])
    found[where] = enter(shape, origin, chosen, near[where], far[where])
    return found
