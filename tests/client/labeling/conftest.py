"""A web server with images and a login, as Label Studio has."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

LEGACY = "0123456789abcdef"
PERSONAL = "eyJhbGciOiJIUzI1NiJ9.refresh.x"


class Site(BaseHTTPRequestHandler):
    """`/data/upload/` needs a token; `/to?URL` redirects; `/open/` needs nothing."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        path, _, target = self.path.partition("?")
        if path == "/to":
            self.answer(302, b"", Location=target)
        elif path.startswith("/data/upload/") and self.headers.get("Authorization") not in (
            f"Token {LEGACY}",
            "Bearer fresh",
        ):
            self.answer(401, b"")
        elif (name := path.rpartition("/")[2]) in self.server.files:
            self.answer(200, self.server.files[name])
        else:
            self.answer(404, b"")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, None))
        taken = self.path == "/api/token/refresh/" and body == {"refresh": PERSONAL}
        self.answer(200 if taken else 401, b'{"access": "fresh"}' if taken else b"{}")

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in ({"Content-Length": len(body)} | headers).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Tests look at `asked`."""


@pytest.fixture(scope="module")
def serving(pair):
    files = {"room.png": pair.rgb_path.read_bytes(), "room_depth.png": pair.depth_path.read_bytes()}
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        server.files, server.asked = files, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def site(serving):
    """The server; `url` is its address, `tokens` are those it takes, `asked` the requests since the test began."""
    serving.asked.clear()
    serving.tokens = {"legacy": LEGACY, "personal": PERSONAL}
    serving.url = f"http://127.0.0.1:{serving.server_address[1]}"
    return serving


@pytest.fixture(scope="session")
def inline(pair):
    return "data:image/png;base64," + base64.b64encode(pair.rgb_path.read_bytes()).decode()
