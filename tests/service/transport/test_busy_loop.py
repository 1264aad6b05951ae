"""Calls that come while the server's event loop has no time for them."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from geminifusion_service.grpc_server import channel_options
from geminifusion_service.settings import LimitSettings

GRPC_WAITS_S = 30  # before it cancels calls that nobody has taken, unless told otherwise


def call(port):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        return channel.unary_unary("/test/Wait")(b"", timeout=60)


@pytest.mark.slow
async def test_calls_wait_for_a_busy_server_as_long_as_their_callers_do():
    is_first = True

    async def respond(message, _context):
        nonlocal is_first
        if is_first:
            is_first = False
            time.sleep(GRPC_WAITS_S + 4)  # noqa: ASYNC251 - the loop is to be busy
        return message

    server = grpc.aio.server(options=channel_options(LimitSettings(), handshake_timeout_s=10, max_connections=100))
    methods = {"Wait": grpc.unary_unary_rpc_method_handler(respond)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor() as callers:
        waiting = [loop.run_in_executor(callers, call, port) for _ in range(5)]
        assert await asyncio.gather(*waiting) == [b""] * 5
    await server.stop(None)
