"""The files of a folder by the names of frames: `a/0001.png` and `a/0001_depth.png` both belong to `a/0001.jpg`."""

from __future__ import annotations

from pathlib import Path

from geminifusion_runtime.bounded_files import UnusableFileError, read_bounded

from ..errors import InvalidInputError
from .task_images import MAX_BYTES

_SEPARATORS = "._-"


class FrameFiles:
    """Finds the file of a frame. A file of exactly the name comes first, then the only one that goes on after it."""

    def __init__(self, folder: Path, role: str) -> None:
        """List the folder and those within it.

        Args:
            role: what the files are, for messages.

        Raises:
            InvalidInputError: it is no folder.
        """
        if not folder.is_dir():
            raise InvalidInputError(f"{folder} is no folder; give that of the {role} images")
        self._folder, self._role = folder, role
        self._by_stem: dict[str, list[Path]] = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                self._by_stem.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)

    def path(self, frame: str) -> Path:
        """The file of a frame, whose name has no suffix.

        Raises:
            InvalidInputError: there is none, or several.
        """
        found = self._by_stem.get(frame) or [
            path
            for stem, paths in self._by_stem.items()
            if stem.startswith(frame) and stem[len(frame)] in _SEPARATORS
            for path in paths
        ]
        if len(found) != 1:
            which = f"{len(found)} {self._role} images: {found[0]}, {found[1]}" if found else f"no {self._role} image"
            raise InvalidInputError(f"frame {frame!r} has {which} in {self._folder}; name one file {frame}.png")
        return found[0]

    def read(self, frame: str) -> bytes:
        """The content of the file of a frame.

        Raises:
            InvalidInputError: it cannot be found or read.
        """
        path = self.path(frame)
        try:
            return read_bounded(path, max_bytes=MAX_BYTES)
        except UnusableFileError as error:
            raise InvalidInputError(str(error)) from None
        except OSError as error:
            raise InvalidInputError(f"{path} cannot be read ({error.strerror}); check its permissions") from None
