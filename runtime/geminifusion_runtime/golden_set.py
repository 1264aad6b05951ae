"""The golden set of an artifact: frames with the torch network's outputs, to check any backend against anywhere.

Layout of the `.npz`: every modality by its graph input name, `frames H W` or `frames H W 3`, raw as the graph takes it;
the outputs that every graph of the task has, as torch computed them; of segmentation `truth` uint8 `frames H W` where
it is known, the ignore value elsewhere; `notices` the texts of the licenses, UTF-8 as uint8.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geminifusion_runtime.artifact import ArtifactError, ArtifactMetadata, OutputTensor, Precision
from geminifusion_runtime.backends.protocol import BatchShape, GraphInputs, GraphOutputs, batch_shape
from geminifusion_runtime.bounded_files import UnusableFileError, open_regular

# Least share of labels, 0…1, that have to agree with the torch network's, by the precision a backend computes in.
MIN_LABEL_AGREEMENT: Final[dict[Precision, float]] = {
    "float32": 0.999,
    "float16": 0.995,
    "bfloat16": 0.97,
    "int8": 0.85,
}


MAX_BYTES: Final = 512 * 2**20  # of all arrays of a golden set, unpacked; sixteen frames of 1920x1080 have 330 MB
_MAX_ARRAYS = 32
_UNREADABLE = (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)


class ReferenceBatch(NamedTuple):
    """One batch, the reference's outputs for it, and the true labels `B H W` where they are known."""

    inputs: GraphInputs
    outputs: GraphOutputs
    truth: NDArray[np.uint8] | None = None

    @property
    def shape(self) -> BatchShape:
        """Batch, height and width."""
        return batch_shape(self.inputs)


def read_golden_set(directory: Path, metadata: ArtifactMetadata) -> tuple[ReferenceBatch, ...]:
    """Read the frames and torch's outputs, each frame as a batch of one; empty if the artifact has no golden set.

    Raises:
        ArtifactError: the file cannot be read, lacks an array, or one has another shape or type than expected.
    """
    if metadata.golden is None:
        return ()
    path = directory / metadata.golden.file
    arrays = load_arrays(path, inside=directory)
    _check_arrays(path, arrays, metadata)
    names = [modality.name for modality in metadata.modalities]
    return tuple(
        ReferenceBatch(
            {name: arrays[name][index : index + 1] for name in names},
            {each.name: arrays[each.name][index : index + 1] for each in stored_outputs(metadata)},
            np.asarray(arrays["truth"][index : index + 1], np.uint8) if "truth" in arrays else None,
        )
        for index in range(metadata.golden.frames)
    )


def load_arrays(path: Path, *, inside: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of a golden set, of which no more is unpacked than a golden set may hold.

    Raises:
        ArtifactError: the file cannot be read.
    """
    try:
        with open_regular(path, inside=inside, max_bytes=MAX_BYTES) as file:
            _check_sizes(file)
            with np.load(file, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
    except UnusableFileError as error:
        raise ArtifactError(str(error)) from None
    except _UNREADABLE as error:
        raise ArtifactError(f"{path} cannot be read ({error}); export the artifact again") from None


def stored_outputs(metadata: ArtifactMetadata) -> tuple[OutputTensor, ...]:
    """The outputs that a golden set holds: those that every graph of the task has."""
    return tuple(each for each in metadata.outputs if not each.optional)


def _check_sizes(file: BinaryIO) -> None:
    """Check, before anything is unpacked, that the arrays are together no larger than a golden set may be.

    Raises:
        ValueError: they are, or an array has not the bytes that its header announces.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > _MAX_ARRAYS or sum(member.file_size for member in members) > MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_ARRAYS} arrays or {MAX_BYTES} bytes")
        for member in members:
            with archive.open(member) as array:
                version = np.lib.format.read_magic(array)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(array)
                if dtype.hasobject or math.prod(shape) * dtype.itemsize != member.file_size - array.tell():
                    raise ValueError(f"{member.filename} has not the bytes that it announces")
    file.seek(0)


def _check_arrays(path: Path, arrays: dict[str, NDArray[np.generic]], metadata: ArtifactMetadata) -> None:
    assert metadata.golden is not None  # there is no file without it
    first = arrays.get(metadata.modalities[0].name)
    height, width = first.shape[1:3] if first is not None and first.ndim >= 3 else (0, 0)
    full = (metadata.golden.frames, height, width)
    wanted: dict[str, tuple[tuple[int, ...], str]] = {
        spec.name: ((*full, 3) if spec.channels == 3 else full, spec.dtype) for spec in metadata.modalities
    }
    for each in stored_outputs(metadata):
        sides = (metadata.golden.frames, -(-height // each.reduction), -(-width // each.reduction))
        wanted[each.name] = (sides if each.channels is None else (*sides, each.channels), each.dtype)
    if "truth" in arrays:
        wanted["truth"] = (full, "uint8")
    for name, (shape, dtype) in wanted.items():
        found = arrays.get(name)
        if found is None or found.shape != shape or found.dtype != dtype:
            what = "nothing" if found is None else f"{found.dtype} {found.shape}"
            raise ArtifactError(f"{path} holds {what} as {name}, expected {dtype} {shape}; export the artifact again")
