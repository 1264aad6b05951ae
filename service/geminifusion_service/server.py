"""The server process: both transports in one event loop, from start to drained."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import uvicorn
from starlette.types import ASGIApp

from geminifusion_runtime.allocator import keep_freed_memory
from geminifusion_service.api.open_inference.inference import OpenInference
from geminifusion_service.api.v1.websocket import add_stream_route
from geminifusion_service.grpc_server import GrpcTransport
from geminifusion_service.http_app import admitted_paths, build_http_app, error_response
from geminifusion_service.model_manager import ModelManager
from geminifusion_service.models.memory import return_freed_memory
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.pipeline.budget import ResourceBudget
from geminifusion_service.pipeline.executor import Executor
from geminifusion_service.pipeline.local_executor import LocalExecutor
from geminifusion_service.pipeline.segmenter import Segmenter
from geminifusion_service.pipeline.streaming import StreamManager
from geminifusion_service.pipeline.telemetry import Telemetry
from geminifusion_service.pipeline.tracing import Tracing
from geminifusion_service.process_end import end_within
from geminifusion_service.security.allowed_hosts import AllowedHosts
from geminifusion_service.security.api_keys import AccessControl
from geminifusion_service.security.tls import TlsFiles, grpc_credentials, http_context, tls_files
from geminifusion_service.settings import ObservabilitySettings, Settings
from geminifusion_service.transport.grpc.api_keys import RequireKey
from geminifusion_service.transport.http.connection_limits import limited_http_protocol
from geminifusion_service.transport.http.header_rules import HeaderRules
from geminifusion_service.transport.http.load_shedding import LoadShedder, RejectRequest
from geminifusion_service.transport.http.tls_listener import TlsListener
from geminifusion_service.transport.http.websocket_limits import limited_websocket_protocol

_log = logging.getLogger(__name__)

_END_S = 2.0  # after the drain, for what remains to be closed
_LAST_ANSWERS_S = 1.0  # for the errors of what was not finished in time
_RETURN_MEMORY_S, _RETURN_MUCH_S = 1.0, 0.1
# Of a limit of the budget: an ordinary load stays below, and memory that it frees it soon needs again.
_MUCH, _NEARLY_ALL = 0.25, 0.75
_KEPT_BYTES = 64 * 2**20  # of freed memory, for the next request
_OTHER_FILES = 512  # libraries, models, pipes, gRPC


class StartupError(RuntimeError):
    """The server cannot start; the message says why and what to do."""


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers, which know nothing of gRPC, readiness or the queue.

    Args:
        max_connections: at once, TLS handshakes included.
        handshake_timeout_s: longest time a TLS handshake may take.
    """

    def __init__(self, config: uvicorn.Config, *, max_connections: int, handshake_timeout_s: float) -> None:
        super().__init__(config)
        self._max_connections = max_connections
        self._handshake_timeout_s = handshake_timeout_s

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; with TLS not by asyncio's server, which counts no handshakes."""
        if self.config.ssl is None or not sockets:
            await super().startup(sockets)
            return
        await self.lifespan.startup()
        listeners = [
            TlsListener(
                listener,
                self.config.ssl,
                lambda: self.config.http_protocol_class(  # type: ignore[call-arg]
                    config=self.config, server_state=self.server_state, app_state=self.lifespan.state
                ),
                num_open=lambda: len(self.server_state.connections),
                max_connections=self._max_connections,
                handshake_timeout_s=self._handshake_timeout_s,
            )
            for listener in sockets
        ]
        self.servers = listeners  # type: ignore[assignment]  # of what asyncio's have uvicorn uses these two methods
        self.started = True


