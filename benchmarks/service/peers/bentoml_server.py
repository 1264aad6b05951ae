"""BentoML: a front that decodes in threads, and a batching service behind it.

python bentoml_server.py PORT
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bentoml
from fastapi import FastAPI, Response, UploadFile
from pair_work import Frame, decode, encode, run

app = FastAPI()


@bentoml.service(workers=1, traffic={"timeout": 60})
class Accelerator:
    """Runs batches."""

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=60_000)
    def run(self, frames: list) -> list:  # type: ignore[type-arg]
        """As many label maps as frames."""
        return run(frames)


@bentoml.service(workers=1, traffic={"timeout": 60})
@bentoml.asgi_app(app)
class Front:
    """Decodes and encodes."""

    accelerator = bentoml.depends(Accelerator)

    def __init__(self) -> None:
        self.coders = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    @app.post("/segment")
    async def segment(self, rgb: UploadFile, depth: UploadFile) -> Response:
        """One pair to its mask."""
        loop = asyncio.get_running_loop()
        frame: Frame = await loop.run_in_executor(self.coders, decode, await rgb.read(), await depth.read())
        (labels,) = await self.accelerator.to_async.run([frame])
        return Response(await loop.run_in_executor(self.coders, encode, labels), media_type="image/png")


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    command = ["-m", "bentoml", "serve", "bentoml_server:Front", "--host", "127.0.0.1", "--port", sys.argv[1]]
    os.execv(sys.executable, [sys.executable, *command])  # noqa: S606
