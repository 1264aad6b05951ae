"""A request that offers another protocol is answered in this one, with its body."""

import json
import re
import shutil
import socket
import subprocess

import httpx
import pytest

HEADERS = (
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {}\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
)


def request(live, pair, upgrade, *, path="/v1/segment?format=json", chunked=False, extra=""):
    built = httpx.Request("POST", live.url + path, files=pair.files())
    body = built.read()
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    if chunked:
        half = len(body) // 2
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:])) + b"0\r\n\r\n"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {built.headers['Content-Type']}\r\n{length}\r\n{extra}"
        f"{HEADERS.format(upgrade)}\r\n"
    )
    return head.encode(), body


def answers(connection, count):
    """Status and body of each answer."""
    received, found = b"", []
    while len(found) < count:
        head, end, rest = received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower()) if end else None
        if length and len(rest) >= int(length[1]):
            found.append((int(head.split()[1]), rest[: int(length[1])]))
            received = rest[int(length[1]) :]
            continue
        data = connection.recv(65536)
        assert data, f"the connection closed after {len(found)} answers and {received[:200]!r}"
        received += data
    return found


@pytest.fixture
def connection(live_server):
    with socket.create_connection(("127.0.0.1", live_server.server.http_port), timeout=10) as made:
        yield made


@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.3", "h2c, websocket", "foo/2"])
@pytest.mark.parametrize("pieces", ["together", "head first", "byte by byte"])
@pytest.mark.parametrize("chunked", [False, True])
def test_the_body_after_an_upgrade_that_is_not_taken_is_read(live_server, pair, connection, upgrade, pieces, chunked):
    head, body = request(live_server, pair, upgrade, chunked=chunked)
    if pieces == "together":
        connection.sendall(head + body)
    elif pieces == "head first":
        connection.sendall(head)
        connection.sendall(body)
    else:
        for start in range(0, len(head), 40):
            connection.sendall(head[start : start + 40])
        connection.sendall(body)
    ((status, content),) = answers(connection, 1)
    assert (status, json.loads(content)["model"]) == (200, "tiny@1")


def test_the_connection_goes_on_after_it_also_for_what_was_sent_ahead(live_server, pair, connection):
    head, body = request(live_server, pair, "h2c")
    plain = head.replace(HEADERS.format("h2c").encode(), b"")
    bare = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    connection.sendall(head + body + bare + plain + body + bare + head + body)
    found = answers(connection, 5)
    assert [status for status, _ in found] == [200] * 5
    assert [b"live" in content for _, content in found] == [False, True, False, True, False]


def test_a_client_that_waits_to_be_invited_is_invited(live_server, pair, connection):
    head, body = request(live_server, pair, "h2c", extra="Expect: 100-continue\r\n")
    connection.sendall(head)
    assert connection.recv(4096).startswith(b"HTTP/1.1 100")
    connection.sendall(body)
    assert answers(connection, 1)[0][0] == 200


def test_open_inference_takes_such_bodies_too(live_server, connection):
    body = b'{"inputs": []}'
    connection.sendall(
        b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b\r\n%b"
        % (len(body), HEADERS.format("h2c").encode(), body)
    )
    ((status, content),) = answers(connection, 1)
    assert (status, json.loads(content)["code"]) == (400, "empty_body")
    assert "no inputs" in json.loads(content)["error"]


@pytest.mark.parametrize(
    "method", ["CONNECT x:1 HTTP/1.1", "CONNECT x:1 HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c"]
)
def test_a_tunnel_is_refused(connection, method):
    connection.sendall(method.encode() + b"\r\nHost: x\r\n\r\n")
    assert connection.recv(4096).startswith(b"HTTP/1.1 4")


JAVA = """
import java.net.URI; import java.net.http.*; import java.nio.file.*;
public class Post {
  public static void main(String[] given) throws Exception {
    var request = HttpRequest.newBuilder(URI.create(given[0])).header("Content-Type", given[1])
        .POST(HttpRequest.BodyPublishers.ofFile(Path.of(given[2]))).build();
    var client = HttpClient.newHttpClient();  // whose default is HTTP/2
    for (int i = 0; i < 2; i++)
      System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode());
  }
}
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="needs a JDK of version 11 or later")
def test_the_http_client_of_java_is_answered(live_server, pair, tmp_path):
    built = httpx.Request("POST", live_server.url, files=pair.files())
    body, program = tmp_path / "body", tmp_path / "Post.java"
    body.write_bytes(built.read())
    program.write_text(JAVA)
    arguments = (f"{live_server.url}/v1/segment", built.headers["Content-Type"], body)
    done = subprocess.run(["java", program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["200", "200"], done.stderr
