"""Calls that come while the server's event loop has no time for them."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from geminifusion_service.grpc_server import channel_options
from geminifusion_service.pipeline.budget import ResourceBudget
from geminifusion_service.settings import LimitSettings
from geminifusion_service.transport.grpc.receiving import Receiving

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


MESSAGE_BYTES = 30_000_000


def send(port):
    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        try:
            return channel.unary_unary("/test/Send")(bytes(MESSAGE_BYTES), timeout=60)
        except grpc.RpcError as error:
            return error.code()


@pytest.mark.parametrize("is_busy", [True, False])
async def test_messages_that_a_busy_loop_cannot_count_end_with_their_connections(is_busy, caplog):
    budget = ResourceBudget(bytes=3 * MESSAGE_BYTES)
    receiving = Receiving(budget, max_message_bytes=MESSAGE_BYTES + 1000)
    num_calls = 0

    async def respond(_iterator, context):
        nonlocal num_calls
        num_calls += 1
        if is_busy and num_calls == 8:
            asyncio.get_running_loop().call_later(0.001, time.sleep, 2)
        message = await receiving.messages(context, bytes).only(30)
        return str(len(message)).encode()

    options = channel_options(LimitSettings(), handshake_timeout_s=10, max_connections=100)
    server = grpc.aio.server(options=options)
    methods = {"Send": grpc.stream_unary_rpc_method_handler(respond)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    receiving.listen_on(port)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(8) as callers:
        outcomes = await asyncio.gather(
            *[loop.run_in_executor(callers, send, port) for _ in range(8 if is_busy else 2)]
        )
    await server.stop(None)
    receiving.close()
    whole = [outcome for outcome in outcomes if outcome == str(MESSAGE_BYTES).encode()]
    if is_busy:
        assert len(whole) <= 3, outcomes
        assert "MB of unfinished messages came while the server was busy" in caplog.text
    else:
        assert len(whole) == 2
        assert "unfinished" not in caplog.text
