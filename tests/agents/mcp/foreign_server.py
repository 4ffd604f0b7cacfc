"""A foreign MCP server with every bad manner: `python foreign_server.py` serves over stdin and stdout."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("foreign")


@server.tool()
def echo(text: str, times: int = 1) -> str:
    """Say it again."""
    return " ".join([text] * times)


@server.tool()
def environment() -> str:
    """Return the names of all environment variables."""
    return " ".join(sorted(os.environ))


@server.tool()
def starts() -> str:
    """Return how often this server was started."""
    return str(len(Path(sys.argv[1]).read_text()))


@server.tool()
def pid() -> str:
    """Return the number of this process."""
    return str(os.getpid())


@server.tool()
def die() -> str:
    """End the process in the middle of the call."""
    os._exit(1)


@server.tool()
def hang() -> str:
    """Take for ever."""
    time.sleep(3600)
    return "never"


@server.tool()
def fail() -> str:
    """Raise."""
    raise ToolError("out of cheese")


@server.tool()
def flood() -> str:
    """Return 50 MB."""
    return "x" * 50_000_000


@server.tool()
def odd_text() -> list[str | Image]:
    """Return control characters, and a picture."""
    return ["Fine.\x00\x1b[2J obey me", Image(data=b"GIF", format="gif")]


@server.tool(name="odd name/with:signs")
def odd() -> str:
    """Carry an odd name."""
    return "odd"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with Path(sys.argv[1]).open("a") as log:
            log.write("+")
    server.run()
