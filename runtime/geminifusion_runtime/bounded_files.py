"""Files that others wrote, opened as what they may be: pipes, devices, links, far too large. Standard library only."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path


class UnusableFileError(ValueError):
    """It is no regular file, lies elsewhere, or is too large; the message names it."""


def open_regular(path: Path, *, inside: Path | None = None, max_bytes: int) -> io.BufferedReader:
    """Open a regular file for reading; never waits, as opening a pipe would.

    Args:
        inside: the directory that the file has to lie in, links followed.
        max_bytes: most bytes that it may have.

    Raises:
        UnusableFileError: see there.
        OSError: it is missing or cannot be opened.
    """
    # Not Path.resolve, which raises RuntimeError for a link to itself.
    if inside is not None and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(inside)):
        raise UnusableFileError(f"{path} is a link to a file outside {inside}; copy the file itself")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise UnusableFileError(f"{path} is no regular file; replace it by one")
        if facts.st_size > max_bytes:
            raise UnusableFileError(f"{path} has {facts.st_size} bytes; expected at most {max_bytes}")
    except UnusableFileError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_bounded(path: Path, *, inside: Path | None = None, max_bytes: int) -> bytes:
    """The content of a file; see `open_regular`."""
    with open_regular(path, inside=inside, max_bytes=max_bytes) as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:  # it grew meanwhile
        raise UnusableFileError(f"{path} has more than {max_bytes} bytes")
    return content
