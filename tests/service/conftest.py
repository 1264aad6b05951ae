"""A live server on free loopback ports."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from geminifusion_service.server import Server
from geminifusion_service.settings import Settings


class LiveServer:
    """A server in a thread of its own, with the addresses it really has."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._up = threading.Event()
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))
        self.server: Server

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.server = Server(self._settings)
        await self.server.start()
        await self.server.load()
        self._up.set()
        await self._stop.wait()
        await self.server.stop()

    def start(self) -> None:
        self._thread.start()
        assert self._up.wait(20), "the server did not come up"

    def stop(self) -> None:
        if self._thread.is_alive():  # unless the test has stopped it
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server did not stop"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.http_port}"

    @property
    def grpc_target(self) -> str:
        return f"127.0.0.1:{self.server.grpc_port}"

    def post(self, files: dict[str, bytes], **query: str | float) -> httpx.Response:
        with httpx.Client(trust_env=False) as client:
            return client.post(f"{self.url}/v1/segment", params=query, files=files)

    def get(self, path: str) -> httpx.Response:
        with httpx.Client(trust_env=False) as client:
            return client.get(self.url + path)


@contextmanager
def running_server(artifact: Path, **settings: Any) -> Iterator[LiveServer]:
    values = {
        "artifacts": (artifact,),
        "http_port": 0,
        "grpc_port": 0,
        "threads": 1,
        "decode_workers": 2,
        "decode_isolation": "thread",  # processes take half a second to start, and there are many servers
        **settings,
    }
    live = LiveServer(Settings.of(**values))
    live.start()
    try:
        yield live
    finally:
        live.stop()


@pytest.fixture(scope="session")
def live_server(tiny_artifact: Path) -> Iterator[LiveServer]:
    """One server for every test that leaves it as it was."""
    with running_server(tiny_artifact) as live:
        yield live


@pytest.fixture(scope="session")
def serving(tiny_artifact: Path) -> Callable[..., AbstractContextManager[LiveServer]]:
    """`with serving(queue_size=1) as live`: a server with settings of its own."""
    return lambda **settings: running_server(tiny_artifact, **settings)


@pytest.fixture(scope="session")
def serving_artifact() -> Callable[..., AbstractContextManager[LiveServer]]:
    """`with serving_artifact(artifact) as live`: a server of any artifact."""
    return running_server
