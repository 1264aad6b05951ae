"""A stand-in for a fast accelerator, so that the server is what is measured and not the model.

A batch of N takes 6 + 2 N milliseconds during which the CPU is free and the GIL released. The labels are those of the
pixels in the middle of a grid's cells, so that every response can be checked bit by bit:
2 · (green / 64) + (farther than 2 m).

Run as a script, it is `geminifusion serve` with the stand-in in place of the model:

    python benchmarks/service/stand_in.py --artifact DIRECTORY [options of geminifusion serve]
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import (
    MODEL_NAME,
    ClassSpec,
    ModalitySpec,
    SegmentationMetadata,
    SizePolicy,
    Training,
    read_metadata,
    sha256_of,
    write_metadata,
)
from geminifusion_runtime.backends.protocol import Backend, GraphOutputs
from geminifusion_runtime.model import Model

NAME = "stand-in"
SECONDS_PER_BATCH, SECONDS_PER_IMAGE = 0.006, 0.002
_CELL = 32  # pixels; label maps of real scenes have flat areas too, and so compress
_NUM_CLASSES = 8


def labels_of(rgb: NDArray[np.uint8], depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Labels `… H W` that the stand-in predicts for `… H W 3` and `… H W`, in metres."""
    height, width = depth.shape[-2:]
    middle = np.s_[..., _CELL // 2 :: _CELL, _CELL // 2 :: _CELL]
    coarse = (2 * (rgb[..., 1][middle] >> 6) + (depth[middle] > 2)).astype(np.uint8)
    # What is left of a cell at the end of a side belongs to the cell before.
    rows, columns = (np.full(count, _CELL) for count in coarse.shape[-2:])
    rows[-1], columns[-1] = height - _CELL * (len(rows) - 1), width - _CELL * (len(columns) - 1)
    return np.repeat(np.repeat(coarse, columns, axis=-1), rows, axis=-2)


class StandIn:
    """The backend."""

    name = NAME

    def size_problem(self, height: int, width: int) -> str | None:
        """It takes what has a cell."""
        return None if min(height, width) >= _CELL else f"no side may be below {_CELL}"

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> GraphOutputs:
        """Predict, in the time of an accelerator at least."""
        until = time.perf_counter() + SECONDS_PER_BATCH + SECONDS_PER_IMAGE * len(inputs["rgb"])
        labels = labels_of(inputs["rgb"].astype(np.uint8, copy=False), inputs["depth"].astype(np.float32, copy=False))
        count, height, width = labels.shape
        quarter = np.zeros((count, -(-height // 4), -(-width // 4)), np.float32)
        time.sleep(max(0.0, until - time.perf_counter()))
        return {"labels": labels, "confidence": quarter, "gate": quarter}


def write_stand_in(directory: Path) -> Path:
    """Write what the service needs to know of it; the file of the graph is there to be verified and is never run."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MODEL_NAME).write_bytes(b"The stand-in needs no graph.\n")
    rgb = ModalitySpec(
        name="rgb",
        dtype="uint8",
        channels=3,
        unit="intensity",
        encoding="imagenet",
        range=(0, 255),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )
    depth = ModalitySpec(
        name="depth",
        dtype="float32",
        channels=1,
        unit="metre",
        encoding="metric",
        range=(0, 10),
        invalid=(0.0, None),
        mean=(0.0,),
        std=(1.0,),
    )
    write_metadata(
        directory,
        SegmentationMetadata(
            schema_version=1,
            name=NAME,
            version="1",
            encoder=NAME,
            fusion="none",
            modalities=(rgb, depth),
            size=SizePolicy(min_side=_CELL, max_pixels=4096 * 4096, reference=(480, 640)),
            classes=tuple(
                ClassSpec(id=index, name=f"class {index}", color=(30 * index, 255 - 30 * index, 128))
                for index in range(_NUM_CLASSES)
            ),
            ignore_index=255,
            precision="float32",
            opset=20,
            files={MODEL_NAME: sha256_of(directory / MODEL_NAME)},
            checkpoint_sha256="0" * 64,
            training=Training(data="none", summary="a stand-in for a fast accelerator"),
            weights_license="Apache-2.0",
            data_license="none",
        ),
    )
    return directory


def open_stand_in(directory: Path) -> Model:
    """A model with the artifact's metadata and the stand-in as its backend."""
    backend: Backend = StandIn()
    return Model(read_metadata(directory), backend, "a benchmark asked for it")


def serve_stand_in(arguments: Sequence[str]) -> None:
    """`geminifusion serve` with the stand-in in place of the model."""
    from geminifusion_service.commands import serve
    from geminifusion_service.models.loading import ModelLoader

    def open_(self: ModelLoader, directory: Path, *, version: str | None = None, engine: str | None = None) -> Model:
        return open_stand_in(directory)

    ModelLoader.open = open_  # type: ignore[method-assign]
    serve.main(args=list(arguments), prog_name="geminifusion serve")


if __name__ == "__main__":
    import sys

    serve_stand_in(sys.argv[1:])
