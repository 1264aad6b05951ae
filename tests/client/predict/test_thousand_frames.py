"""A thousand frames over one stream, as fast as the server takes them: in order, none lost, memory flat."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from geminifusion.results import Result
from geminifusion.segmenters import ServedSegmenter
from geminifusion.server_process import running_server
from geminifusion.sources.base import SourceFrame

COUNT, WARM = 1000, 200


def resident_mib(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20


def numbered_frames():
    """Frames whose labels say their number: one pixel of each of its bits is bright."""
    for number in range(COUNT):
        rgb = np.zeros((48, 64, 3), np.uint8)
        rgb[0, [bit for bit in range(10) if number >> bit & 1]] = 255
        yield SourceFrame(name=str(number), images={"rgb": rgb, "depth": np.full((48, 64), 1.0, np.float32)})


def number_in(result):
    return sum(int(result.labels[0, bit] == 2) << bit for bit in range(10))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_thousand_frames_come_back_in_order_and_memory_stays(tiny_artifact, tmp_path, scheme):
    with running_server(["--artifact", tiny_artifact, "--decode-isolation", "thread"], tmp_path / "log") as server:
        segmenter = ServedSegmenter(server.grpc_url if scheme == "grpc" else server.http_url, {})
        begun, memory, taken, ahead = time.monotonic(), {}, [], 0

        def frames():
            for frame in numbered_frames():
                taken.append(frame.name)
                yield frame

        for number, (frame, outcome) in enumerate(segmenter.outcomes(frames())):
            assert isinstance(outcome, Result), outcome
            assert number == int(frame.name) == number_in(outcome)
            ahead = max(ahead, len(taken) - number)
            if number in (WARM, COUNT - 1):
                memory[number] = resident_mib(server.pid), resident_mib("self")
        seconds = time.monotonic() - begun
        segmenter.close()
    assert number == COUNT - 1
    assert ahead <= 80, "frames pile up"
    assert not [one for one in threading.enumerate() if one.name == "geminifusion-stream"]
    for before, after in zip(memory[WARM], memory[COUNT - 1], strict=True):
        assert after - before < 8, f"from {before:.0f} to {after:.0f} MiB"
    print(f"{scheme}: {COUNT / seconds:.0f} frames/s, MiB {memory}, at most {ahead} ahead")