class Server:
    """One serving process. `start`, `load`, `stop`, in this order, in one event loop.

    Raises:
        AccessFileError, TlsError: ValueErrors; a file the settings name cannot be used.
        RuntimeError: a setting needs a package that is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        limits, security = settings.limits, settings.security
        self._limits, self._network = limits, settings.network
        self._metrics = Metrics()
        self._telemetry = _telemetry(settings.observability, self._metrics)
        access = AccessControl(Path(security.api_keys_file) if security.api_keys_file else None)
        tls = tls_files(security.tls_certificate, security.tls_key, security.tls_client_ca)
        self._credentials = grpc_credentials(tls) if tls else None
        self.scheme = "https" if tls else "http"
        self._models: ModelManager | None = None  # None: the replicas have their own
        self._load: Callable[[], Awaitable[None]]
        if settings.ray.executor == "ray":
            from geminifusion_service.ray_serve.ingress import RayExecutor, open_replicas

            on_ray = RayExecutor(settings, self._metrics)
            self.segmenter = self._segmenter_on(on_ray)
            self._load = partial(open_replicas, on_ray, self.segmenter, default_model=settings.models.default_model)
        else:
            self.segmenter = self._segmenter_on(LocalExecutor(settings, self._metrics))
            self._models = ModelManager(settings, self._metrics, self.segmenter)
            self._load = self._models.start
        open_inference = OpenInference(self.segmenter, limits, self._metrics, self._models)
        self._streams = StreamManager(max_streams=limits.max_streams, idle_s=limits.stream_idle_s)
        self._grpc = GrpcTransport(
            self.segmenter,
            limits,
            self._metrics,
            open_inference,
            self._streams,
            interceptors=[RequireKey(access, self._metrics, self._telemetry)],
            handshake_timeout_s=self._network.head_timeout_s,
        )
        http_app = build_http_app(
            self.segmenter,
            settings,
            self._metrics,
            open_inference,
            self._models,
            access,
            self._telemetry,
            grpc_port=lambda: self.grpc_port,
        )
        add_stream_route(http_app, self.segmenter, self._metrics, self._streams, origins=security.cors_allowed)
        shed = LoadShedder(
            self.segmenter,
            self._metrics,
            self._telemetry,
            paths=admitted_paths(http_app.routes),
            error_response=error_response,
        )
        # Where requests need keys, the application rejects for the key first.
        self._http = _http_server(
            http_app,
            settings,
            tls,
            budget=self.segmenter.budget,
            reject=RejectRequest(self._telemetry, error_response),
            shed=None if access.asks_for_keys else shed,
        )
        self._http_task: asyncio.Task[None] | None = None
        self._lag_task: asyncio.Task[None] | None = None
        self._memory_task: asyncio.Task[None] | None = None
        self.http_port = settings.network.http_port
        self.grpc_port = settings.network.grpc_port

    def _segmenter_on(self, executor: Executor) -> Segmenter:
        limits = self._limits
        return Segmenter(
            executor,
            self._metrics,
            max_bytes=limits.max_inflight_bytes,
            max_pixels=limits.pixels_in_flight if isinstance(executor, LocalExecutor) else None,
            max_elements=limits.max_inflight_elements,
            telemetry=self._telemetry,
        )

    async def start(self) -> None:
        """Listen on both ports; alive at once, ready after `load`.

        Raises:
            StartupError: a port is not available.
        """
        host = self._network.host
        listener = _listen(host, self._network.http_port)
        self.http_port = listener.getsockname()[1]
        try:
            self.grpc_port = await self._grpc.start(host, self._network.grpc_port, self._credentials)
        except OSError as error:
            listener.close()
            raise StartupError(
                f"cannot listen on {host}:{self._network.grpc_port} for gRPC ({error}); "
                "stop what uses the port or give another --grpc-port"
            ) from None
        self._http_task = asyncio.create_task(self._http.serve(sockets=[listener]))
        self._lag_task = asyncio.create_task(self._metrics.watch_event_loop())
        self._memory_task = asyncio.create_task(_return_memory(self.segmenter.budget))

    async def load(self) -> None:
        """Verify, load, warm up and self-test every model; ready afterwards unless a self-test fails.

        Raises:
            ArtifactError, RuntimeError, ValueError: an artifact that cannot be served.
        """
        await self._load()

    async def stop(self) -> bool:
        """Become not ready, finish what was accepted, stop. Returns whether all was finished within the drain time.

        Requests that were not finished by then get errors.
        """
        self.segmenter.mark_draining()
        await asyncio.sleep(self._network.drain_delay_s)
        deadline = time.monotonic() + self._network.drain_s
        transports = asyncio.create_task(self._stop_transports(deadline + _LAST_ANSWERS_S))
        try:
            # The transports reject new connections now; the segmenter still takes what they had already accepted.
            await asyncio.wait({transports}, timeout=self._network.drain_s)
            # What it has not finished by now gets an error, which the transports have a moment more to send.
            finished = await self.segmenter.close(max(0.0, deadline - time.monotonic()))
            await transports
        finally:
            transports.cancel()
        await self._close_rest()
        return finished

    async def _stop_transports(self, deadline: float) -> None:
        """Stop accepting, and wait for what was accepted until the deadline, in seconds of `time.monotonic`."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._grpc.stop(deadline - time.monotonic()))
            # uvicorn would close a WebSocket at once, with frames in flight; a client that does not read gets half
            # of the time.
            await self._streams.drain(self._network.drain_s / 2)
            self._http.config.timeout_graceful_shutdown = max(0.0, deadline - time.monotonic())  # type: ignore[assignment]
            self._http.should_exit = True
            both.create_task(self._http_stopped())

    async def stop_now(self) -> None:
        """Stop without finishing anything."""
        self._http.should_exit = self._http.force_exit = True
        await self._grpc.stop(0)
        for connection in tuple(self._http.server_state.connections):
            connection.transport.abort()  # uvicorn would wait for the responses
        await self._http_stopped()
        await self.segmenter.close(0)
        await self._close_rest()

    async def _close_rest(self) -> None:
        for task in (self._lag_task, self._memory_task):
            if task is not None:
                task.cancel()
        if self._models is not None:
            await self._models.close()
        await asyncio.to_thread(self._telemetry.close)

    async def _http_stopped(self) -> None:
        if self._http_task is not None:
            await asyncio.shield(self._http_task)  # a stop that is cut short must not leave sockets open


