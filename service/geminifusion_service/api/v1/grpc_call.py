"""One request over gRPC, of any task: to the segmenter, into the metrics, and into the log if it fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from geminifusion_service.errors import public_error
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.observability.request_context import new_request_id
from geminifusion_service.pipeline.admission import Ticket
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.request import TaskRequest, TaskResponse

TRANSPORT = "grpc"
_Message = TypeVar("_Message")
_log = logging.getLogger(__name__)


class GrpcCalls:
    """What answers the requests of the services.

    Args:
        segmenter: answers requests of every task.
        metrics: count them.
    """

    def __init__(self, segmenter: Segmenter, metrics: Metrics) -> None:
        self._segmenter = segmenter
        self._metrics = metrics

    async def respond(
        self,
        request: Callable[[], TaskRequest],
        request_id: str,
        ticket: Ticket | None,
        message: Callable[[TaskResponse], _Message],
        *,
        transport: str = TRANSPORT,
    ) -> _Message:
        """The message with the response to the request that another holds.

        Args:
            request: reads the message.
            request_id: in the message; empty where it has none.
            ticket: with which the call was admitted.
            message: makes the message.
            transport: under which it is counted.

        Raises:
            GeminiFusionError: and nothing else.
        """
        try:
            response = message(await self._segmenter.segment(request(), ticket))
        except Exception as error:
            public = public_error(error)
            if public is not error:
                _log.exception("request %s failed", request_id or new_request_id())
            self._metrics.requests.labels(transport, public.code).inc()
            raise public from error
        self._metrics.requests.labels(transport, "ok").inc()
        return response
