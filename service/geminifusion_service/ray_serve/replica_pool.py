"""The running replicas: send a request to one, to another when it dies, and know how many there are."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from geminifusion_service.errors import EngineLostError, NotReadyError, QueueFullError
from geminifusion_service.ray_serve.cluster import RayError
from geminifusion_service.ray_serve.deployment import Progress
from geminifusion_service.ray_serve.serialization import SerializedError
from geminifusion_service.request import TaskRequest, TaskResponse

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

_log = logging.getLogger(__name__)
_ATTEMPTS = 2
_POLL_WHILE_STARTING_S = 0.1
_POLL_S = 1.0
_MAX_OUTAGE_S = 30.0


class ReplicaPool:
    """The running replicas. Use from one event loop.

    Args:
        handle: of the deployment.
        progress: asks Ray how many replicas there are; may block for a moment.
    """

    def __init__(self, handle: DeploymentHandle, progress: Callable[[], Progress]) -> None:
        from ray import exceptions
        from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

        self._handle = handle
        self._progress = progress
        self._died = (
            exceptions.NodeDiedError,
            exceptions.ObjectLostError,
            exceptions.RayActorError,
            exceptions.WorkerCrashedError,
        )
        self._full, self._unavailable = BackPressureError, DeploymentUnavailableError
        self.num_running = 0
        self._seen_s = time.monotonic()  # when a replica was last seen running
        self._aborted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._watcher: asyncio.Task[None] | None = None

    @property
    def is_lost(self) -> bool:
        """Whether there has been no replica for so long that waiting for one makes no sense."""
        return self.num_running == 0 and time.monotonic() - self._seen_s > _MAX_OUTAGE_S

    async def wait_started(self) -> None:
        """Wait until as many replicas as planned take requests.

        Raises:
            RayError: they do not start.
        """
        while not (now := await asyncio.to_thread(self._progress)).complete:
            if now.problem:
                _log.error("the replicas did not start: %s", now.problem)
                last_line = now.problem.strip().rpartition("\n")[2]
                raise RayError(f"the replicas did not start ({last_line}); the log has the rest")
            await asyncio.sleep(_POLL_WHILE_STARTING_S)
        self.num_running = now.running
        self._watcher = asyncio.create_task(self._watch())

    async def submit(self, request: TaskRequest) -> TaskResponse:
        """Have a replica respond; another one if the first dies with the request.

        Segmenting twice does no harm. A third time might: the request may be what kills them.

        Raises:
            GeminiFusionError: as the replica raised it.
            QueueFullError: other ingresses keep all replicas busy.
            EngineLostError: two replicas died with it.
            NotReadyError: there is no replica, and there has been none for too long.
        """
        for _ in range(_ATTEMPTS):
            try:
                return await self._call_unless_aborted(request)
            except self._died as error:
                _log.warning(
                    "a replica died while it had request %s (%s)", request.options.request_id, type(error).__name__
                )
            except self._full:
                raise QueueFullError("every replica has as many requests as it takes; try again in 1 s") from None
            except self._unavailable:
                raise NotReadyError("there is no replica now; one is being started, try again") from None
        raise EngineLostError("two replicas died while they had this request; try again once, then report it")

    def close(self, why: str) -> None:
        """Stop counting replicas, and fail every request that still waits with NotReadyError."""
        if self._watcher is not None:
            self._watcher.cancel()
        self._abort(why)

    def _abort(self, why: str) -> None:
        aborted, self._aborted = self._aborted, asyncio.get_running_loop().create_future()
        aborted.set_result(why)

    async def _call_unless_aborted(self, request: TaskRequest) -> TaskResponse:
        call, aborted = asyncio.create_task(self._call(request)), self._aborted
        either: list[asyncio.Future[Any]] = [call, aborted]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                raise NotReadyError(aborted.result())
            return call.result()
        finally:
            call.cancel()

    async def _call(self, request: TaskRequest) -> TaskResponse:
        pending = self._handle.segment.remote(request)
        try:
            response = await pending
        except asyncio.CancelledError:
            pending.cancel()
            raise
        if isinstance(response, SerializedError):
            raise response.restore()
        return response

    async def _watch(self) -> None:
        while True:
            try:
                self.num_running = (await asyncio.to_thread(self._progress)).running
            except Exception as error:
                _log.warning("Ray does not say how many replicas there are: %s", error)
                self.num_running = 0
            if self.num_running:
                self._seen_s = time.monotonic()
            elif self.is_lost:
                self._abort("there has been no replica for a while; send the request to another server")
            await asyncio.sleep(_POLL_S)
