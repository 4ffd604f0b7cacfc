"""A web server on a loopback port for tests of fetching."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server says at one path; in header values `{root}` stands for its own address."""

    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    drip_s: float = 0.0
    """Seconds between two bytes of the body."""


@dataclass(frozen=True, slots=True)
class WebServer:
    """A server that runs."""

    port: int
    asked: list[tuple[str, str]]
    """Path and `Host` of each request."""

    @property
    def root(self) -> str:
        """Its address without a path."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def web_server(replies: Mapping[str, Reply]) -> Iterator[WebServer]:
    """Serve replies by path, 404 for the rest."""
    asked: list[tuple[str, str]] = []
    stopping = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Host"]))
            reply = replies.get(self.path, Reply(status=404))
            self.send_response(reply.status)
            root = f"http://127.0.0.1:{server.server_port}"
            for name, value in reply.headers.items():
                self.send_header(name, value.replace("{root}", root))
            self.end_headers()
            body = reply.body.replace(b"{root}", root.encode())
            if not reply.drip_s:
                self.wfile.write(body)
            for byte in body if reply.drip_s else b"":
                if stopping.wait(reply.drip_s):
                    return
                try:
                    self.wfile.write(bytes([byte]))
                except OSError:
                    return

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield WebServer(server.server_port, asked)
        stopping.set()
        server.shutdown()
        thread.join()
