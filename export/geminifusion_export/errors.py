"""What exporting can fail with; importing this needs nothing else installed."""

from __future__ import annotations


class ExportError(RuntimeError):
    """The network cannot be exported, or what came out is not what it should be; the message says what to do."""
