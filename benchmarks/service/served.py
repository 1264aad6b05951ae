"""A server in a process of its own, as benchmarks of the service start it, measure it and stop it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from geminifusion.server_process import SERVE, running_server

_READY_S = 180.0
_STOP_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Served:
    """Where a server listens, and its process."""

    host: str
    http_port: int
    grpc_port: int
    pid: int

    def port(self, protocol: str) -> int:
        """Port of `http` or `grpc`."""
        return self.grpc_port if protocol == "grpc" else self.http_port


@contextmanager
def served(
    artifact: Path | None,
    *options: object,
    script: Path | None = None,
    script_arguments: Sequence[str] = (),
) -> Iterator[Served]:
    """`geminifusion serve` on free ports, ready; stopped at the end.

    Args:
        artifact: None takes the bundled model.
        options: of the command line.
        script: run instead of the command, its own arguments first; it must print the same two lines.

    Raises:
        ServerStartError: it did not become ready; the message ends with its log.
    """
    command = SERVE if script is None else (sys.executable, script, *script_arguments)
    arguments = [*options, *(() if artifact is None else ("--artifact", artifact))]
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(
            arguments, Path(folder) / "server.log", command=command, ready_s=_READY_S, stop_s=_STOP_S
        ) as server,
    ):
        http, grpc = (urlsplit(url) for url in (server.http_url, server.grpc_url))
        assert http.hostname is not None
        assert http.port is not None
        assert grpc.port is not None
        yield Served(host=http.hostname, http_port=http.port, grpc_port=grpc.port, pid=server.pid)
