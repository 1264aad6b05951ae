"""The cache of engines that were built on this machine: whole artifacts, each with the engine among its files.

An entry is named by its artifact and a hash of all that it depends on, so that another driver, GPU, release or artifact
finds none and gets its own. Entries are never changed and may be deleted at any time. Whoever can write here decides
what the server runs, so the folder is the server's alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter

from geminifusion_runtime import strict_json
from geminifusion_runtime.artifact import METADATA_NAME, ArtifactError, open_artifact, sha256_of
from geminifusion_runtime.backends.engine_builder import BuildOptions, open_builder
from geminifusion_runtime.machine import installed_packages
from geminifusion_runtime.signatures import signature_path

_log = logging.getLogger(__name__)

CONDITIONS_NAME = "conditions.json"  # what the entry was built for, for people
_KEY_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class EngineRequest:
    """One engine that is wanted.

    Args:
        artifact: directory of the artifact to build from.
        cache: folder of the cache; made if it is missing.
        target: the runtime, a name of the entry-point group `geminifusion.engines`.
        options: for its builder.
        trusted_keys: see `open_artifact`.
    """

    artifact: Path
    cache: Path
    target: str
    options: BuildOptions
    trusted_keys: Path | None = None

    def message(self) -> dict[str, Any]:
        """JSON-ready form with absolute paths, for `from_message` in another process."""
        absolute = replace(self, artifact=self.artifact.absolute(), cache=self.cache.absolute())
        return _REQUEST.dump_python(absolute, mode="json")

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> EngineRequest:
        """The request that `message` describes."""
        return _REQUEST.validate_python(message)


_REQUEST = TypeAdapter(EngineRequest)


class Prepared(NamedTuple):
    """An entry of the cache, and whether it was there or has just been built."""

    directory: Path
    outcome: Literal["found", "built"]


def prepare_engine(request: EngineRequest) -> Prepared:
    """Find the engine of an artifact for this machine, or build and verify it; slow.

    Of several servers with one cache, one builds and the others wait for it.

    Raises:
        RuntimeError, ValueError, OSError: it cannot be built here, or differs from the network beyond its budget.
    """
    metadata = open_artifact(request.artifact, trusted_keys=request.trusted_keys)
    builder = open_builder(request.target)
    conditions = {
        "target": request.target,
        "artifact": sha256_of(request.artifact / METADATA_NAME),
        "geminifusion": installed_packages().get("geminifusion", "unknown"),
        **builder.conditions(request.options),
    }
    text = strict_json.dumps(conditions, indent=2, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]
    entry = request.cache / f"{metadata.name}-{metadata.version}-{request.target}-{key}"
    request.cache.mkdir(parents=True, exist_ok=True)
    with _locked(request.cache / f".{entry.name}.lock"):
        if _is_whole(entry):
            return Prepared(entry, "found")
        stage = request.cache / f".{entry.name}"
        shutil.rmtree(stage, ignore_errors=True)  # of a build that was killed
        try:
            source = stage / "source"
            _copy(request, source, metadata.files)
            builder.build(source, stage / "built", request.options)
            (stage / "built" / CONDITIONS_NAME).write_text(text + "\n", encoding="utf-8")
            (stage / "built").rename(entry)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    return Prepared(entry, "built")


def _copy(request: EngineRequest, source: Path, files: Mapping[str, str]) -> None:
    """Copy the artifact and check the copy: what is built from cannot change or vanish any more."""
    source.mkdir(parents=True)
    signature = signature_path(request.artifact / METADATA_NAME)
    for name in (METADATA_NAME, *files, *([signature.name] if signature.is_file() else ())):
        shutil.copyfile(request.artifact / name, source / name)
    open_artifact(source, trusted_keys=request.trusted_keys)


def _is_whole(entry: Path) -> bool:
    """Whether an entry is there and undamaged; a damaged one is removed."""
    if not entry.exists():
        return False
    try:
        open_artifact(entry)
    except ArtifactError as error:
        _log.warning("the engine in the cache is damaged and is built again: %s", error)
        shutil.rmtree(entry)
        return False
    return True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes on the same folder wait for, where its file system has locks."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
