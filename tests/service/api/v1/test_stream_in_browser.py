"""A web page streams frames over a WebSocket, in a real browser, and sees the masks."""

import hashlib
import http.server
import json
import queue
import shutil
import subprocess
import threading

import numpy as np
import pytest
from tests.requirements import skip_or_fail

PATIENCE_S = 60
FRAMES = 3

PAGE = """<!doctype html><title>stream</title><canvas id="mask"></canvas><script>
function message(head, files) {
  const text = new TextEncoder().encode(JSON.stringify(head));
  const size = new Uint8Array(4);
  new DataView(size.buffer).setUint32(0, text.length, true);
  return new Blob([size, text, ...files]);
}
async function labels(png) {
  const bitmap = await createImageBitmap(new Blob([png], {type: "image/png"}));
  const canvas = document.getElementById("mask");
  canvas.width = bitmap.width; canvas.height = bitmap.height;
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  return Array.from(context.getImageData(0, 0, bitmap.width, bitmap.height).data).filter((_, i) => i % 4 == 0);
}
async function main() {
  const files = await Promise.all(["rgb", "depth"].map(async name => (await fetch(name)).arrayBuffer()));
  const [rgb, depth] = files.map(file => file.byteLength);
  const socket = new WebSocket("STREAM", PROTOCOLS);
  socket.binaryType = "arraybuffer";
  const answers = [];
  socket.onopen = () => {
    for (let i = 0; i < FRAMES; i++) socket.send(message({images: {rgb, depth}, request_id: "f" + i}, files));
    socket.send(message({images: {rgb: 3, depth}}, [new Uint8Array(3), files[1]]));
    socket.send("end");
  };
  socket.onmessage = ({data}) => answers.push(data);
  const closed = await new Promise(resolve => { socket.onclose = resolve; });
  const seen = [];
  for (const data of answers) {
    if (typeof data == "string") { seen.push(JSON.parse(data)); continue; }
    const length = new DataView(data).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    seen.push({frame: head.frame, request_id: head.request_id, labels: await labels(data.slice(4 + length))});
  }
  return {seen, code: closed.code};
}
main().catch(error => ({failure: String(error)})).then(
  found => fetch("found", {method: "POST", body: JSON.stringify(found)}));
</script>"""


def page(stream, key=None):
    protocols = "[]" if key is None else f'["bearer", encodeURIComponent({json.dumps(key)})]'
    text = PAGE.replace("STREAM", stream).replace("FRAMES", str(FRAMES)).replace("PROTOCOLS", protocols)
    return text.encode()


@pytest.fixture
def site(pair):
    """A web site of another origin than the server, with two files; what its page posts arrives in a queue."""
    found = queue.Queue()
    contents = {f"/{name}": data for name, data in pair.files().items()}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            data = contents.get(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Type", "text/html; charset=utf-8" if self.path == "/" else "image/png")
            self.end_headers()
            self.wfile.write(data or b"")

        def do_POST(self):
            found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", contents, found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def browse(tmp_path):
    """Open a page in a headless Chromium, which is closed after the test."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        skip_or_fail("needs Chromium (apt-get install chromium)")
    opened = []

    def open_page(url):
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--no-proxy-server"]
        command += [f"--user-data-dir={tmp_path / 'profile'}", url]
        opened.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    yield open_page
    for process in opened:
        process.terminate()
        process.wait(20)


@pytest.mark.browser
@pytest.mark.parametrize("key", [None, "k/3f+ü="])
def test_a_page_of_an_allowed_origin_streams_frames_and_sees_the_masks(serving, site, browse, pair, tmp_path, key):
    origin, contents, found = site
    settings = {"cors_origins": origin}
    if key is not None:
        keys = tmp_path / "keys.toml"
        keys.write_text(f'[web]\nsha256 = "{hashlib.sha256(key.encode()).hexdigest()}"\n')
        settings["api_keys_file"] = str(keys)
    with serving(**settings) as live:
        stream = live.url.replace("http://", "ws://") + "/v1/stream"
        contents["/"] = page(stream, key)
        browse(origin)
        answer = found.get(timeout=PATIENCE_S)
        assert "failure" not in answer, answer
        *frames, bad = answer["seen"]
        assert [(frame["frame"], frame["request_id"]) for frame in frames] == [(i, f"f{i}") for i in range(FRAMES)]
        for frame in frames:
            np.testing.assert_array_equal(np.reshape(frame["labels"], pair.labels.shape), pair.labels)
        assert (bad["frame"], bad["error"]["code"]) == (FRAMES, "undecodable_image")
        assert answer["code"] == 1000


@pytest.mark.browser
def test_a_page_of_another_origin_is_kept_out(live_server, site, browse):
    origin, contents, found = site
    stream = live_server.url.replace("http://", "ws://") + "/v1/stream"
    contents["/"] = page(stream)
    browse(origin)
    answer = found.get(timeout=PATIENCE_S)
    assert answer == {"seen": [], "code": 1006}
