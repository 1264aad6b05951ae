"""Errors of the exporter, and how errors of other libraries are quoted; importing this needs nothing else installed.

ExportError          the checkpoint cannot be exported
  PluginBuildError   a kernel library cannot be compiled here
VerificationError    what came out is not what torch computes
BenchmarkError       a measurement was asked for that cannot be made
"""

from __future__ import annotations


class ExportError(RuntimeError):
    """The network cannot be exported, or the result is not what it should be; the message says what to do."""


class PluginBuildError(ExportError):
    """A kernel library cannot be built here; the message says what is missing."""


class VerificationError(RuntimeError):
    """An exported network differs from torch by more than its budget; the message lists where."""


class BenchmarkError(ValueError):
    """The benchmark was asked for something it cannot measure; the message says what can be."""


def first_line(error: Exception) -> str:
    """First line of an error's message, without the pages that some libraries append."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
