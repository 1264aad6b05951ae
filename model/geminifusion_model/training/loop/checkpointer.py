"""The state of a run on disk: saving, restoring, and where a failed run goes on from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from geminifusion_model.training.errors import TrainingError
from geminifusion_model.training.loop.state import STATE_NAME, RunState


class Checkpointer:
    """Saves and restores the state of one run.

    Args:
        directory: of the run.
        state: what is saved; restoring changes it in place.
        writes: whether this process is the one that writes; the others only note what is saved.
    """

    def __init__(self, directory: Path, state: RunState, *, writes: bool = True) -> None:
        self.directory, self.state = directory, state
        self.saved_step: int | None = None  # of the state on disk
        self._writes = writes

    def restore(self) -> None:
        """Continue from the state on disk.

        Raises:
            TrainingError: it is damaged or of another version.
            FileNotFoundError: there is none.
        """
        path = self.directory / STATE_NAME
        try:
            self.state.restore(self.directory)
        except FileNotFoundError:
            raise
        except Exception as error:  # a damaged file runs into any of torch's own errors
            raise TrainingError(
                f"{path} cannot be resumed from ({type(error).__name__}: {str(error).partition(chr(10))[0]}); it is "
                "damaged or of another version: restore it, or start a new run from the weights in this directory"
            ) from error
        self.saved_step = self.state.step

    def save(self) -> None:
        """Replace the state on disk.

        Raises:
            TrainingError: it cannot be written; the last one is intact.
        """
        if self._writes:
            with self.writing():
                self.state.save(self.directory)
        self.saved_step = self.state.step

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turn a failed write into a `TrainingError` that says which state is left."""
        try:
            yield
        except (OSError, SafetensorError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise TrainingError(
                f"{self.directory} cannot be written at step {self.state.step}: {reason}. Make room first. "
                f"{self.last_state()}"
            ) from error

    def last_state(self) -> str:
        """Where a run that has failed can go on from, in one sentence."""
        if self.saved_step is None:
            return "There is no state yet, so start again in an empty directory"
        return f"The state of step {self.saved_step} is in {self.directory / STATE_NAME}, and --resume goes on from it"
