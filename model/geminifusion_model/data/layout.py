"""All problems of a data folder in one report, instead of one error at a time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from geminifusion_model.data.sample import DatasetError

_SHOWN = 20
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class LayoutError(DatasetError):
    """A folder is not laid out as its reader expects.

    Attributes:
        problems: every problem found, one line each; the message shows the first twenty.
        advice: what to do.
    """

    def __init__(self, root: Path, problems: Iterable[str], advice: str) -> None:
        self.problems = tuple(problems)
        self.advice = advice
        lines = [f"  {problem}" for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"  … and {len(self.problems) - _SHOWN} more")
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{count} in {root}:", *lines, advice]))


class LayoutProblems:
    """Collects the problems that a reader finds in its folder."""

    def __init__(self, root: Path, advice: str) -> None:
        self.root, self.advice = root, advice
        self.found: list[str] = []

    def add(self, problem: str) -> None:
        """Add one problem: what was found and what was expected, on one line."""
        self.found.append(problem)

    def require_file(self, path: Path, why: str) -> bool:
        """True if `path` is a file; adds a problem otherwise."""
        if path.is_file():
            return True
        self.add(f"{path} is missing ({why})")
        return False

    def read_text(self, path: Path) -> str | None:
        """A list or table in UTF-8 or UTF-16, without its byte order mark; None, and a problem, if in neither."""
        try:
            content = path.read_bytes()
            return content.decode("utf-16" if content.startswith(_UTF16_MARKS) else "utf-8-sig")
        except UnicodeDecodeError:
            self.add(f"{path} is not encoded as UTF-8; save it again in UTF-8 (CSV UTF-8 in a spreadsheet)")
        except OSError as error:
            self.add(f"{path} cannot be read: {error.strerror or error}")
        return None

    def raise_if_any(self) -> None:
        """Raise the report.

        Raises:
            LayoutError: at least one problem was added.
        """
        if self.found:
            raise LayoutError(self.root, self.found, self.advice)