async def _return_memory(budget: ResourceBudget) -> None:
    """Return what was freed to the system after requests that held much of the budget, at once after nearly all of it.

    The C library keeps it, in an arena for each thread, so that bursts over one transport after the other would add up.
    """
    used, returned = 0.0, time.monotonic()
    while True:
        await asyncio.sleep(_RETURN_MUCH_S)
        used = max(used, budget.recent_use())
        if used > _NEARLY_ALL or time.monotonic() - returned > _RETURN_MEMORY_S:
            if used > _MUCH:
                await asyncio.to_thread(return_freed_memory)
            used, returned = 0.0, time.monotonic()


def _telemetry(settings: ObservabilitySettings, metrics: Metrics) -> Telemetry:
    tracing = Tracing(settings.otlp_endpoint, share=settings.trace_share) if settings.otlp_endpoint else None
    return Telemetry(metrics, tracing, log_requests=settings.access_log)


def _http_server(
    app: ASGIApp,
    settings: Settings,
    tls: TlsFiles | None,
    *,
    budget: ResourceBudget,
    reject: RejectRequest,
    shed: LoadShedder | None,
) -> _Uvicorn:
    network, limits, security = settings.network, settings.limits, settings.security
    # A web page whose site was made to resolve to this server has no API key.
    any_host = security.api_keys_file and not security.hosts_allowed
    hosts = None if any_host else AllowedHosts(security.hosts_allowed, listens_on=network.host)
    return _Uvicorn(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            http=limited_http_protocol(
                head_timeout_s=network.head_timeout_s,
                max_connections=limits.max_connections,
                max_head_bytes=network.max_head_bytes,
                max_body_bytes=limits.max_body_bytes,
                budget=budget,
                rules=HeaderRules(hosts),
                reject=reject,
                shed=shed,
            ),
            timeout_keep_alive=network.keep_alive_s,
            ssl_context_factory=(lambda *_: http_context(tls)) if tls else None,
            # Its C code unmasks; the images inside are compressed already, so deflating them would only take time.
            ws=limited_websocket_protocol(budget=budget),
            ws_max_size=min(limits.max_body_bytes + 64 * 1024, 2**31 - 1),
            ws_per_message_deflate=False,
            ws_ping_interval=20,
            # A pong waits its turn behind the frames that are not yet read.
            ws_ping_timeout=60,
        ),
        max_connections=limits.max_connections,
        handshake_timeout_s=network.head_timeout_s,
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # TCP is named because asyncio sets TCP_NODELAY only then: without it every response on a kept connection waits
    # 40 ms for the client's delayed acknowledgement.
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
    """Serve until SIGTERM, SIGINT or SIGHUP; a second signal stops at once. Returns the exit code.

    Raises:
        StartupError, ArtifactError, RuntimeError, ValueError: it cannot start.
    """
    # Or the buffers of each request were mapped, cleared and unmapped again: a tenth of the time of the event loop.
    keep_freed_memory(_KEPT_BYTES)
    # Each request has its own thread in the pools; OpenCV's threads would only compete with them.
    cv2.setNumThreads(1)
    settings = _with_files_for_connections(settings)
    server = Server(settings)
    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    # Before the model is loaded: a signal during a slow start must not be lost.
    for number in _stop_signals():
        loop.add_signal_handler(number, signals.put_nowait, number)
    await server.start()
    _announce(
        f"listening: {server.scheme}://{_url_host(settings.network.host)}:{server.http_port} "
        f"{'grpcs' if server.scheme == 'https' else 'grpc'}://{_url_host(settings.network.host)}:{server.grpc_port}"
    )
    signalled = asyncio.create_task(signals.get())
    loading = asyncio.create_task(server.load())
    try:
        await asyncio.wait({loading, signalled}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            problems = "; ".join(server.segmenter.models.problems)
            references = ", ".join(model.reference for model in server.segmenter.models)
            _announce(f"not ready: {problems}" if problems else f"ready: {references}")
            await signalled
    except BaseException:
        signalled.cancel()
        await server.stop_now()
        raise
    if not loading.done():
        _announce("stopping before the model was loaded")
        end_within(_END_S, code=0)
        await server.stop_now()
        return 0
    _announce("stopping: finishing accepted requests; a second signal stops at once")
    end_within(settings.network.drain_delay_s + settings.network.drain_s + _END_S, code=1)
    stopping = asyncio.create_task(server.stop())
    again = asyncio.create_task(signals.get())
    await asyncio.wait({stopping, again}, return_when=asyncio.FIRST_COMPLETED)
    again.cancel()
    if not stopping.done():
        stopping.cancel()
        end_within(_END_S, code=1)
        await server.stop_now()
        _announce("stopped at once")
        return 1
    finished = stopping.result()
    _announce("stopped" if finished else "stopped; some requests were not finished in time")
    return 0 if finished else 1


def _stop_signals() -> list[signal.Signals]:
    """Those that stop the server; a closed terminal does not where the server was started to outlive it (nohup)."""
    signals = [signal.SIGTERM, signal.SIGINT]
    return signals if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [*signals, signal.SIGHUP]


def _with_files_for_connections(settings: Settings) -> Settings:
    """Raise the limit of open files, of which each connection is one, as far as the system allows.

    Where that is not far enough, the limits on connections become lower: gRPC and HTTP have files of their own, and
    there are some left for models and worker processes.
    """
    limits = settings.limits
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = limits.max_connections + limits.max_grpc_connections + _OTHER_FILES
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed >= needed:
        return settings
    room = allowed - min(_OTHER_FILES, allowed // 3)
    http = max(1, min(limits.max_connections, room * 3 // 4))
    grpc = max(1, min(limits.max_grpc_connections, room - http))
    _log.warning(
        "%d open files are allowed, so %d HTTP and %d gRPC connections instead of %d and %d; raise `ulimit -n` or "
        "lower --max-connections and --max-grpc-connections",
        allowed,
        http,
        grpc,
        limits.max_connections,
        limits.max_grpc_connections,
    )
    fitting = dataclasses.replace(limits, max_connections=http, max_grpc_connections=grpc)
    return dataclasses.replace(settings, limits=fitting)


def _url_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _announce(text: str) -> None:
    """Print one line and flush it, for whoever started the server and waits for its ports.

    Nobody may be there: the reader of the pipe has gone, the disk is full, or the stream is closed. The line is logged
    then, and the server goes on.
    """
    try:
        sys.stdout.write(f"geminifusion {text}\n")
        sys.stdout.flush()
    except (AttributeError, OSError, ValueError) as error:  # None where it was closed before the start
        _log.info("%s (standard output: %s)", text, error)
        if sys.stdout is not None:
            with contextlib.suppress(OSError, ValueError):  # Python would try once more, and fail, when it exits
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
