"""The files of a folder by the names of frames: `a/0001.png` and `a/0001_depth.png` both belong to `a/0001.jpg`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

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
                self._by_stem.setdefault(_stem(path.relative_to(folder).as_posix()), []).append(path)

    def path(self, frame_name: str) -> Path:
        """The file of a frame.

        Raises:
            InvalidInputError: there is none, or several.
        """
        stem = _stem(frame_name)
        found = self._by_stem.get(stem) or [
            path
            for name, paths in self._by_stem.items()
            if name.startswith(stem) and name[len(stem)] in _SEPARATORS
            for path in paths
        ]
        if len(found) != 1:
            which = f"{len(found)} {self._role} images: {found[0]}, {found[1]}" if found else f"no {self._role} image"
            raise InvalidInputError(f"frame {stem!r} has {which} in {self._folder}; name one file {stem}.png")
        return found[0]

    def of(self, frame_name: str) -> bytes:
        """The content of the file of a frame.

        Raises:
            InvalidInputError: it cannot be found or read.
        """
        path = self.path(frame_name)
        try:
            return read_bounded(path, max_bytes=MAX_BYTES)
        except UnusableFileError as error:
            raise InvalidInputError(str(error)) from None
        except OSError as error:
            raise InvalidInputError(f"{path} cannot be read ({error.strerror}); check its permissions") from None


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix() if PurePosixPath(name).name else name
