"""What a failed connection says about the address: the port of another transport, with TLS or without."""

from __future__ import annotations

from urllib.parse import urlsplit

# A part of the library's message in lower case, and what to do; those of the transports differ.
_HTTP = (
    ("illegal request line", "what responds there speaks no HTTP/1; if it is the gRPC port, give grpc://{where}"),
    ("illegal status line", "what responds there speaks no HTTP/1; if it is the gRPC port, give grpc://{where}"),
    (
        "did not receive a valid http response",  # of websockets, for both
        "what responds there speaks no HTTP; if it is the gRPC port, give grpc://{where}, if it expects TLS, https://",
    ),
    ("wrong version number", "what responds there speaks no TLS; give http://{where}, or grpc:// for its gRPC port"),
)
_HTTP_CLOSED = "server disconnected without sending a response"
_GRPC = (
    ("http1.x server", "that is an HTTP port; give http://{where}"),
    ("wrong_version_number", "what responds there speaks no TLS; give grpc://{where}, or http:// for its HTTP port"),
    ("alpn", "what responds there speaks TLS and no gRPC; give https://{where}"),
    ("socket closed", "it closed the connection at once; if it expects TLS, give grpcs:// or https://{where}"),
)


def advice(error: object, url: str) -> str | None:
    """What to do about a connection that failed for its address; None where the error does not say.

    Args:
        error: of the library, or its text.
        url: the address that was asked.
    """
    text, scheme = str(error).lower(), urlsplit(url).scheme
    hints = _GRPC if scheme.startswith("grpc") else _HTTP
    for part, hint in hints:
        if part in text:
            return hint.format(where=urlsplit(url).netloc.rpartition("@")[2])
    if _HTTP_CLOSED in text:
        where = urlsplit(url).netloc.rpartition("@")[2]
        other = f"if it expects TLS, give https://{where}; " if scheme == "http" else ""
        return f"try again; {other}if it is the gRPC port, give grpc{'s' if scheme == 'https' else ''}://{where}"
    return None
