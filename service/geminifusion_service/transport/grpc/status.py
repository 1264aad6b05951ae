"""The gRPC status of an error: code, details, trailing metadata."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from geminifusion_runtime.errors import GeminiFusionError
from geminifusion_service.observability.request_context import current_request_context

DOMAIN = "geminifusion"
Metadata = tuple[tuple[str, str | bytes], ...]


def status_of(error: GeminiFusionError) -> grpc.StatusCode:
    """The status code of an error."""
    return grpc.StatusCode[error.grpc_status]


def details_of(error: GeminiFusionError) -> str:
    """The details of an error; they start with our code, for clients that show nothing else."""
    return f"{error.code}: {error}"


def trailing_metadata(error: GeminiFusionError) -> Metadata:
    """`code`, when to retry, the trace, and the google.rpc.Status with all of them that libraries look for.

    `retry-pushback-ms` is what gRPC's own retry policies obey; -1 tells them not to retry.
    """
    wait_s = error.retry_after_s
    information: list[tuple[str, str | bytes]] = [("code", error.code)]
    if wait_s is not None:
        information.append(("retry-after", str(wait_s)))
    information.append(("retry-pushback-ms", "-1" if wait_s is None else str(1000 * wait_s)))
    if trace_id := current_request_context().trace_id:
        information.append(("x-trace-id", trace_id))
    information.append(("grpc-status-details-bin", _rich_status(error).SerializeToString()))
    return tuple(information)


async def abort(context: grpc.aio.ServicerContext, error: GeminiFusionError) -> NoReturn:
    """End a call with an error.

    Raises:
        grpc.aio.AbortError: always, but
        asyncio.CancelledError: if the caller has left, so that nobody is told; as when its deadline has just passed.
    """
    try:
        await context.abort(status_of(error), details_of(error), trailing_metadata(error))
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None
    except grpc.aio.AbortError as aborted:
        asyncio.get_running_loop().call_soon(_forget_frames, aborted)
        raise
    raise AssertionError("abort raises") from error


def _forget_frames(aborted: grpc.aio.AbortError) -> None:
    """Break the cycle of a call, which keeps the error it was ended with, and the frames that this passed.

    They hold its messages, and what gRPC has received of an unfinished one: tens of megabytes, until the garbage
    collector comes by.
    """
    aborted.__traceback__ = aborted.__context__ = aborted.__cause__ = None


def _rich_status(error: GeminiFusionError) -> status_pb2.Status:
    details = [error_details_pb2.ErrorInfo(reason=error.code, domain=DOMAIN)]
    if error.retry_after_s is not None:
        details.append(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=error.retry_after_s)))
    status = status_pb2.Status(code=status_of(error).value[0], message=details_of(error))
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status
