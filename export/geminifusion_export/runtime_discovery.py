"""The backends that an artifact has files for, opened as the service opens them.

Verification and benchmarks measure what serves: every candidate comes from `open_backend`, which `geminifusion serve`
and `geminifusion.load()` call too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from geminifusion_export.errors import first_line
from geminifusion_runtime.artifact import ArtifactMetadata, Precision
from geminifusion_runtime.backends.protocol import Backend
from geminifusion_runtime.backends.selection import open_backend, precision_of
from geminifusion_runtime.cpu_count import usable_cores
from geminifusion_runtime.devices import AUTO, Device


class BackendFile(NamedTuple):
    """One backend that an artifact can be run with.

    Args:
        wanted: as `geminifusion serve --backend` takes it.
        name: for reports, if it cannot be opened.
        custom_ops: our library of kernels for ONNX Runtime.
    """

    wanted: str
    name: str
    custom_ops: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An open backend, to be compared with a reference; `precision` is what it computes in."""

    file: BackendFile
    backend: Backend
    precision: Precision

    @property
    def name(self) -> str:
        """The runtime without the precision, such as `openvino-cpu`."""
        return self.backend.name.removesuffix(f"-{self.precision}")

    @property
    def label(self) -> str:
        """The runtime with its precision, which tells two files of one runtime apart: `openvino-cpu int8`."""
        return f"{self.name} {self.precision}"


@dataclass(frozen=True)
class Unavailable:
    """A backend that cannot be measured here: its name, and why not."""

    name: str
    reason: str

    @property
    def label(self) -> str:
        """The name, as `Candidate.label`."""
        return self.name


def backend_files(metadata: ArtifactMetadata, custom_ops: Path | None = None) -> tuple[BackendFile, ...]:
    """Every backend the artifact has a file for, ONNX Runtime first, then in the order of its metadata.

    Args:
        custom_ops: our kernels for ONNX Runtime, as one more backend.
    """
    precision = metadata.precision
    found = [BackendFile("onnxruntime", f"onnxruntime-cpu {precision}")]
    if custom_ops is not None:
        found.append(BackendFile("onnxruntime", f"onnxruntime-cpu+ops {precision}", custom_ops))
    for entry in metadata.runtimes:
        plain = entry.runtime == "tensorrt" or entry.precision == "float32"
        wanted = entry.runtime if plain else f"{entry.runtime}-{entry.precision}"
        found.append(BackendFile(wanted, f"{entry.runtime} {entry.precision}"))
    return tuple(found)


def open_candidate(
    file: BackendFile, artifact: Path, metadata: ArtifactMetadata, threads: int = 0, *, device: Device = AUTO
) -> Candidate | Unavailable:
    """Open one backend, or say why it cannot be.

    Args:
        threads: of a runtime on the CPU; 0 takes all cores this process may use.
        device: where the runtime is to run.
    """
    try:
        backend, _ = open_backend(
            artifact,
            metadata,
            wanted=file.wanted,
            threads=threads or usable_cores(),
            custom_ops=file.custom_ops,
            device=device,
        )
    except Exception as error:  # libraries raise whatever they like, and the other backends are measured all the same
        return Unavailable(file.name, first_line(error))
    return Candidate(file=file, backend=backend, precision=precision_of(metadata, backend.name))


def open_candidates(
    artifact: Path,
    metadata: ArtifactMetadata,
    threads: int = 0,
    *,
    custom_ops: Path | None = None,
    also: Sequence[str] = (),
) -> Sequence[Candidate | Unavailable]:
    """Open everything the artifact has files for, and the backends that `also` names as `--backend` takes them.

    See `backend_files` and `open_candidate`.
    """
    files = [*backend_files(metadata, custom_ops), *(BackendFile(wanted, wanted) for wanted in also)]
    return [open_candidate(file, artifact, metadata, threads) for file in files]
