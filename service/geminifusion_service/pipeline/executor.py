"""The interface between the segmenter and what runs its requests: a pipeline in this process, or replicas on Ray."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from geminifusion_runtime.model import Model
from geminifusion_runtime.types import Priority
from geminifusion_service.observability.timeline import StageTiming
from geminifusion_service.request import TaskRequest, TaskResponse

STOPPED: Final = "this server has stopped serving; send the request to another one"


class Executor(Protocol):
    """Decodes, runs and encodes admitted requests. Use from one event loop."""

    @property
    def alive(self) -> bool:
        """Whether it takes requests now."""

    @property
    def problem(self) -> str:
        """Why it takes no requests, for the client; of no meaning while it is alive."""

    @property
    def broken(self) -> bool:
        """Whether only a restart can make it take requests again. Asked once it was started."""

    @property
    def num_instances(self) -> int:
        """Engine instances that every model must have in this process; 0 where the engines are elsewhere."""

    @property
    def queue_depth(self) -> int:
        """Items waiting for an engine of this process."""

    def capacity(self, priority: Priority) -> int:
        """Most requests in flight before one of this priority is rejected."""

    def expected_wait_s(self, num_requests: int) -> float:
        """Seconds until this many requests will have been run, as estimated from recent ones."""

    async def start(self) -> None:
        """Become alive; of no effect the second time."""

    async def submit(
        self,
        model: Model,
        request: TaskRequest,
        *,
        deadline: float | None = None,
        passed: Sequence[StageTiming] = (),
    ) -> TaskResponse:
        """Run one request; cancel the call when nobody waits for the response any more.

        Args:
            model: the loaded model that the request means.
            request: its images have been checked to be the model's modalities, and nothing else of it.
            deadline: in seconds of `time.monotonic`; after it the engine does not run the request.
            passed: stages that are already over; the response's timeline begins with them.

        Raises:
            GeminiFusionError: see `errors`; anything else is a bug.
        """

    async def close(self, timeout_s: float) -> bool:
        """Finish what was submitted and stop; whether everything was finished in time."""
