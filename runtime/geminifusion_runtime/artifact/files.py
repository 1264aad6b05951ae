"""Artifacts on disk: reading, checking and writing the directory.

An artifact is a directory: `metadata.json` (`ArtifactMetadata` of its task) beside the files it names with their
SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from geminifusion_runtime import strict_json
from geminifusion_runtime.artifact.detection import DetectionMetadata
from geminifusion_runtime.artifact.metadata import ArtifactMetadata
from geminifusion_runtime.artifact.segmentation import SegmentationMetadata
from geminifusion_runtime.artifact.translation import TranslationMetadata
from geminifusion_runtime.bounded_files import UnusableFileError, open_regular, read_bounded
from geminifusion_runtime.onnx_external_data import external_files
from geminifusion_runtime.protobuf_wire import WireError
from geminifusion_runtime.signatures import SignatureError, require_signature
from geminifusion_runtime.task_names import DETECTION, SEGMENTATION, TRANSLATION

SCHEMA_VERSION = 1
METADATA_NAME = "metadata.json"

MAX_FILE_BYTES = 16 * 2**30  # of each file
_MAX_METADATA_BYTES = 2**20
_MAX_PROBLEMS = 20  # that are named

_DEFAULT_TASK = SEGMENTATION  # of artifacts of releases that knew no other


class ArtifactError(ValueError):
    """The directory is no artifact this version can serve; the message says what is wrong and what to do."""


_METADATA: Mapping[str, TypeAdapter[Any]] = {
    SEGMENTATION: TypeAdapter(SegmentationMetadata),
    TRANSLATION: TypeAdapter(TranslationMetadata),
    DETECTION: TypeAdapter(DetectionMetadata),
}


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def dump_metadata(metadata: ArtifactMetadata) -> dict[str, Any]:
    """The metadata as JSON has it."""
    described: dict[str, Any] = _METADATA[metadata.task].dump_python(metadata, mode="json")
    return described


def require_segmentation(metadata: ArtifactMetadata) -> SegmentationMetadata:
    """The metadata of a segmentation network, for what is of use to those alone.

    Raises:
        ArtifactError: they are of another task.
    """
    if not isinstance(metadata, SegmentationMetadata):
        raise ArtifactError(
            f"{metadata.reference} is for {metadata.task}, expected one for {_DEFAULT_TASK}; give another artifact"
        )
    return metadata


def write_metadata(directory: Path, metadata: ArtifactMetadata) -> None:
    """Write `metadata.json`; the files it names must already be in `directory`."""
    text = strict_json.dumps(dump_metadata(metadata), indent=2, ensure_ascii=False)
    (directory / METADATA_NAME).write_text(text + "\n", encoding="utf-8")


def read_metadata(directory: Path | str) -> ArtifactMetadata:
    """Read and validate `metadata.json` without touching the files it names.

    Raises:
        ArtifactError: it is missing, is no JSON, has another schema version, or a field does not fit.
    """
    return _parse(Path(directory) / METADATA_NAME, _read(Path(directory)))


def _read(directory: Path) -> bytes:
    """The bytes of `metadata.json`."""
    path = directory / METADATA_NAME
    try:
        return read_bounded(path, inside=directory, max_bytes=_MAX_METADATA_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(
            f"{directory} holds no {METADATA_NAME}; give the directory that `geminifusion export` wrote"
        ) from None
    except UnusableFileError as error:
        raise ArtifactError(str(error)) from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror}); copy the artifact again") from None


def _parse(path: Path, content: bytes) -> ArtifactMetadata:
    try:
        raw: Any = json.loads(content)
    except RecursionError:
        raise ArtifactError(f"{path} is nested far too deep; export the artifact again") from None
    except ValueError as error:  # for numbers of too many digits too
        raise ArtifactError(f"{path} cannot be read as JSON ({error}); export the artifact again") from None
    found = raw.get("schema_version") if isinstance(raw, dict) else None
    if found != SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has schema version {found!r}, this geminifusion reads {SCHEMA_VERSION}; "
            "export the checkpoint again or install the release that wrote it"
        )
    task = raw.get("task", _DEFAULT_TASK)
    if not isinstance(task, str) or task not in _METADATA:
        raise ArtifactError(
            f"{path} is for the task {str(task)[:100]!r}, this geminifusion knows {', '.join(_METADATA)}; install the "
            "release that wrote it"
        )
    try:
        metadata: ArtifactMetadata = _METADATA[task].validate_python(raw)
    except ValidationError as error:
        raise ArtifactError(f"{path} does not fit the schema ({_problems(error)}); export it again") from None
    return metadata


def _problems(error: ValidationError) -> str:
    if error.error_count() > _MAX_PROBLEMS:
        return f"{error.error_count()} values do not"
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'metadata'}: {one['msg']}" for one in error.errors())


def open_artifact(directory: Path | str, *, trusted_keys: Path | None = None) -> ArtifactMetadata:
    """Read the metadata and check every file that is opened to serve it against its SHA-256.

    Args:
        trusted_keys: a file of public keys; one of them must have signed the metadata, and so the checksums. See
            `signatures`.

    Raises:
        ArtifactError: the metadata does not validate; a file is missing, differs or lies elsewhere; one that a runtime
            would open has no checksum; or no trusted key signed it.
    """
    directory = Path(directory)
    content = _read(directory)
    if trusted_keys is not None:  # before anything of a stranger is interpreted
        try:
            require_signature(directory / METADATA_NAME, content, trusted_keys)
        except SignatureError as error:
            raise ArtifactError(str(error)) from None
    metadata = _parse(directory / METADATA_NAME, content)
    for name, expected in metadata.files.items():
        path = directory / name
        try:
            with open_regular(path, inside=directory, max_bytes=MAX_FILE_BYTES) as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except UnusableFileError as error:
            raise ArtifactError(str(error)) from None
        except OSError as error:
            raise ArtifactError(
                f"{path} is missing or cannot be read ({error.strerror}); copy the whole artifact directory or export "
                "it again"
            ) from None
        if found != expected:
            raise ArtifactError(
                f"{path} has SHA-256 {found[:12]}…, {METADATA_NAME} says {expected[:12]}…: the file was damaged or "
                "replaced; copy the artifact again"
            )
    for name in metadata.files:
        _check_companions(directory, name, metadata.files)
    return metadata


def _check_companions(directory: Path, name: str, named: Collection[str]) -> None:
    """Check that a runtime opens nothing beside this file that has no checksum."""
    path = directory / name
    if path.suffix == ".onnx":
        try:
            others = external_files(path, max_bytes=MAX_FILE_BYTES)
        except WireError as error:
            raise ArtifactError(f"{path} is no ONNX file ({error}); export it again") from None
        if missing := sorted(others - set(named)):
            raise ArtifactError(
                f"{path} takes weights from {missing[0][:100]!r}, of which {METADATA_NAME} has no checksum; export it "
                "again"
            )
    weights = path.with_suffix(".bin")  # OpenVINO opens it by its name
    if path.suffix == ".xml" and weights.name not in named and weights.exists():
        raise ArtifactError(f"OpenVINO would open {weights}, of which {METADATA_NAME} has no checksum; export it again")
