"""The same work on the same cores without a server: decode, run and encode in one process.

    python benchmarks/service/bare.py [--artifact DIRECTORY] [--loop pipelined] [--codecs opencv] …

The pipelined loop keeps decoding and encoding threads and one engine thread busy at once, which is the most that a
server could do; the sequential one is what most scripts do. Decoding is that of the service, in these threads
(`service`) or in processes of its own (`processes`), or plain OpenCV's. Prints one line of
JSON; `run_bare` runs it in a process of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

import cv2
import numpy as np
from process_figures import cpu_seconds
from requests_to_send import pair_of
from stand_in import open_stand_in

from geminifusion_runtime.artifact import require_segmentation
from geminifusion_runtime.cpu_count import usable_cores
from geminifusion_runtime.decoding.decode import DecodedImage, DecodedRequest
from geminifusion_runtime.model import Model
from geminifusion_runtime.options import SegmentOptions
from geminifusion_runtime.postprocessing import Prediction
from geminifusion_runtime.preprocessing import PreparedItem
from geminifusion_runtime.tasks.segmentation.encoding import encode
from geminifusion_service.isolation.decoder_pool import (
    DecodeOptions,
    DecoderPool,
    EncodedPart,
    ProcessDecoderPool,
    ThreadDecoderPool,
)

_READING: DecodeOptions = {"max_pixels": 32_000_000, "intrinsics": None}


@dataclass(frozen=True, kw_only=True)
class Bare:
    """Pairs per second, CPU milliseconds and wall milliseconds per pair."""

    throughput: float
    cpu_ms: float
    p50_ms: float  # of one pair from its bytes to the mask's


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The three steps; each is called from several threads but `run`."""

    decode: Callable[[], tuple[DecodedRequest, PreparedItem]]
    run: Callable[[list[PreparedItem]], list[Prediction]]
    encode: Callable[[DecodedRequest, Prediction], bytes]


def steps(model: Model, *, decoders: DecoderPool | None, height: int, width: int) -> Steps:
    """The steps with the codecs of the service; without decoders, with plain OpenCV."""
    files = pair_of(height, width).files
    options = SegmentOptions()
    posted = [EncodedPart(spec, files[spec.name]) for spec in model.metadata.modalities]

    def decode() -> tuple[DecodedRequest, PreparedItem]:
        assert decoders is not None
        readings = {}
        for image, found in zip(posted, decoders.decode(posted, _READING), strict=True):
            assert isinstance(found, DecodedImage), found
            readings[image.spec.name] = found
        return _prepared(model, DecodedRequest(images=readings))

    def decode_opencv() -> tuple[DecodedRequest, PreparedItem]:
        rgb = cv2.imdecode(np.frombuffer(files["rgb"], np.uint8), cv2.IMREAD_COLOR_RGB)
        stored = cv2.imdecode(np.frombuffer(files["depth"], np.uint8), cv2.IMREAD_UNCHANGED)
        assert rgb is not None
        assert stored is not None
        depth = np.multiply(stored, np.float32(0.001), dtype=np.float32)
        return _prepared(
            model, DecodedRequest(images={"rgb": DecodedImage(array=rgb), "depth": DecodedImage(array=depth)})
        )

    def encode_opencv(_: DecodedRequest, prediction: Prediction) -> bytes:
        done, data = cv2.imencode(".png", prediction.labels)
        assert done
        return data.tobytes()

    def encode_ours(decoded: DecodedRequest, prediction: Prediction) -> bytes:
        return bytes(encode(options, require_segmentation(model.metadata), decoded, prediction).mask)

    if decoders is None:
        return Steps(decode=decode_opencv, run=model.run, encode=encode_opencv)
    return Steps(decode=decode, run=model.run, encode=encode_ours)


def _prepared(model: Model, decoded: DecodedRequest) -> tuple[DecodedRequest, PreparedItem]:
    return decoded, model.prepare({name: reading.array for name, reading in decoded.images.items()})


