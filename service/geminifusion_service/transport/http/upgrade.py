"""A parser that goes on where it does not change the protocol.

A server may ignore `Upgrade` (RFC 9110, section 7.8), as this one does with all but `websocket`: Java's client asks for
h2c with every first request. llhttp stops at such a head and leaves the body to the new protocol, and uvicorn then
drops it. Here the same head is parsed once more, without that header, and what follows it as usual.
"""

from __future__ import annotations

from typing import Protocol

import httptools


class HttpCallbacks(Protocol):
    """The protocol that the parser reports to, as uvicorn's; it keeps the head that it was told of."""

    url: bytes
    headers: list[tuple[bytes, bytes]]  # names in lower case

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
        self._ignores = False  # an upgrade, whose head is to be parsed again
        self._is_repeated = False  # its head, of which the protocol was told
        # The parser calls the protocol itself, without a step between, where there is nothing to add.
        self.on_url, self.on_header, self.on_body = protocol.on_url, protocol.on_header, protocol.on_body
        self._parser: httptools.HttpRequestParser
        self._use(httptools.HttpRequestParser(self))

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
            self._ignores, self._is_repeated = False, True
            self._use(httptools.HttpRequestParser(_AfterRepeatedHead(self)))
            self._parser.feed_data(head)
            if not data:
                return

    def _use(self, parser: httptools.HttpRequestParser) -> None:
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        self._parser = parser
        self.get_method, self.get_http_version = parser.get_method, parser.get_http_version
        self.should_keep_alive, self.should_upgrade = parser.should_keep_alive, parser.should_upgrade

    def on_message_begin(self) -> None:
        """See httptools."""
        if not self._is_repeated:
            self._protocol.on_message_begin()

    def on_headers_complete(self) -> None:
        """See httptools."""
        if self.should_upgrade() and not self._is_repeated:
            asks = any(name == b"upgrade" for name, _ in self._protocol.headers)  # CONNECT upgrades without asking
            if asks and not self._protocol._should_upgrade():
                self._ignores = True
                return
        self._is_repeated = False
        self._protocol.on_headers_complete()

    def on_message_complete(self) -> None:
        """See httptools."""
        if not self._ignores:
            self._protocol.on_message_complete()

    def _head_without_upgrade(self) -> bytes:
        version = self.get_http_version().encode()
        lines = [b"%b: %b\r\n" % header for header in self._protocol.headers if header[0] != b"upgrade"]
        return b"".join([self.get_method(), b" ", self._protocol.url, b" HTTP/", version, b"\r\n", *lines, b"\r\n"])


class _AfterRepeatedHead:
    """Reports what follows a head that is parsed once more, and the heads of later requests."""

    def __init__(self, parser: UpgradeIgnoringParser) -> None:
        self._parser = parser
        self.on_body = parser.on_body
        self.on_message_begin, self.on_message_complete = parser.on_message_begin, parser.on_message_complete
        self.on_headers_complete = parser.on_headers_complete

    def on_url(self, url: bytes) -> None:
        """See httptools."""
        if not self._parser._is_repeated:
            self._parser.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        if not self._parser._is_repeated:
            self._parser.on_header(name, value)
