"""Weights, inputs and detectors of the golden cases of detection (see tests/golden/README.md)."""

import dataclasses
import gzip
import hashlib
import json
import math

import numpy as np
import torch
from golden import FOLDER, tensor_value

from geminifusion_model.detection.config import MVXNET
from geminifusion_model.detection.projection import image_matrix, lidar2image_after, point_matrix

MANIFEST = json.loads(gzip.decompress((FOLDER / "kitti3d_mvxnet.json.gz").read_bytes()))


def config_of(case):
    """MVX-Net on the small range of a case."""
    low_high = tuple(map(float, MANIFEST[case]["range"]))
    return dataclasses.replace(MVXNET, point_range=low_high)


def weights_of(case):
    """The weights of a case as torch tensors, in the original's layout; their digest is checked."""
    entry = MANIFEST[case]
    arrays = {name: _gained(name, shape, entry) for name, shape in entry["params"]}
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name], dtype="<f4").tobytes())
    assert digest.hexdigest() == entry["weights_sha256"], "the weight rule gives other numbers on this machine"
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _gained(name, shape, entry):
    value = tensor_value(name, shape, entry["weight_seed"])
    if len(shape) < 2:
        return value
    gains = (rule[-1] for rule in entry["gain"] if name.startswith(rule[0]) and name.endswith(tuple(rule[1:-1]) or ""))
    return (value * np.float32(next(gains, 1.0))).astype(np.float32)


def inputs_of(case, numbers):
    """Images, points and projections of a case whose npz is `numbers`."""
    entry = MANIFEST[case]
    noise = np.random.RandomState(entry["input_seed"] + 5000).standard_normal(entry["image"])
    projections = np.stack([_projection(meta) for meta in entry["metas"]])
    return (
        torch.from_numpy((50 * noise).astype(np.float32)),
        [torch.from_numpy(numbers[f"points_{sample}"]) for sample in (0, 1)],
        torch.from_numpy(projections).float(),
    )


def _projection(meta):
    points = np.eye(4)
    if "pcd_rotation" in meta:
        turn = meta["pcd_rotation"]  # of row vectors
        points = point_matrix(
            yaw=math.atan2(turn[0][1], turn[0][0]),
            scale=meta["pcd_scale_factor"],
            translation=meta["pcd_trans"],
            mirrored=meta["pcd_horizontal_flip"],
        )
    width = meta["img_shape"][1] if meta["flip"] else None
    image = image_matrix(factors=tuple(meta["scale_factor"]), mirrored_width=width)
    return lidar2image_after(np.array(meta["lidar2img"]), points, image)
