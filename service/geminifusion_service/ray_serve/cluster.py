"""Ray itself: a private one of this process, or a running one to join.

A private Ray lives on the loopback address, keeps its files in a temporary folder, reports nothing to anybody and ends
with this process. Ray runs the code of whoever reaches its ports, and replicas open one on every interface, so its
token authentication is always on: with a token of this run in the environment, Ray writes none to the home directory.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import sys
import tempfile
from pathlib import Path

from geminifusion_service.ray_serve.reaper import FOLDER_VARIABLE, Reaper

_OBJECT_STORE_BYTES = 256 * 1024 * 1024  # requests and responses in flight; more would spill to the disk
_MAX_FOLDER_LENGTH = 40  # characters; Ray puts sockets below it, whose paths may have 107
INSTALL = 'pip install "geminifusion[service,ray]"'


class RayError(RuntimeError):
    """Ray cannot be started or reached; the message says why and what to do."""


class Ray:
    """A running Ray. Call everything from one thread at a time, none of it on an event loop."""

    def __init__(self, reaper: Reaper | None = None) -> None:
        self._reaper = reaper

    @classmethod
    def start(cls, *, cpus: int, gpus: int) -> Ray:
        """Start a private Ray on this machine.

        Args:
            cpus, gpus: number that it may assign to replicas.

        Raises:
            RayError: it does not come up.
        """
        folder = Path(tempfile.mkdtemp(prefix="geminifusion-ray-", dir=_base_folder()))
        started = cls(Reaper(folder))
        # Ray reads these when it is imported, and its processes inherit them.
        os.environ.update(
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN=secrets.token_hex(32),
            RAY_USAGE_STATS_ENABLED="0",
            # Otherwise Ray takes the loopback address for a mistake and the machine's outside one instead.
            RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
            # A replica without a GPU shall not see one.
            RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="1",
        )
        os.environ[FOLDER_VARIABLE] = str(folder)
        try:
            _import_quietly()
            import ray

            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=gpus,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                configure_logging=False,
                _temp_dir=str(folder),
                _node_ip_address="127.0.0.1",
            )
        except Exception as error:
            started.stop()
            raise RayError(
                f"Ray did not start ({error}); it needs about 1.5 GB of memory and a few free loopback ports"
            ) from error
        return started

    @classmethod
    def join(cls, address: str) -> Ray:
        """Join a running Ray; this machine must be one of its nodes.

        Raises:
            RayError: there is none at this address, or it rejects us.
        """
        try:
            _import_quietly()
            import ray

            ray.init(address=address, configure_logging=False)
        except Exception as error:
            raise RayError(
                f"cannot join Ray at {address} ({error}); run `ray start --address=…` on this machine first, with the "
                "RAY_AUTH_TOKEN of the cluster"
            ) from error
        return cls()

    def stop(self) -> None:
        """Leave Ray; a private one is ended, with all its processes and files."""
        if "ray" in sys.modules:
            import ray

            ray.shutdown()
        if self._reaper is not None:
            self._reaper.finish()


def prepare() -> None:
    """Check that Ray is installed, before anything is started, and set what it reads from the environment.

    Imports nothing: Ray reads the environment when it is imported.

    Raises:
        RayError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise RayError(f"--executor ray needs Ray Serve; run: {INSTALL}")
    # Ray forks, and a gRPC that is in use warns of each fork.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def _import_quietly() -> None:
    """Import Ray Serve, and send what it logs here to our own log, errors only: it warns of all it does."""
    os.environ["RAY_COLOR_PREFIX"] = "0"  # of the replicas' lines in our log
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # or a call that comes after `stop` would start another Ray
    import ray.serve  # noqa: F401 - configures its logger, which is undone below

    for name in ("ray", "ray.serve"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.ERROR)


def _base_folder() -> str | None:
    """Parent of Ray's folder; None takes the usual place for temporary ones."""
    return None if len(tempfile.gettempdir()) <= _MAX_FOLDER_LENGTH else "/tmp"  # noqa: S108 - mkdtemp makes a private one
