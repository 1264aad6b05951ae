"""Streams of frames with a client of threads and one of an event loop."""

import asyncio

import numpy as np

from geminifusion import AsyncClient, Client

RGB = np.zeros((16, 16, 3), np.uint8)


def stream(url, frames=(RGB,), timeout=5.0):
    with Client(url, timeout=timeout, retries=0) as client:
        return list(client.stream(frames))


def stream_on_a_loop(url, frames=(RGB,), timeout=5.0):
    async def one_by_one():
        for image in frames:
            yield image

    async def ask():
        async with AsyncClient(url, timeout=timeout, retries=0) as client:
            return [response async for response in client.stream(one_by_one())]

    return asyncio.run(ask())
