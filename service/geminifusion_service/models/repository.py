"""The model repository: a folder of artifacts as `name/version/metadata.json`, which other programs write to.

An artifact in it may be half copied, damaged, or gone a moment later: reading relies on nothing that was seen before.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from pathlib import Path

from geminifusion_runtime.artifact import METADATA_NAME, ArtifactError, ArtifactMetadata, read_metadata

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")  # as the artifact's schema has it
_OF_THIS_ENTRY = (errno.ELOOP, errno.EACCES, errno.EPERM)  # unlike those that say that the file system is gone
Fingerprint = tuple[tuple[str, int, int, int], ...]  # of each file: name, bytes, modified ns, inode


class RepositoryUnreachableError(RuntimeError):
    """The folder cannot be read at the moment; that says nothing about the models in it."""


@dataclass(frozen=True, kw_only=True)
class StoredVersion:
    """One version directory at the time of a poll. With the same `fingerprint`, nothing in it was touched since."""

    name: str
    version: str
    directory: Path
    fingerprint: Fingerprint

    @property
    def reference(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"


def scan(root: Path) -> dict[str, StoredVersion]:
    """List every version directory, by reference. Hidden entries and names that no artifact can have are skipped.

    Raises:
        RepositoryUnreachableError: the folder or a model's folder in it is missing, unreadable or no directory.
    """
    found = {}
    try:
        for folder in sorted(path for path in root.iterdir() if _may_be_artifact(path)):
            for directory in sorted(path for path in _entries(folder) if _may_be_artifact(path)):
                stored = StoredVersion(
                    name=folder.name,
                    version=directory.name,
                    directory=directory,
                    fingerprint=_fingerprint(directory),
                )
                found[stored.reference] = stored
    except OSError as error:
        raise RepositoryUnreachableError(f"the model repository {root} cannot be read ({error.strerror})") from None
    return found


def read_stored(stored: StoredVersion) -> ArtifactMetadata:
    """Read the metadata of a version and check it against its place. The files are not verified.

    A directory named by a number is that version, whatever version the artifact has: the number is the repository's.
    Any other directory name has to be the artifact's version.

    Raises:
        ArtifactError: it is missing, does not validate, or belongs elsewhere.
    """
    metadata = read_metadata(stored.directory)
    if metadata.name != stored.name:
        raise ArtifactError(
            f"{stored.directory} holds the model {metadata.name!r}; move it to "
            f"{stored.directory.parent.parent / metadata.name / stored.version}"
        )
    if metadata.version != stored.version and not stored.version.isdigit():
        raise ArtifactError(
            f"{stored.directory} holds version {metadata.version!r}; name the directory so, or by a number of your own"
        )
    return metadata


def misplaced(root: Path) -> list[str]:
    """Describe what looks like an artifact in the wrong place, in one line each; best effort, for the log."""
    places = [root, *(path for path in root.iterdir() if _may_be_artifact(path))] if root.is_dir() else []
    return [
        f"{place} is an artifact itself; a repository has {root}/NAME/VERSION/{METADATA_NAME}"
        for place in places
        if (place / METADATA_NAME).is_file()
    ]


def _may_be_artifact(path: Path) -> bool:
    return _NAME.fullmatch(path.name) is not None and path.is_dir()


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []  # removed since the folder above was listed


def _fingerprint(directory: Path) -> Fingerprint:
    seen = []
    for path in sorted(_entries(directory)):
        try:
            facts = path.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in _OF_THIS_ENTRY:
                raise
            facts = path.lstat()  # reading the artifact says what is wrong with it
        seen.append((path.name, facts.st_size, facts.st_mtime_ns, facts.st_ino))
    return tuple(seen)
