"""A parser that goes on where it does not change the protocol.

A server may ignore `Upgrade` (RFC 9110, section 7.8), as this one does with all but `websocket`: Java's client asks for
h2c with every first request. llhttp stops at such a head and leaves the body to the new protocol, and uvicorn then
drops it. Here the same head is parsed once more, without that header, and what follows it as usual.
"""

from __future__ import annotations

from typing import Protocol

import httptools


class HttpCallbacks(Protocol):
    """The protocol that the parser reports to, as uvicorn's."""

    def on_message_begin(self) -> None: ...  # noqa: D102
    def on_url(self, url: bytes) -> None: ...  # noqa: D102
    def on_header(self, name: bytes, value: bytes) -> None: ...  # noqa: D102
    def on_headers_complete(self) -> None: ...  # noqa: D102
    def on_body(self, body: bytes) -> None: ...  # noqa: D102
    def on_message_complete(self) -> None: ...  # noqa: D102
    def _should_upgrade(self) -> bool: ...


class UpgradeIgnoringParser:
    """`httptools.HttpRequestParser` for a protocol whose `_should_upgrade` says which upgrades it takes."""

    def __init__(self, protocol: HttpCallbacks) -> None:
        self._protocol = protocol
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._ignores = False  # an upgrade, whose head is to be parsed again
        self._repeats = False  # parses that head, whose parts the protocol has already
        self.on_body = protocol.on_body  # called often, and nothing is to be added to it
        self._parser = self._new_parser()

    def feed_data(self, data: bytes) -> None:
        """Parse more of the connection.

        Raises:
            httptools.HttpParserError: it is no HTTP.
            httptools.HttpParserUpgrade: the protocol changes to one that it takes.
        """
        while True:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if not self._ignores:
                    raise
                data = data[upgrade.args[0] :]
            head = self._head_without_upgrade()
            self._ignores, self._repeats = False, True
            self._parser = self._new_parser()
            self._parser.feed_data(head)
            if not data:
                return

    def get_method(self) -> bytes:
        """See httptools."""
        method: bytes = self._parser.get_method()
        return method

    def get_http_version(self) -> str:
        """See httptools."""
        version: str = self._parser.get_http_version()
        return version

    def should_keep_alive(self) -> bool:
        """See httptools."""
        return bool(self._parser.should_keep_alive())

    def should_upgrade(self) -> bool:
        """See httptools."""
        return bool(self._parser.should_upgrade())

    def on_message_begin(self) -> None:
        """See httptools."""
        if not self._repeats:
            self._url, self._headers = b"", []
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        """See httptools."""
        if not self._repeats:
            self._url += url
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        if not self._repeats:
            self._headers.append((name, value))
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        """See httptools."""
        asks = any(name.lower() == b"upgrade" for name, _ in self._headers)  # CONNECT upgrades without asking
        if asks and not self._repeats and self.should_upgrade() and not self._protocol._should_upgrade():
            self._ignores = True
            return
        self._repeats = False
        self._protocol.on_headers_complete()

    def on_message_complete(self) -> None:
        """See httptools."""
        if not self._ignores:
            self._protocol.on_message_complete()

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        return parser

    def _head_without_upgrade(self) -> bytes:
        version = self.get_http_version().encode()
        lines = [b"%b: %b\r\n" % header for header in self._headers if header[0].lower() != b"upgrade"]
        return b"".join([self.get_method(), b" ", self._url, b" HTTP/", version, b"\r\n", *lines, b"\r\n"])
