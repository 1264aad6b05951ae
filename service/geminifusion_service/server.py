"""Both transports in one event loop: start, become ready, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import uvicorn

from geminifusion_service.models.model import Model
from geminifusion_service.models.registry import ModelRegistry
from geminifusion_service.operations.metrics import Metrics
from geminifusion_service.rest.app import build_http_app
from geminifusion_service.rpc.server import GrpcTransport
from geminifusion_service.segmenter import Segmenter
from geminifusion_service.settings import Settings

_log = logging.getLogger(__name__)


class StartupError(RuntimeError):
    """The server cannot start; the message says why and what to do."""


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers: it knows nothing of gRPC, readiness or the queue."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """One serving process. `start`, `load`, `stop`, in this order, in one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self.segmenter = Segmenter(settings, self._metrics)
        self._grpc = GrpcTransport(self.segmenter, settings, self._metrics)
        self._http = _Uvicorn(
            uvicorn.Config(
                build_http_app(self.segmenter, settings, self._metrics),
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                ws="none",
                timeout_graceful_shutdown=max(1, round(settings.drain_s)),
            )
        )
        self._http_task: asyncio.Task[None] | None = None
        self.http_port = settings.http_port
        self.grpc_port = settings.grpc_port

    async def start(self) -> None:
        """Listen on both ports; alive at once, ready after `load`.

        Raises:
            StartupError: a port cannot be had.
        """
        host = self._settings.host
        listener = _listen(host, self._settings.http_port)
        self.http_port = listener.getsockname()[1]
        try:
            self.grpc_port = await self._grpc.start(host, self._settings.grpc_port)
        except OSError as error:
            listener.close()
            raise StartupError(
                f"cannot listen on {host}:{self._settings.grpc_port} for gRPC ({error}); "
                "stop what uses the port or give another --grpc-port"
            ) from None
        self._http_task = asyncio.create_task(self._http.serve(sockets=[listener]))

    async def load(self) -> None:
        """Verify, load and warm up every artifact, then be ready.

        Raises:
            ArtifactError, RuntimeError, ValueError: an artifact that cannot be served.
        """
        self.segmenter.open_for(await asyncio.to_thread(self._open_models))
        await self._grpc.set_serving(True)

    def _open_models(self) -> ModelRegistry:
        models = []
        for directory in self._settings.artifacts:
            started = time.perf_counter()
            model = Model.open(
                directory,
                threads=self._settings.threads or None,
                backend=self._settings.backend,
                custom_ops=Path(self._settings.custom_ops) if self._settings.custom_ops else None,
            )
            model.warm_up()
            models.append(model)
            _log.info(
                "loaded %s on %s in %.1f s: %s",
                model.reference,
                model.backend.name,
                time.perf_counter() - started,
                model.reason,
            )
        return ModelRegistry(models)

    async def stop(self) -> bool:
        """Say not ready, finish what was accepted, stop; whether all was finished within the drain time.

        Requests still unanswered after it are failed, not left waiting.
        """
        deadline = time.monotonic() + self._settings.drain_s
        self.segmenter.stop_being_ready()
        await self._grpc.set_serving(False)
        self._http.should_exit = True
        # The transports refuse new connections now; the segmenter still takes what they had already accepted.
        async with asyncio.TaskGroup() as both:
            both.create_task(self._grpc.stop(self._settings.drain_s))
            both.create_task(self._http_stopped())
        return await self.segmenter.close(max(0.0, deadline - time.monotonic()))

    async def stop_now(self) -> None:
        """Stop without finishing anything."""
        self._http.should_exit = self._http.force_exit = True
        await self._grpc.stop(0)
        await self.segmenter.close(0)

    async def _http_stopped(self) -> None:
        if self._http_task is not None:
            await self._http_task


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, because asyncio sets TCP_NODELAY only then: without it every answer on a kept connection
    # waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
        return listener
    except OSError as error:
        listener.close()
        raise StartupError(
            f"cannot listen on {host}:{port} for HTTP ({error.strerror}); "
            "stop what uses the port or give another --http-port"
        ) from None


async def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; a second signal stops at once. Returns the exit code.

    Raises:
        StartupError, ArtifactError, RuntimeError, ValueError: it cannot start.
    """
    # Each request has its own thread in the pools; OpenCV's own would only compete with them.
    cv2.setNumThreads(1)
    server = Server(settings)
    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    # Before the model is loaded: a signal during a slow start must not be lost.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    await server.start()
    _say(
        f"listening: http://{_shown(settings.host)}:{server.http_port} grpc://{_shown(settings.host)}:{server.grpc_port}"
    )
    signalled = asyncio.create_task(signals.get())
    loading = asyncio.create_task(server.load())
    try:
        await asyncio.wait({loading, signalled}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            _say(f"ready: {', '.join(model.reference for model in server.segmenter.models)}")
            await signalled
    except BaseException:
        signalled.cancel()
        await server.stop_now()
        raise
    if not loading.done():
        _say("stopping before the model was loaded")
        await server.stop_now()
        return 0
    _say("stopping: finishing accepted requests; a second signal stops at once")
    stopping = asyncio.create_task(server.stop())
    again = asyncio.create_task(signals.get())
    await asyncio.wait({stopping, again}, return_when=asyncio.FIRST_COMPLETED)
    again.cancel()
    if not stopping.done():
        stopping.cancel()
        await server.stop_now()
        _say("stopped at once")
        return 1
    finished = stopping.result()
    _say("stopped" if finished else "stopped; some requests were not finished in time")
    return 0 if finished else 1


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _say(text: str) -> None:
    """For people and for whoever started us and waits for the ports: one flushed line."""
    sys.stdout.write(f"geminifusion {text}\n")
    sys.stdout.flush()
