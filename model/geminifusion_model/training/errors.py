"""Errors of training runs; each message says what was found and what to do.

    settings, recipes, start weights    ConfigError
    run.json on resume                  RunRecordError, DataChangedError
    metrics and Weights & Biases        RunLoggerError
    the directory, the steps            TrainingError

The command line shows them without a traceback.
"""

from __future__ import annotations


class ConfigError(ValueError):
    """A training configuration does not validate; the message names each field at fault."""


class RunRecordError(ValueError):
    """run.json cannot be read as the record of a run."""


class DataChangedError(ValueError):
    """The data differs from what the run's first session saw, so a resumed run would not be the same run."""


class RunLoggerError(ValueError):
    """A run's log cannot be opened as asked."""


class TrainingError(RuntimeError):
    """Training cannot start or continue; the last state on disk, if there is one, is intact."""


class DivergedError(TrainingError):
    """A loss or gradient is not finite, which the same steps from the same state would lead to again."""
