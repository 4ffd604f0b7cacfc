"""Tools of foreign MCP servers as tools of our agent.

    foreign = ForeignTools(settings.mcp)
    async with foreign.kept_fresh():
        ...                                   # foreign.known() are those of the servers that answer by now

Only servers and tools that an administrator listed are used. What a server says of a tool, and what a tool returns, is
text from outside: it is cut to size, and a result is never a passage or a note from which an answer is made.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog
from mcp import types

from keepstone.agents.mcp.connection import ForeignServer
from keepstone.agents.mcp.schemas import fit_schema
from keepstone.agents.tools.base import MAX_CHARS, Observation, Tool, ToolContext
from keepstone.platform.errors import KeepstoneError
from keepstone.platform.settings import McpSettings

_LOOK_EVERY_S = 60.0
_DESCRIPTION_CHARS = 300
_MAX_BLOCKS = 50
_READ_CHARS = 10 * MAX_CHARS
_NAME = re.compile(r"[^A-Za-z0-9_-]")
# Characters that no text needs and that a database or a terminal may trip over.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")

log = structlog.get_logger(__name__)


class ForeignTools:
    """The tools of all servers in `mcp.servers`. It belongs to one event loop.

    Args:
        settings: which servers and tools there are.
        taken: names of other tools, which none of these may have.
    """

    def __init__(self, settings: McpSettings, *, taken: Collection[str] = ()) -> None:
        self._servers = [ForeignServer(name, each) for name, each in settings.servers.items()]
        self._taken = frozenset(taken)
        self._known: tuple[Tool, ...] = ()

    def known(self) -> tuple[Tool, ...]:
        """Return what `tools` returned last; nobody has to wait for a server."""
        return self._known

    @asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """Connect to the servers, and again to those that failed, until the block ends; then end all connections."""
        looking = asyncio.create_task(self._look(), name="mcp-tools")
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            await self.close()

    async def tools(self) -> tuple[Tool, ...]:
        """Return the listed tools of the servers that answer; a server that does not is left out, and logged."""
        offered = await asyncio.gather(*(_tools_of(server) for server in self._servers))
        found: dict[str, Tool] = {}
        for tool in (each for some in offered for each in some):
            if tool.name in self._taken or tool.name in found:
                log.warning("mcp.tool_name_taken", tool=tool.name)
            else:
                found[tool.name] = tool
        self._known = tuple(found.values())
        return self._known

    async def close(self) -> None:
        """End all connections, and the processes behind them."""
        await asyncio.gather(*(server.close() for server in self._servers))

    async def _look(self) -> None:
        while True:
            await self.tools()
            await asyncio.sleep(_LOOK_EVERY_S)


async def _tools_of(server: ForeignServer) -> list[Tool]:
    try:
        offered = {each.name: each for each in await server.tools()}
    except KeepstoneError as error:
        log.warning("mcp.server_left_out", server=server.name, reason=error.message)
        return []
    tools: list[Tool] = []
    for name in server.settings.tools:
        if name not in offered:
            log.warning("mcp.tool_not_offered", server=server.name, tool=name)
            continue
        try:
            tools.append(foreign_tool(server, offered[name]))
        except KeepstoneError as error:
            log.warning("mcp.tool_left_out", server=server.name, tool=name, reason=error.message)
    return tools


def foreign_tool(server: ForeignServer, offered: types.Tool) -> Tool:
    """Return a server's tool as one of ours, named after both.

    Raises:
        InvalidInput: its schema cannot be decoded under.
    """
    schema = fit_schema(offered.input_schema)

    def check(arguments: Mapping[str, Any]) -> dict[str, Any]:
        unknown = [name for name in arguments if name not in schema["properties"]]
        missing = [name for name in schema["required"] if name not in arguments]
        if unknown or missing:
            faults = [*(f"there is no {name!r}" for name in unknown), *(f"{name!r} is missing" for name in missing)]
            raise ValueError("; ".join(faults))
        return dict(arguments)

    async def run(context: ToolContext, arguments: dict[str, Any]) -> Observation:
        del context  # a foreign server learns nothing but the arguments
        return _observed(await server.call(offered.name, arguments))

    description = " ".join((offered.description or offered.title or offered.name).split())
    return Tool(
        name=_NAME.sub("_", f"{server.name}_{offered.name}")[:64],
        description=description[:_DESCRIPTION_CHARS],
        parameters=schema,
        check=check,
        run=run,
        # The connection's own cap comes first, and ends what hangs.
        timeout_s=2 * server.settings.timeout_s + 5,
    )


def _observed(result: types.CallToolResult) -> Observation:
    text = "\n".join(_text_of(block) for block in result.content[:_MAX_BLOCKS])
    if not text.strip() and result.structured_content is not None:
        text = json.dumps(result.structured_content, ensure_ascii=False)
    return Observation(_CONTROL.sub("", text[:_READ_CHARS]).strip() or "(nothing)", error=result.is_error)


def _text_of(block: types.ContentBlock) -> str:
    if isinstance(block, types.TextContent):
        return block.text
    if isinstance(block, types.EmbeddedResource) and isinstance(block.resource, types.TextResourceContents):
        return block.resource.text
    return f"[{block.type} left out]"
