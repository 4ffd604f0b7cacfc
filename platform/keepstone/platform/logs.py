"""Structured logs: an event name and keywords, one line each, without secrets.

    configure(settings.logging, settings.home / "logs")       once, when a process starts
    log = structlog.get_logger(__name__)
    log.info("document_ready", document=row.id, chunks=12)

What other libraries log by `logging` takes the same way. Standard error gets text on a terminal and JSON elsewhere; the
file `keepstone.log` always gets JSON, and is rotated by size. Start uvicorn with `log_config=None`.
"""

from __future__ import annotations

import logging
import re
import secrets
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from keepstone.platform.errors import storage_errors
from keepstone.platform.settings import LoggingSettings

FILE_NAME = "keepstone.log"
FILE_BYTES = 10 << 20
OLD_FILES = 4
_HIDDEN = "[secret]"

_SECRET_KEY = re.compile(r"(key|token|secret|password|authorization|cookie)$", re.IGNORECASE)
_SECRET_TEXT = (
    (re.compile(r"\b((?:Bearer|Basic)\s+)[^\s\"',]+", re.IGNORECASE), rf"\1{_HIDDEN}"),
    (re.compile(r"(://[^\s:/@\"']*:)[^\s/\"']+@"), rf"\1{_HIDDEN}@"),
    (re.compile(r"((?:api[-_]?key|token|secret|password|authorization)=)[^\s&\"',]+", re.IGNORECASE), rf"\1{_HIDDEN}"),
    (re.compile(r"\b(ks[sl]?_)[A-Za-z0-9_-]{8,}"), rf"\1{_HIDDEN}"),
)
# They bring handlers of their own, or say at the level INFO what is worth no more than DEBUG.
_OWN_HANDLERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "gradio", "dbos", "alembic", "transformers", "mcp")
_TALKATIVE = ("httpx", "httpcore", "dbos", "alembic", "urllib3", "PIL", "pdfminer", "asyncio")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def configure(settings: LoggingSettings, folder: Path | None = None, *, to_stderr: bool = True) -> None:
    """Send the logs of this process to standard error and, when a folder is given, to a file there.

    May be called again; the last call counts. Only one process may write a folder's file.

    Args:
        settings: level and format.
        folder: where the file is.
        to_stderr: whether standard error gets them too; not where it is a file that nobody rotates.

    Raises:
        StorageFull: the file cannot be made.
    """
    level = getattr(logging, settings.level.upper())
    handlers: list[logging.Handler] = []
    if to_stderr:
        handlers.append(logging.StreamHandler(sys.stderr))
        handlers[0].setFormatter(_formatter(as_json=_wants_json(settings)))
    if folder is not None:
        with storage_errors("opening the log file"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handlers.append(_LogFile(folder / FILE_NAME, maxBytes=FILE_BYTES, backupCount=OLD_FILES, encoding="utf-8"))
        handlers[-1].setFormatter(_formatter(as_json=True))
    _replace_root_handlers(handlers, level)
    for name in _OWN_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


@contextmanager
def request_context(request_id: str | None = None) -> Iterator[str]:
    """Mark everything logged in the block, also by tasks started in it, with one id, and give that id.

    Args:
        request_id: the id that the client chose; one that could garble the log is replaced.
    """
    chosen = request_id if request_id and _REQUEST_ID.fullmatch(request_id) else secrets.token_hex(8)
    with structlog.contextvars.bound_contextvars(request=chosen):
        yield chosen


def scrub(text: str) -> str:
    """Return the text without what looks like a key of ours, a password in a URL or an authorization header."""
    for pattern, replacement in _SECRET_TEXT:
        text = pattern.sub(replacement, text)
    return text


class _LogFile(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """Drop the line: a full disk must not stop the work that is logged."""

    def close(self) -> None:
        """Close the file, with or without the last line."""
        with suppress(OSError):
            super().close()


def _wants_json(settings: LoggingSettings) -> bool:
    return settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _formatter(*, as_json: bool) -> logging.Formatter:
    renderer: Processor
    if as_json:
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        # The default one shows local variables, and with them whatever the program was handling.
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_shared_processors(),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *([structlog.processors.format_exc_info] if as_json else []),
            _hide_secret_keys,
            *([] if as_json else [_show_controls]),
            _Scrubbed(renderer),
        ],
    )


class _Scrubbed:
    """Renders a line and then takes the secrets out of it, wherever in it they were."""

    def __init__(self, renderer: Processor) -> None:
        self._renderer = renderer

    def __call__(self, logger: Any, name: str, event: EventDict) -> str:
        return scrub(str(self._renderer(logger, name, event)))


def _hide_secret_keys(_logger: Any, _name: str, event: EventDict) -> EventDict:
    return {key: _hide(key, value) for key, value in event.items()}


def _show_controls(_logger: Any, _name: str, event: EventDict) -> EventDict:
    """Write out the signs by which a path or a name from outside could drive the terminal."""
    return {
        key: _CONTROL.sub(lambda found: repr(found[0])[1:-1], value) if isinstance(value, str) else value
        for key, value in event.items()
    }


def _hide(key: object, value: Any) -> Any:
    if isinstance(value, MutableMapping):
        return {inner: _hide(inner, each) for inner, each in value.items()}
    if isinstance(value, list | tuple):
        return [_hide(key, each) for each in value]
    if isinstance(key, str) and _SECRET_KEY.search(key) and not isinstance(value, int | float | None):
        return _HIDDEN
    return value


def _replace_root_handlers(handlers: list[logging.Handler], level: int) -> None:
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each.formatter, structlog.stdlib.ProcessorFormatter)]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
