"""JSON lines: one for each frame, with a result or with an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from geminifusion_runtime import strict_json

from ..results import Result
from ..sources.base import SourceFrame
from .base import FrameError, SinkRequest
from .summary import summary


class JsonLines:
    """Appends a line for each frame; an earlier run's lines with a result are kept."""

    bytes_per_pixel = 0.0

    def __init__(self, request: SinkRequest) -> None:
        self._path = request.directory / f"{request.name}.jsonl"
        kept = [] if request.overwrite or not self._path.is_file() else _results(self._path)
        self._done = {str(line["frame"]) for line in kept}
        self._file = self._path.open("w", encoding="utf-8")
        for line in kept:
            self._append(line)

    def has(self, frame: SourceFrame) -> bool:
        """Whether there is a line with its result."""
        return frame.name in self._done

    def write(self, frame: SourceFrame, result: Result) -> list[Path]:
        """Append the line, unless an earlier run did."""
        if self.has(frame):
            return []
        facts = summary(result)
        facts["warnings"] += frame.warnings
        self._append(_origin(frame) | facts)
        return []

    def failed(self, frame: SourceFrame, error: FrameError) -> None:
        """Append a line with the error."""
        self._append(_origin(frame) | {"error": {"code": error.code, "detail": error.message}})

    def close(self) -> list[Path]:
        """Close the file."""
        self._file.close()
        return [self._path]

    def _append(self, facts: dict[str, Any]) -> None:
        self._file.write(strict_json.dumps(facts) + "\n")
        self._file.flush()


def _origin(frame: SourceFrame) -> dict[str, Any]:
    return {"frame": frame.name, "stamp_ns": frame.stamp_ns, "pair_offset_ms": frame.offset_ms}


def _results(path: Path) -> list[dict[str, Any]]:
    """The lines of an earlier run that hold a result; one that was cut off holds none."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            facts = json.loads(line)
        except ValueError:
            continue
        if isinstance(facts, dict) and "frame" in facts and "error" not in facts:
            found.append(facts)
    return found
