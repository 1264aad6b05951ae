"""Cameras as sources: one adapter for each maker's library, which is imported when a camera is opened.

An adapter gives colour as `H W 3` uint8 RGB and the depth of the same pixels. It opens the first camera it finds at
640x480 and 30 frames per second.
"""

from __future__ import annotations

import importlib

from geminifusion_runtime.printable import escape_controls

from ...errors import InvalidInputError, MissingExtraError, requires_extra
from ..base import Source, SourceRequest
from ..kinds import CAMERA_ADAPTERS


def open_camera(request: SourceRequest) -> Source:
    """Open a camera of the kind that was asked for.

    Raises:
        InvalidInputError: its library finds none, or cannot start it.
        MissingExtraError: the library is not installed.
    """
    assert request.camera is not None, "the registry opens cameras only where one was asked for"
    module, _, name = CAMERA_ADAPTERS[request.camera].partition(":")
    try:
        with requires_extra(f"--camera {request.camera}", "cameras"):
            adapter = getattr(importlib.import_module(f".{module}", __name__), name)
        source: Source = adapter()
    except MissingExtraError:
        raise
    except Exception as error:  # each library raises its own kinds
        raise InvalidInputError(
            f"no {request.camera} camera could be started ({escape_controls(str(error))}); check that one is connected "
            "and free, and that its library's own viewer finds it"
        ) from error
    return source
