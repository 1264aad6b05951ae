"""Times on a GPU: of the device alone, by replaying a CUDA graph, and as a caller sees them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import torch

_REPLAYS = 11


def device_seconds(calls: Sequence[Callable[[], object]]) -> float:
    """Median seconds of one call, of several that run one after the other as one CUDA graph; no launch is waited for.

    The calls should use different memory, or the cache holds what a first use would have to fetch.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for call in calls:
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    seconds = []
    for _ in range(_REPLAYS):
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        seconds.append(1e-3 * begin.elapsed_time(end) / len(calls))
    return statistics.median(seconds)


def synchronized(call: Callable[[], object]) -> Callable[[], None]:
    """The call, until the GPU is done."""

    def until_done() -> None:
        call()
        torch.cuda.synchronize()

    return until_done
