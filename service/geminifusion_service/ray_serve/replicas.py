"""The replicas as the front sees them: ask one, ask another when it dies, and know how many there are."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from geminifusion_service.errors import EngineLostError, NotReadyError, QueueFullError
from geminifusion_service.ray_serve.cluster import RayError
from geminifusion_service.ray_serve.deployment import Progress
from geminifusion_service.ray_serve.serialization import Refusal
from geminifusion_service.request import SegmentRequest, SegmentResponse

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

_log = logging.getLogger(__name__)
_ATTEMPTS = 2
_ASK_WHILE_STARTING_S = 0.1
_COUNT_EVERY_S = 1.0
_LONGEST_OUTAGE_S = 30.0


class Replicas:
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
        self._lost = (
            exceptions.NodeDiedError,
            exceptions.ObjectLostError,
            exceptions.RayActorError,
            exceptions.WorkerCrashedError,
        )
        self._full, self._unavailable = BackPressureError, DeploymentUnavailableError
        self.running = 0
        self._seen_s = time.monotonic()
        self._given_up: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._watcher: asyncio.Task[None] | None = None

    @property
    def out(self) -> bool:
        """Whether there has been no replica for so long that waiting makes no sense."""
        return self.running == 0 and time.monotonic() - self._seen_s > _LONGEST_OUTAGE_S

    async def started(self) -> None:
        """Wait until as many replicas as planned take requests.

        Raises:
            RayError: they do not start.
        """
        while not (now := await asyncio.to_thread(self._progress)).complete:
            if now.problem:
                _log.error("the replicas did not start: %s", now.problem)
                last_line = now.problem.strip().rpartition("\n")[2]
                raise RayError(f"the replicas did not start ({last_line}); the log has the rest")
            await asyncio.sleep(_ASK_WHILE_STARTING_S)
        self.running = now.running
        self._watcher = asyncio.create_task(self._watch())

    async def answer(self, request: SegmentRequest) -> SegmentResponse:
        """The answer of a replica, of another one if the first dies with the request.

        Segmenting twice does no harm. A third time might: the request may be what kills them.

        Raises:
            GeminiFusionError: as the replica raised it.
            QueueFullError: other fronts keep all replicas busy.
            EngineLostError: two replicas died with it.
            NotReadyError: there is no replica, and there has been none for too long.
        """
        for _ in range(_ATTEMPTS):
            try:
                return await self._unless_given_up(request)
            except self._lost as error:
                _log.warning(
                    "a replica died while it had request %s (%s)", request.options.request_id, type(error).__name__
                )
            except self._full:
                raise QueueFullError("every replica has as many requests as it takes; try again in 1 s") from None
            except self._unavailable:
                raise NotReadyError("there is no replica now; one is being started, try again") from None
        raise EngineLostError("two replicas died while they had this request; try again once, then report it")

    def close(self, why: str) -> None:
        """Stop counting, and fail every request that is waiting still with NotReadyError."""
        if self._watcher is not None:
            self._watcher.cancel()
        self._give_up(why)

    def _give_up(self, why: str) -> None:
        given_up, self._given_up = self._given_up, asyncio.get_running_loop().create_future()
        given_up.set_result(why)

    async def _unless_given_up(self, request: SegmentRequest) -> SegmentResponse:
        asked = asyncio.create_task(self._ask(request))
        given_up = self._given_up
        either: list[asyncio.Future[Any]] = [asked, given_up]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                raise NotReadyError(given_up.result())
            return asked.result()
        finally:
            asked.cancel()

    async def _ask(self, request: SegmentRequest) -> SegmentResponse:
        response = self._handle.segment.remote(request)
        try:
            answer = await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        if isinstance(answer, Refusal):
            raise answer.error()
        return answer

    async def _watch(self) -> None:
        while True:
            try:
                self.running = (await asyncio.to_thread(self._progress)).running
            except Exception as error:
                _log.warning("Ray does not say how many replicas there are: %s", error)
                self.running = 0
            if self.running:
                self._seen_s = time.monotonic()
            elif self.out:
                self._give_up("there has been no replica for a while; send the request to another server")
            await asyncio.sleep(_COUNT_EVERY_S)
