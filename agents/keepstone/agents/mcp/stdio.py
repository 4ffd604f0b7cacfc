"""MCP over the standard input and output of a program, with a bound on what the program may say at once.

    async with Client(program_transport(["clock-server", "--utc"], {}, ended)) as client: ...

The SDK's own transport takes lines of any length, at a cost that grows with the square of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import anyio
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter

MAX_LINE_BYTES = 8 * 2**20
_GRACE_S = 2.0
Received: TypeAlias = SessionMessage | Exception
Streams: TypeAlias = tuple[MemoryObjectReceiveStream[Received], MemoryObjectSendStream[SessionMessage]]

log = structlog.get_logger(__name__)


@asynccontextmanager
async def program_transport(
    command: Sequence[str], environment: Mapping[str, str], ended: asyncio.Event
) -> AsyncIterator[Streams]:
    """Start a program and carry messages to and from it; at the end, end it with all that it started.

    A line that is too long, or the end of the program, ends the stream of what is received.

    Args:
        command: the program and its arguments.
        environment: variables besides PATH, HOME and the like.
        ended: set when nothing more will be received.

    Raises:
        OSError: the program cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,  # what it says beside the protocol is nobody's, and without end
        env=get_default_environment() | dict(environment),
        start_new_session=True,
        limit=MAX_LINE_BYTES,
    )
    received_in, received = anyio.create_memory_object_stream[Received](0)
    sent, sent_out = anyio.create_memory_object_stream[SessionMessage](0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_receive, process, received_in, ended)
        tasks.start_soon(_send, process, sent_out, received_in)
        try:
            yield received, sent
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)
            tasks.cancel_scope.cancel()
            received.close()
            sent.close()


async def _receive(process: Process, received: MemoryObjectSendStream[Received], ended: asyncio.Event) -> None:
    assert process.stdout is not None
    try:
        with received, suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            while line := await process.stdout.readline():
                await received.send(_parsed(line))
    except ValueError:
        log.warning("mcp.line_too_long", limit=MAX_LINE_BYTES)
    finally:
        ended.set()


def _parsed(line: bytes) -> Received:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error


async def _send(
    process: Process, sent: MemoryObjectReceiveStream[SessionMessage], received: MemoryObjectSendStream[Received]
) -> None:
    assert process.stdin is not None
    try:
        with sent:
            async for message in sent:
                line = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(line.encode() + b"\n")
                await process.stdin.drain()
    except OSError:  # it reads no more: whoever waits for an answer learns it by the end of the other stream
        received.close()


async def _end(process: Process) -> None:
    """Let the program end, then make it, with everything in its process group."""
    assert process.stdin is not None
    process.stdin.close()
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _GRACE_S)
            break
        _signal(process, number)
    else:
        await process.wait()
    _signal(process, signal.SIGKILL)
    # What it had still to say would keep the pipe, and with it the transport, for ever; nothing public closes it.
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()


def _signal(process: Process, number: signal.Signals) -> None:
    # Its group outlives the program when the program left children, and is gone when it left none.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
