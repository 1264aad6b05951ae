"""What foreign libraries' errors say, fit for one line of ours."""

from __future__ import annotations


def first_line(error: Exception) -> str:
    """What an error says, without the pages some libraries append."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