def sequential(work: Steps, seconds: float) -> list[float]:
    """One pair after the other; the wall seconds of each."""
    taken, end = [], time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        decoded, item = work.decode()
        work.encode(decoded, work.run([item])[0])
        taken.append(time.perf_counter() - start)
    return taken


def pipelined(work: Steps, seconds: float, *, in_flight: int, max_batch: int, threads: int) -> list[float]:
    """All steps at once; the wall seconds of each pair from the start of its decoding."""
    places = threading.Semaphore(in_flight)
    prepared: SimpleQueue[tuple[float, DecodedRequest, PreparedItem] | None] = SimpleQueue()
    predicted: SimpleQueue[tuple[float, DecodedRequest, Prediction]] = SimpleQueue()
    taken: list[float] = []
    end = time.perf_counter() + seconds

    def encode_one(start: float, decoded: DecodedRequest, prediction: Prediction) -> None:
        work.encode(decoded, prediction)
        places.release()
        taken.append(time.perf_counter() - start)

    def code() -> None:
        while time.perf_counter() < end:
            try:
                encode_one(*predicted.get_nowait())
            except Empty:
                if places.acquire(blocking=False):
                    start = time.perf_counter()
                    prepared.put((start, *work.decode()))
                else:
                    with suppress(Empty):
                        encode_one(*predicted.get(timeout=0.1))

    def compute() -> None:
        while (first := prepared.get()) is not None:
            batch = [first]
            while len(batch) < max_batch:
                try:
                    following = prepared.get_nowait()
                except Empty:
                    break
                if following is None:
                    return
                batch.append(following)
            predictions = work.run([item for _, _, item in batch])
            for (start, decoded, _), prediction in zip(batch, predictions, strict=True):
                predicted.put((start, decoded, prediction))

    engine = threading.Thread(target=compute)
    coders = [threading.Thread(target=code) for _ in range(threads)]
    for thread in (engine, *coders):
        thread.start()
    for thread in coders:
        thread.join()
    prepared.put(None)
    engine.join()
    return taken


def run_bare(**options: object) -> Bare:
    """Run a loop in a process of its own.

    Args:
        options: of the command line, `artifact=None` for the stand-in.
    """
    command = [sys.executable, str(Path(__file__).resolve())]
    for name, value in options.items():
        command += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Bare(**json.loads(done.stdout))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, help="run on ONNX Runtime or what suits it; the stand-in otherwise")
    parser.add_argument("--stand-in", type=Path, help="directory that `write_stand_in` wrote")
    parser.add_argument("--loop", choices=["pipelined", "sequential"], default="pipelined")
    parser.add_argument("--codecs", choices=["service", "processes", "opencv"], default="service")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--max-batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--warm-up-s", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    model = Model.open(options.artifact) if options.artifact else open_stand_in(options.stand_in)
    model.warm_up()
    kinds: dict[str, Callable[[], DecoderPool | None]] = {
        "service": ThreadDecoderPool,
        "processes": lambda: ProcessDecoderPool(options.threads, max_bytes=2**30),
        "opencv": lambda: None,
    }
    decoders = kinds[options.codecs]()
    work = steps(model, decoders=decoders, height=options.height, width=options.width)

    def loop(seconds: float) -> list[float]:
        if options.loop == "sequential":
            return sequential(work, seconds)
        return pipelined(
            work, seconds, in_flight=options.in_flight, max_batch=options.max_batch, threads=options.threads
        )

    loop(options.warm_up_s)
    wall, cpu = time.perf_counter(), cpu_seconds(os.getpid())
    taken = loop(options.seconds)
    wall, cpu = time.perf_counter() - wall, cpu_seconds(os.getpid()) - cpu
    if decoders is not None:
        decoders.close()
    found = Bare(throughput=len(taken) / wall, cpu_ms=1000 * cpu / len(taken), p50_ms=1000 * statistics.median(taken))
    print(json.dumps(dataclasses.asdict(found)))


if __name__ == "__main__":
    main()
