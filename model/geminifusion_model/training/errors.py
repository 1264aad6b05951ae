"""The error of a training run."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """Training cannot start or go on; the last state on disk, if there is one, is intact."""
