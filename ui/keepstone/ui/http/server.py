"""The server process: opens the runtime, starts the engine, serves the app, and takes all of it down again.

`python -m keepstone.ui.http.server` serves with the settings of the environment; `keepstone up` calls `serve`.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import structlog
import uvicorn

from keepstone.platform import logs
from keepstone.platform.errors import Conflict, InvalidInput, KeepstoneError
from keepstone.platform.locks import holder
from keepstone.platform.settings import Settings, load_settings
from keepstone.ui.ground import open_ground
from keepstone.ui.local_key import local_key
from keepstone.ui.preload import import_quietly, load_encoder_soon
from keepstone.ui.running import RunningApp, announced, lock_path

if TYPE_CHECKING:
    from keepstone.ui.runtime import Runtime

log = structlog.get_logger(__name__)

# Open streams may go on for so long when the app is stopped.
_GRACE_S = 3
_BACKLOG = 2048
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Server(uvicorn.Server):
    """uvicorn, stopped also by the end of the terminal."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            before = signal.signal(signal.SIGHUP, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(signal.SIGHUP, before)


OpenRuntime = Callable[[Settings], "AbstractContextManager[Runtime]"]


@contextmanager
def with_engine(settings: Settings) -> Iterator[Runtime]:
    """Start the engine, and load and build everything else meanwhile."""
    with open_ground(settings, start_engine=True) as ground:
        from keepstone.ui.runtime import Runtime

        with Runtime.on(ground) as runtime:
            yield runtime


def serve(settings: Settings, *, open_runtime: OpenRuntime = with_engine) -> None:
    """Serve until a signal stops it; then finish open requests for a few seconds, and close everything.

    Args:
        settings: the whole tree.
        open_runtime: builds the services.

    Raises:
        Conflict: the port is in use, or another process uses the home folder.
        InvalidInput: the address cannot be listened on.
        ModelMissing: the encoder is not installed.
        Unavailable: the database does not answer.
    """
    for each in _SIGNALS:
        signal.signal(each, _leave)
    with closing(listen(settings)) as listener, open_runtime(settings) as runtime:
        with local_key(runtime.database) as key:
            # Loaded only now, while the engine starts already.
            import_quietly("keepstone.ui.http.app", "keepstone.agents.mcp.server")
            from keepstone.ui.http.app import create_app

            app = create_app(runtime)
            config = uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                ws="none",
                lifespan="on",
                timeout_graceful_shutdown=_GRACE_S,
            )
            with announced(settings.home, RunningApp(settings.app_url, os.getpid(), key)):
                log.info("app.serving", url=settings.app_url)
                load_encoder_soon(runtime.encoder)
                _Server(config).run(sockets=[listener])
        log.info("app.closing")


def listen(settings: Settings) -> socket.socket:
    """Return a socket that listens where the settings say.

    Raises:
        Conflict: another program listens there.
        InvalidInput: there is no such address, or it may not be used.
    """
    host, port = settings.app.host, settings.app.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except socket.gaierror as error:
        raise InvalidInput(f"app.host is {host!r}, which is no address of this machine", fix="Try 127.0.0.1") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _worded(error, settings) from error
    return listener


def _worded(error: OSError, settings: Settings) -> KeepstoneError:
    host, port = settings.app.host, settings.app.port
    if error.errno == errno.EADDRINUSE:
        pid = holder(lock_path(settings.home))
        if pid is not None:
            return Conflict(
                f"Keepstone is already at work on {settings.home} (process {pid})",
                fix="Use that one (`keepstone status`), or stop it (`keepstone down`)",
            )
        return Conflict(
            f"Port {port} of {host} is in use by another program",
            fix="Choose another: `keepstone up --port N`, or app.port in keepstone.toml",
        )
    if error.errno == errno.EACCES:
        return InvalidInput(f"Port {port} is reserved for root", fix="Set app.port to one above 1023")
    return InvalidInput(
        f"Cannot listen on {host!r}: {error.strerror}", fix="Set app.host to an address of this machine"
    )


def _leave(number: int, frame: FrameType | None) -> None:
    del frame
    # Once: what comes now is the closing, which a second signal must not interrupt.
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(0)


def main(*, open_runtime: OpenRuntime = with_engine) -> None:
    """Serve with the settings of the environment; `--detached` logs to the file in the home folder only."""
    try:
        settings = load_settings()
        logs.configure(settings.logging, settings.home / "logs", to_stderr="--detached" not in sys.argv)
        serve(settings, open_runtime=open_runtime)
    except KeepstoneError as error:
        # What is wrong is said; where in the code it was found helps nobody.
        log.error("app.failed", code=error.code, reason=error.message, fix=error.fix)  # noqa: TRY400
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
