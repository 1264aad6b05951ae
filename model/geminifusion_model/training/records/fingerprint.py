"""A fingerprint of a data set, of its samples and not of the files they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime import strict_json

# of decoded images: 873 frames of 480x640 with metric depth
BUDGET_BYTES = 2**31


class RecordedTask(Protocol):
    """What the samples of a data set have in common."""

    @property
    def data(self) -> str:
        """The data set's name."""
        ...

    def identity(self) -> dict[str, Any]:
        """Everything that must be the same for samples to mean the same, as plain data."""
        ...


class RecordedSample(Protocol):
    """One sample of any task."""

    @property
    def name(self) -> str:
        """Unique within its data set."""
        ...

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Everything but the name, by name."""
        ...


class RecordedDataset(Protocol):
    """The data of a run of any task."""

    @property
    def task(self) -> RecordedTask:
        """Of all samples."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> RecordedSample: ...


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """A fingerprint of a data set in its order, since that decides which step sees which frame.

    Args:
        frames: number of frames.
        hashed: number of them, spread evenly, that were read for `sha256`; below `frames`, a change may go unseen.
        sha256: by part: `task` (its identity), `names`, and each of the samples' arrays, such as `rgb` and `labels`.
    """

    frames: int
    hashed: int
    sha256: Mapping[str, str]

    def differences(self, other: Self) -> list[str]:
        """The differences of `other` in words; empty if there are none."""
        if other.frames != self.frames:
            return [f"{other.frames} frames instead of {self.frames}"]
        names = [*self.sha256, *(name for name in other.sha256 if name not in self.sha256)]
        return [f"other {name}" for name in names if self.sha256.get(name) != other.sha256.get(name)]

    def to_dict(self) -> dict[str, Any]:
        """The fingerprint as a plain dict for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: `values` were not made by it.
        """
        sha256 = {str(name): str(value) for name, value in dict(values["sha256"]).items()}
        return cls(frames=int(values["frames"]), hashed=int(values["hashed"]), sha256=sha256)


def fingerprint(dataset: RecordedDataset, *, budget_bytes: int = BUDGET_BYTES, workers: int = 2) -> Fingerprint:
    """Read `dataset`, or as many of its frames as have `budget_bytes` (by the size of the first), and hash it.

    The same for every number of `workers`, and for the same samples read from another layout of files.

    Raises:
        ValueError: the data set is empty.
    """
    if len(dataset) == 0:
        raise ValueError("the data set is empty; expected at least one frame")
    first = dataset[0]
    frame_bytes = sum(image.nbytes for image in first.arrays().values())
    count = min(len(dataset), max(1, budget_bytes // frame_bytes))
    indices = np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist()
    with ThreadPoolExecutor(workers, thread_name_prefix="fingerprint") as pool:
        digests = list(pool.map(lambda index: _digests(dataset[index]), indices))
    parts = {name: hashlib.sha256(b"".join(digest[name] for digest in digests)).hexdigest() for name in digests[0]}
    return Fingerprint(frames=len(dataset), hashed=count, sha256={"task": _task_digest(dataset.task), **parts})


def _digests(sample: RecordedSample) -> dict[str, bytes]:
    names = hashlib.sha256(sample.name.encode()).digest()
    return {"names": names, **{name: _image_digest(image) for name, image in sample.arrays().items()}}


def _image_digest(image: NDArray[Any]) -> bytes:
    digest = hashlib.sha256(f"{image.dtype.str}{image.shape}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


def _task_digest(task: RecordedTask) -> str:
    return hashlib.sha256(strict_json.dumps(task.identity(), sort_keys=True).encode()).hexdigest()
