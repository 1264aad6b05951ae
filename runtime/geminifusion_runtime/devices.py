"""Devices that run an engine instance each, and the CPU cores of an instance.

`--devices cpu` is one instance on all cores; `cpu:0-3,cpu:4-7` are two, each pinned to its own cores, for machines with
several NUMA nodes; `cuda:0,cuda:1` are two GPUs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from geminifusion_runtime.cpu_count import usable_cores

_DEVICE = re.compile(r"(?P<kind>auto|cpu|cuda)(?::(?P<which>[0-9+-]+))?")
_EXPECTED = "expected devices like cpu, cpu:0-3,cpu:4-7 or cuda:0,cuda:1"


@dataclass(frozen=True, kw_only=True)
class Device:
    """Device of one engine instance. `auto` leaves the choice to the backend, which takes the first GPU or the CPU."""

    kind: Literal["auto", "cpu", "cuda"] = "auto"
    index: int = 0  # of a GPU
    cores: tuple[int, ...] = ()  # of a CPU; none: all that this process may use

    def __str__(self) -> str:
        if self.kind == "cuda":
            return f"cuda:{self.index}"
        return f"{self.kind}:{'+'.join(map(str, self.cores))}" if self.cores else self.kind


AUTO = Device()


def parse_devices(text: str) -> tuple[Device, ...]:
    """Read a comma-separated list: `auto`, `cpu`, `cpu:CORES` (`0-3`, `0-3+8-11`) or `cuda:N`; at least one.

    Raises:
        ValueError: it does not parse, or a core or a GPU is named twice.
    """
    devices = tuple(_parse(part.strip()) for part in text.split(","))
    cores = [core for device in devices for core in device.cores]
    gpus = [device.index for device in devices if device.kind == "cuda"]
    if len(set(cores)) != len(cores) or len(set(gpus)) != len(gpus):
        raise ValueError(f"devices is {text!r}, which names a core or a GPU twice; give each to one instance")
    if len(devices) > 1 and AUTO in devices:
        raise ValueError(f"devices is {text!r}; auto stands alone, {_EXPECTED}")
    return devices


def _parse(text: str) -> Device:
    match = _DEVICE.fullmatch(text)
    if match is None:
        raise ValueError(f"a device is {text!r}; {_EXPECTED}")
    kind, which = match["kind"], match["which"]
    if kind == "cuda":
        if which is not None and not which.isdecimal():
            raise ValueError(f"a device is {text!r}; {_EXPECTED}")
        return Device(kind="cuda", index=int(which or 0))
    if kind == "auto":
        if which is not None:
            raise ValueError(f"a device is {text!r}; {_EXPECTED}")
        return AUTO
    return Device(kind="cpu", cores=() if which is None else _parse_cores(which, text))


def _parse_cores(which: str, text: str) -> tuple[int, ...]:
    cores: list[int] = []
    for part in which.split("+"):
        ends = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", part)
        if ends is None or int(ends[2] or ends[1]) < int(ends[1]):
            raise ValueError(f"a device is {text!r}; {_EXPECTED}")
        cores.extend(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
    return tuple(sorted(set(cores)))


def check_cores(devices: Sequence[Device]) -> None:
    """Check that this process may run on the cores of all devices.

    Raises:
        RuntimeError: it may not; names those cores, and the allowed ones.
    """
    if not hasattr(os, "sched_getaffinity"):
        if any(device.cores for device in devices):
            raise RuntimeError("this system cannot pin threads to cores; give --devices cpu")
        return
    allowed = os.sched_getaffinity(0)
    for device in devices:
        if missing := sorted(set(device.cores) - allowed):
            raise RuntimeError(
                f"device {device} names cores {missing}, but this process may run on {sorted(allowed)}; "
                "change --devices or the container's cpuset"
            )


def engine_threads(device: Device, num_devices: int, threads: int | None) -> int:
    """Number of threads of one instance, at least 1: what was set, else its cores, else its share of the usable ones.

    The usable cores are those of the affinity and of the container's CPU quota, not those of the host.
    """
    if threads:
        return threads
    share = max(1, usable_cores() // num_devices)
    return min(len(device.cores), usable_cores()) if device.cores else share


def pin_to_cores(cores: Sequence[int]) -> None:
    """Pin this thread, and those it starts from now on, to `cores`; none leaves them unpinned."""
    if cores:
        os.sched_setaffinity(0, cores)


@contextmanager
def pinned_to_cores(cores: Sequence[int]) -> Iterator[None]:
    """Pin this thread while the context lasts; threads that a runtime starts in it stay on these cores."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
