"""FastAPI with a thread pool and one engine, no batching: what most people write first.

python plain_fastapi.py PORT
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from fastapi import FastAPI, Response, UploadFile
from pair_work import decode, encode, run

app = FastAPI()
coders = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
engine = ThreadPoolExecutor(1)


@app.post("/segment")
async def segment(rgb: UploadFile, depth: UploadFile) -> Response:
    """One pair to its mask."""
    loop = asyncio.get_running_loop()
    frame = await loop.run_in_executor(coders, decode, await rgb.read(), await depth.read())
    (labels,) = await loop.run_in_executor(engine, run, [frame])
    return Response(await loop.run_in_executor(coders, encode, labels), media_type="image/png")


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
