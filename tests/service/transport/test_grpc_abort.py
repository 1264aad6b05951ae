"""Calls that end with an error after their caller has left."""

import asyncio
import logging

import grpc

from geminifusion_service.errors import DeadlineExceededError
from geminifusion_service.transport.grpc.status import abort


def calls(port, count):
    """The statuses of calls, each given up after a tenth of a second."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/test/Fail")
        waiting = [call.future(b"", timeout=0.1) for _ in range(count)]
        return {each.code() for each in waiting}


async def test_an_error_that_comes_with_the_callers_deadline_is_none_of_the_server(caplog):
    async def fail(_message, context):
        await asyncio.sleep(context.time_remaining())
        await abort(context, DeadlineExceededError("no response in time"))

    server = grpc.aio.server()
    methods = {"Fail": grpc.unary_unary_rpc_method_handler(fail)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with caplog.at_level(logging.WARNING):
        for _ in range(8):
            assert await asyncio.to_thread(calls, port, 60) == {grpc.StatusCode.DEADLINE_EXCEEDED}
        await server.stop(None)
    assert caplog.records == []
