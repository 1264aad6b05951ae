"""One engine instance for each device, in this process or in one of its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from geminifusion_runtime.artifact import ArtifactMetadata
from geminifusion_runtime.backends.protocol import ClosableBackend
from geminifusion_runtime.backends.selection import Chosen
from geminifusion_runtime.devices import AUTO, Device, check_cores, engine_threads, pinned_to_cores
from geminifusion_runtime.types import Isolation
from geminifusion_service.isolation.process_backend import ProcessBackend, WorkerConfig


def open_instances(
    directory: Path,
    metadata: ArtifactMetadata,
    *,
    wanted: str = "auto",
    threads: int | None = None,
    custom_ops: Path | None = None,
    devices: Sequence[Device] = (AUTO,),
    isolation: Isolation = "thread",
    trusted_keys: Path | None = None,
) -> list[Chosen]:
    """Load an artifact once for each device; all or none.

    Args:
        threads: of each instance; None gives each its cores, or its share of those this process may use.
        directory, metadata, wanted, custom_ops: see `open_backend`.
        trusted_keys: of processes that read the artifact again; see `open_artifact`.

    Raises:
        RuntimeError, ValueError: see `open_backend`; or a device names cores this process may not run on.
    """
    check_cores(devices)
    opened: list[Chosen] = []
    with ExitStack() as undo:
        for device in devices:
            config = WorkerConfig(
                directory=directory,
                wanted=wanted,
                threads=engine_threads(device, len(devices), threads),
                custom_ops=custom_ops,
                device=device,
                trusted_keys=trusted_keys,
            )
            if isolation == "process":
                backend = ProcessBackend(config, metadata)
                chosen = Chosen(backend, backend.reason)
            else:
                # The threads a runtime starts while it loads inherit the cores of the thread that loads it.
                with pinned_to_cores(device.cores):
                    chosen = config.open_backend(metadata)
            if isinstance(chosen.backend, ClosableBackend):
                undo.callback(chosen.backend.close)
            opened.append(chosen)
        undo.pop_all()
    return opened
