"""Opens sinks by the names of their formats."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from .base import Sink, SinkRequest
from .formats import SINKS


def open_sinks(names: Iterable[str], request: SinkRequest) -> list[Sink]:
    """A sink for each format that was asked for.

    Raises:
        OutputExistsError: a file of all frames is there already.
        MissingExtraError: a library for a format is not installed.
    """
    sinks: list[Sink] = []
    try:
        for name in dict.fromkeys(names):
            module, _, maker = SINKS[name].partition(":")
            sinks.append(getattr(importlib.import_module(f".{module}", __package__), maker)(request))
    except BaseException:
        for sink in sinks:
            sink.close()
        raise
    return sinks
