"""Ray Serve: one replica, its own batching, threads for decoding, running and encoding.

python ray_serve_server.py PORT
"""

import asyncio
import os
import secrets
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# Ray reads these when it is imported: its token stays in the environment, and the loopback address is taken as meant.
os.environ.update(
    RAY_AUTH_MODE="token",
    RAY_AUTH_TOKEN=secrets.token_hex(32),
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
)

import ray
from fastapi import FastAPI, Response, UploadFile
from ray import serve

app = FastAPI()


@serve.deployment(num_replicas=1, max_ongoing_requests=256)
@serve.ingress(app)
class Segmentation:
    """Decodes, batches, runs and encodes."""

    def __init__(self) -> None:
        import pair_work

        self.work = pair_work
        self.coders = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
        self.engine = ThreadPoolExecutor(1)

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.005)
    async def run(self, frames: list[Any]) -> list[Any]:
        """A batch."""
        return await asyncio.get_running_loop().run_in_executor(self.engine, self.work.run, frames)

    @app.post("/segment")
    async def segment(self, rgb: UploadFile, depth: UploadFile) -> Response:
        """One pair to its mask."""
        loop = asyncio.get_running_loop()
        files = await rgb.read(), await depth.read()
        frame = await loop.run_in_executor(self.coders, self.work.decode, *files)
        labels = await self.run(frame)
        return Response(await loop.run_in_executor(self.coders, self.work.encode, labels), media_type="image/png")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Ray puts sockets below the folder, whose paths may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        ray.init(
            num_cpus=2, include_dashboard=False, _temp_dir=folder, _node_ip_address="127.0.0.1", log_to_driver=False
        )
        serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
        serve.run(Segmentation.bind(), route_prefix="/")
        try:
            signal.pause()
        finally:
            serve.shutdown()
            ray.shutdown()
