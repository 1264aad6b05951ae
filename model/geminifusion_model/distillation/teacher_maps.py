"""What the teacher makes of every photograph, computed once and kept on disk.

The teacher sees each photograph whole and at a size that it knows, whatever small crop the student sees, and its maps
are cut as the student's crop is (FKD, arXiv:2112.01528; ReLabel, arXiv:2101.05022). Shown the student's crops itself,
a classifier that was trained on larger images does not know what it sees: EfficientNet-Lite2, trained at 260 pixels,
names the same class at 128 pixels as at 256 for two photographs of rooms in five.

maps.npy     float16, one row a photograph: its maps, one after the other
maps.json    of which teacher, photographs and size they are, and how many rows are done
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geminifusion_model.data.loader import read_ahead
from geminifusion_model.distillation.crops import squeezed
from geminifusion_model.distillation.images import Photographs
from geminifusion_model.distillation.teacher import Teacher
from geminifusion_model.training.errors import TrainingError
from geminifusion_runtime import strict_json

_MAPS_NAME, _DESCRIPTION_NAME = "maps.npy", "maps.json"
_BATCH = 16
_BATCHES_A_NOTE = 16  # between two notes of how far the teacher has come


class TeacherMaps:
    """The teacher's maps of some photographs.

    Args:
        directory: where they are kept, of one run or of several; made if need be.
        side: of the squares that the teacher sees, in pixels.
        stages: whose maps are kept; 1 is at 1/4.

    Raises:
        TrainingError: the directory has the maps of another teacher, size or photographs.
        OSError: it cannot be written.
    """

    def __init__(
        self, directory: Path, teacher: Teacher, photographs: Photographs, *, side: int, stages: tuple[int, ...]
    ) -> None:
        self.directory, self._photographs, self._side, self._stages = directory, photographs, side, stages
        info = teacher.info
        sides = [-(-side // 2 ** (1 + stage)) for stage in stages]
        class_side = -(-side // 32)
        self._shapes = [
            *((info.channels[stage - 1], length, length) for stage, length in zip(stages, sides, strict=True)),
            (info.num_classes, class_side, class_side),
        ]
        self._description = {
            "teacher": asdict(info) | {"channels": list(info.channels)},
            "side": side,
            "stages": list(stages),
            "photographs": _digest(photographs),
        }
        self.done = self._done()
        directory.mkdir(parents=True, exist_ok=True)
        width = sum(int(np.prod(shape)) for shape in self._shapes)
        path = directory / _MAPS_NAME
        if self.done and path.is_file():
            self._rows: NDArray[np.float16] = np.lib.format.open_memmap(path, mode="r+")
        else:
            self.done = 0
            shape = (len(photographs), width)
            self._rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
            _reserve(path)

    def complete(self, teacher: Teacher, device: torch.device, on_progress: Callable[[int], None]) -> None:
        """Ask the teacher about the photographs that are left.

        Args:
            on_progress: called with the number of photographs done. If it raises a KeyboardInterrupt, the work goes on
                from there the next time; after any other end it goes on from the last note.

        Raises:
            TrainingError: the teacher's maps are not of the sizes it should give, or not finite in float16.
            OSError: they cannot be written.
        """

        def load(start: int) -> list[NDArray[np.uint8]]:
            chosen = range(start, min(start + _BATCH, len(self._photographs)))
            return [squeezed(self._photographs.rgb(index), self._side) for index in chosen]

        starts = range(self.done, len(self._photographs), _BATCH)
        for number, images in enumerate(read_ahead(load, starts, workers=1)):
            rgb = torch.from_numpy(np.stack(images)).to(device)
            begin = self.done
            self._rows[begin : begin + len(images)] = self._row_of(teacher, rgb)
            self.done += len(images)
            if number % _BATCHES_A_NOTE == _BATCHES_A_NOTE - 1 or self.done == len(self._photographs):
                self._note()
            try:
                on_progress(self.done)
            except KeyboardInterrupt:
                self._note()
                raise

    def rows(self, indices: list[int]) -> NDArray[np.float16]:
        """What is kept of some photographs, one row each, for `split`."""
        return self._rows[indices]

    def split(self, rows: NDArray[np.float16], device: torch.device) -> tuple[Tensor, ...]:
        """Rows as maps `B C H W` float32: one for each stage, then the class map."""
        values = torch.from_numpy(rows).to(device).float()
        sizes = [int(np.prod(shape)) for shape in self._shapes]
        return tuple(
            part.unflatten(1, shape) for part, shape in zip(values.split(sizes, dim=1), self._shapes, strict=True)
        )

    def _row_of(self, teacher: Teacher, rgb: Tensor) -> NDArray[np.float16]:
        output = teacher(rgb)
        maps = [*(output.pyramid[stage - 1] for stage in self._stages), output.class_map]
        for found, shape in zip(maps, self._shapes, strict=True):
            if tuple(found.shape[1:]) != shape:
                raise TrainingError(
                    f"{teacher.info.name} gives a map of {tuple(found.shape[1:])} for images of {self._side} pixels; "
                    f"expected {shape} (channels, height, width): mend the teacher's adapter"
                )
        rows = torch.cat([found.flatten(1) for found in maps], dim=1).to(torch.float16)
        if not rows.isfinite().all():
            raise TrainingError(
                f"{teacher.info.name} gives values beyond float16, or none; let its adapter scale its maps down"
            )
        return rows.cpu().numpy()

    def _done(self) -> int:
        path = self.directory / _DESCRIPTION_NAME
        if not path.is_file():
            return 0
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            done = int(found.pop("done"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TrainingError(
                f"{path} does not describe a teacher's maps ({type(error).__name__}: {error}); remove {self.directory}"
            ) from None
        other = [name for name, value in self._description.items() if found.get(name) != value]
        if other:
            raise TrainingError(
                f"{self.directory} has the maps of other settings ({', '.join(other)} differ); name another directory"
            )
        return done

    def _note(self) -> None:
        """Say on disk how many rows are done, once they are."""
        assert isinstance(self._rows, np.memmap)
        self._rows.flush()
        partial = self.directory / f".{_DESCRIPTION_NAME}.partial"
        with partial.open("w", encoding="utf-8") as stream:
            stream.write(strict_json.dumps({**self._description, "done": self.done}, indent=2))
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(self.directory / _DESCRIPTION_NAME)


def _reserve(path: Path) -> None:
    """Let a disk that is too small say so now: later, writing to mapped memory would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)


def _digest(photographs: Photographs) -> str:
    """Of the photographs' names and sizes in bytes: reading all of them would take as long as looking at them."""
    digest = hashlib.sha256()
    for name, path in zip(photographs.names, photographs.paths, strict=True):
        digest.update(f"{name}\t{path.stat().st_size}\n".encode())
    return digest.hexdigest()
