"""NumPy scalars in pickled files, rebuilt without NumPy's own unpickling: a number type and its bytes, nothing else.

Training scripts store a best score beside the weights, and `np.nanmean` returns a NumPy scalar. Both spellings of
NumPy's module are read, whichever release is installed. mmengine's also store their log, arrays in an object of their
own, which is passed over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import torch

_NUMBER_KINDS = "biuf"
_LOG = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.ndarray",
)


class _StoredType:
    """A number type as the file names it; takes the place of `numpy.dtype`."""

    def __init__(self, name: str, *_: object) -> None:
        self.name, self.byte_order = name, "="

    def __setstate__(self, state: tuple[object, ...]) -> None:
        # NumPy's version 3 or 4 of the state: the byte order comes second
        if len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.byte_order = str(state[1])


def _stored_scalar(kind: _StoredType, data: bytes) -> float | int | bool:
    """Takes the place of `numpy.core.multiarray.scalar`."""
    dtype = np.dtype(kind.name)
    if dtype.kind not in _NUMBER_KINDS or not isinstance(data, bytes) or len(data) != dtype.itemsize:
        raise ValueError(f"a stored scalar of type {kind.name!r} is no number")
    ordered = np.dtype(kind.byte_order + dtype.str[1:])
    value: float | int | bool = np.frombuffer(data, ordered)[0].item()
    return value


class _Skipped:
    """Takes the place of what is not needed: takes anything and keeps nothing."""

    def __new__(cls, *_: object) -> _Skipped:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def allowed_scalars() -> contextlib.AbstractContextManager[object]:
    """Within it, `torch.load(weights_only=True)` reads NumPy scalars as Python numbers and passes over arrays."""
    allowed: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
        (_StoredType, "numpy.dtype"),
        (_stored_scalar, "numpy.core.multiarray.scalar"),
        (_stored_scalar, "numpy._core.multiarray.scalar"),
        *((_Skipped, name) for name in _LOG),
    ]
    return torch.serialization.safe_globals(allowed)
