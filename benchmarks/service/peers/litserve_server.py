"""LitServe with its own batching: eight together, five milliseconds.

python litserve_server.py PORT
"""

import sys

import litserve
import numpy as np
from fastapi import Request, Response
from numpy.typing import NDArray
from pair_work import Frame, decode, encode, run


class Segmentation(litserve.LitAPI):
    """Decode, batch, run, encode, as its documentation shows."""

    def setup(self, device: str) -> None:
        """Nothing to load."""

    def decode_request(self, request: Request) -> Frame:
        """The form's two files."""
        return decode(request["rgb"].file.read(), request["depth"].file.read())

    def batch(self, inputs: list[Frame]) -> list[Frame]:
        """As they are."""
        return inputs

    def predict(self, frames: list[Frame]) -> list[NDArray[np.uint8]]:
        """The batch."""
        return run(frames)

    def unbatch(self, output: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """One answer for each request."""
        return output

    def encode_response(self, output: NDArray[np.uint8]) -> Response:
        """A mask."""
        return Response(encode(output), media_type="image/png")


if __name__ == "__main__":
    api = Segmentation(max_batch_size=8, batch_timeout=0.005, api_path="/segment")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
