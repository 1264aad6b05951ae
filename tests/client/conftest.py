"""A real pair of files and a real server, shared by the tests of the client and the command line."""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from geminifusion.server_process import running_server
from geminifusion_runtime.encoding.run_lengths import encode_counts


@dataclass(frozen=True)
class Pair:
    """The same scene as files and as arrays; depth in millimetres, with holes."""

    rgb_path: Path
    depth_path: Path
    rgb: np.ndarray
    depth_mm: np.ndarray


def facts(side=16, class_id=1, **changed):
    """The JSON of a response to a square image, all of one class."""
    document = {
        "model": "m@1",
        "request_id": "x",
        "size": {"height": side, "width": side},
        "classes": [],
        "mask": {"rle": [{"class_id": class_id, "counts": encode_counts(np.array([0, side * side]))}]},
        "sensors": {},
        "timings_ms": {},
        "batch_size": 1,
        "warnings": [],
    }
    return json.dumps(document | changed).encode()


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    rows, columns = np.mgrid[:50, :70]
    rng = np.random.default_rng(7)
    rgb = np.stack([rows * 5, columns * 3, rng.integers(0, 256, rows.shape)], axis=2).astype(np.uint8)
    depth_mm = (500 + 60 * rows + 11 * columns).astype(np.uint16)
    depth_mm[10:14, 20:30] = 0
    cv2.imwrite(str(folder / "room.png"), rgb[:, :, ::-1])
    cv2.imwrite(str(folder / "room_depth.png"), depth_mm)
    return Pair(folder / "room.png", folder / "room_depth.png", rgb, depth_mm)


@pytest.fixture(scope="session")
def live_server(tiny_artifact, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "server.log"
    with running_server(["--artifact", tiny_artifact], log) as server:
        yield server
