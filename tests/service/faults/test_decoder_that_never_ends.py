"""A decoder that a file leads in circles costs its request, not the others, nor the end of the server; V04."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx

# Decoding a WebP of one pixel takes as long as the process runs: no such file is known, which is why one is made up.
A_DECODER_NEVER_ENDS = """
import time
from geminifusion_service.isolation import decoder_pool
decode = decoder_pool.decode_part
def stuck(data, *rest, **options):
    while isinstance(data, bytes) and data[:4] == b"RIFF": time.sleep(1)
    return decode(data, *rest, **options)
decoder_pool.decode_part = stuck
"""
STUCK = b"RIFF\x1a\0\0\0WEBPVP8L"


def test_a_stuck_decoder_costs_its_request_alone_and_not_the_end(server_process, pair):
    arguments = ("--decode-isolation", "process", "--decode-workers", 1, "--drain-s", 0.5)
    with server_process(*arguments) as server:
        assert server.post(pair.files()).status_code == 200
        (stuck,) = server.decoders()
        os.kill(stuck, signal.SIGSTOP)
        late = server.post(pair.files(), deadline_ms=200)
        assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
        assert server.post(pair.files(), deadline_ms=20_000).status_code == 200
        (next_one,) = server.decoders()
        assert next_one != stuck
        os.kill(next_one, signal.SIGSTOP)

        def ask():
            with suppress(httpx.HTTPError):
                server.post(pair.files())

        waiting = threading.Thread(target=ask)
        waiting.start()
        time.sleep(0.2)
        started = time.monotonic()
        server.terminate()
        assert time.monotonic() - started < 15
        assert not Path(f"/proc/{next_one}").exists()
        waiting.join(10)


def test_the_server_ends_in_its_time_although_a_thread_decodes_for_ever(server_process, pair):
    with server_process("--decode-workers", 1, "--drain-s", 0.5, preamble=A_DECODER_NEVER_ENDS) as server:
        late = server.post(pair.files(rgb=STUCK), deadline_ms=200)
        assert late.json()["code"] == "deadline_exceeded"
        started = time.monotonic()
        assert server.terminate() == 1
        assert time.monotonic() - started < 15


def test_a_process_whose_output_nobody_reads_ends_in_its_time():
    script = (
        "import os, threading\n"
        "from geminifusion_service.process_end import end_within\n"
        "end_within(0.1, code=7)\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "os.write(1, bytes(2**20))"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.wait(10) == 7
