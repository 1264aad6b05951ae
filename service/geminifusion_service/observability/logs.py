"""Log lines: as text for people, or as one JSON object a line; and the access log of requests.

Neither images nor API keys are ever logged, only the name of a key.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import cv2

from geminifusion_runtime import strict_json
from geminifusion_runtime.printable import escape_controls
from geminifusion_service.observability.timeline import Timeline
from geminifusion_service.settings import LogFormat, LogLevel

access_log = logging.getLogger("geminifusion.access")

# Attributes of every LogRecord; the others came by `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (UTC, RFC 3339), `level`, `logger`, `message`, and the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record as a line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return strict_json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """A line of text; fields that came by `extra` follow the message as `name=value`.

    What clients sent may be part of any of them, so control characters are escaped: they could begin a line that looks
    like one of ours, or tell the operator's terminal what to do. Lines of a traceback are indented for the same reason.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format one record without its traceback."""
        fields = (f" {name}={value}" for name, value in vars(record).items() if name not in _STANDARD)
        return escape_controls(super().formatMessage(record) + "".join(fields))

    def formatException(self, ei: Any) -> str:  # noqa: ANN401 - as logging has it
        """Format a traceback."""
        return "\n".join(f"  {escape_controls(line)}" for line in super().formatException(ei).split("\n"))

    def formatStack(self, stack_info: str) -> str:
        """Format the frames of a call."""
        return "\n".join(f"  {escape_controls(line)}" for line in super().formatStack(stack_info).split("\n"))


def set_up_logging(log_format: LogFormat, level: LogLevel) -> None:
    """Send every log line of this process to standard error in one format."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    for ours in [old for old in root.handlers if isinstance(old.formatter, JsonFormatter | TextFormatter)]:
        root.removeHandler(ours)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # OpenCV writes unformatted lines of its own for every damaged image, which the access log has as an error code.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def log_request(
    *,
    transport: str,
    code: str,
    request_id: str,
    status: int | str,
    seconds: float | None = None,
    model: str | None = None,
    client: str | None = None,
    principal: str | None = None,
    trace_id: str | None = None,
    timeline: Timeline | None = None,
) -> None:
    """Log one request: what was asked, the outcome, and the milliseconds of each stage."""
    if not access_log.isEnabledFor(logging.INFO):
        return
    fields: dict[str, Any] = {
        "transport": transport,
        "code": code,
        "status": status,
        "request_id": request_id,
        "client": client,
        "key": principal,
        "model": model,
        "trace_id": trace_id,
    }
    if seconds is not None:
        fields["ms"] = round(1000 * seconds, 3)
    if timeline is not None:
        fields["batch_size"] = timeline.batch_size
        fields |= {f"{timing.stage}_ms": round(timing.seconds * 1000, 3) for timing in timeline.stages}
    known = {name: value for name, value in fields.items() if value is not None}
    # Not by `info`, which walks the stack for the place of the call: every request is logged here.
    access_log.handle(
        access_log.makeRecord(access_log.name, logging.INFO, __file__, 0, "request", (), None, extra=known)
    )
