"""Logs: one line an event, from us and from libraries alike, and never a secret."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from keepstone.platform import logs
from keepstone.platform.settings import LoggingSettings

SECRET = "ks_" + secrets.token_urlsafe(32)


@pytest.fixture(autouse=True)
def _put_logging_back() -> Iterator[None]:
    """Leave the process as it was: logging is global."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in [each for each in root.handlers if each not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_events_become_json_lines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What a collector of logs reads: time, level, logger, event and the keywords, in the file and on stderr."""
    logs.configure(LoggingSettings(format="json"), tmp_path / "logs")
    structlog.get_logger("keepstone.x").info("document_ready", document="doc_1", name="手册.pdf", tokens=12)
    (line,) = lines(capsys.readouterr().err)
    assert {key: line[key] for key in ("event", "level", "logger", "document", "name", "tokens")} == {
        "event": "document_ready",
        "level": "info",
        "logger": "keepstone.x",
        "document": "doc_1",
        "name": "手册.pdf",
        "tokens": 12,
    }
    assert line["timestamp"].endswith("Z")
    assert lines((tmp_path / "logs" / logs.FILE_NAME).read_text()) == [line]


def test_libraries_take_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    """Also those that bring a handler of their own, each line once."""
    logger = logging.getLogger("uvicorn.access")
    logger.addHandler(logging.StreamHandler())
    logger.propagate = False
    logs.configure(LoggingSettings(format="json"))
    logger.info("%s - GET %s", "127.0.0.1", f"/login?token={SECRET}")
    logging.getLogger("httpx").info("HTTP Request: GET http://127.0.0.1")
    (line,) = lines(capsys.readouterr().err)
    assert line["event"] == "127.0.0.1 - GET /login?token=[secret]"


def test_the_level_is_kept_and_the_last_call_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """Configuring twice must not double the lines."""
    logs.configure(LoggingSettings(format="json", level="debug"))
    logs.configure(LoggingSettings(format="json", level="warning"))
    log = structlog.get_logger("x")
    log.info("quiet")
    log.warning("loud")
    assert [line["event"] for line in lines(capsys.readouterr().err)] == ["loud"]


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "keywords",
    [
        {"api_key": "abcdef-secret"},
        {"headers": {"Authorization": "abcdef-secret", "Cookie": "session=abcdef-secret"}},
        {"accounts": [{"password": "abcdef-secret"}]},
        {"new_token": ["abcdef-secret"]},
        {"url": "postgresql+psycopg://ann:abcdef-secret@db.example/keepstone"},
        {"url": "redis://:abcdef-secret@db.example"},
        {"header": "Bearer abcdef-secret"},
        {"query": "/login?next=/&token=abcdef-secret"},
        {"text": "the key ks_abcdef-secret was used"},
        {"text": "the session kss_abcdef-secret ended"},
        {"link": "http://127.0.0.1:8080/login#ksl_abcdef-secret"},
        {"cause": ValueError("kss_abcdef-secret")},
    ],
    ids=str,
)
def test_secrets_are_taken_out(form: Any, keywords: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """By the name of the keyword or by the look of the value, at any depth."""
    logs.configure(LoggingSettings(format=form))
    structlog.get_logger("x").info("event", **keywords)
    written = capsys.readouterr().err
    assert "[secret]" in written
    assert "abcdef-secret" not in written


@pytest.mark.parametrize("form", ["json", "console"])
def test_tracebacks_show_no_variables_and_no_secrets(form: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback is for the developer; what the program was handling stays out of it."""
    logs.configure(LoggingSettings(format=form))
    local_variable = "words of a document"
    try:
        int(f"{SECRET}")
    except ValueError:
        structlog.get_logger("x").exception("broken", size=len(local_variable))
    written = capsys.readouterr().err
    assert "ValueError: invalid literal for int() with base 10: 'ks_[secret]'" in written
    assert "words of a document" not in written.replace('local_variable = "words of a document"', "")


@given(st.sampled_from(["ks_", "kss_", "ksl_"]), st.text(max_size=40), st.text(max_size=40))
def test_no_key_of_ours_survives_anywhere(prefix: str, before: str, after: str) -> None:
    """Whatever stands around it."""
    token = secrets.token_urlsafe(32)
    assert token not in logs.scrub(f"{before} {prefix}{token} {after}")


@pytest.mark.parametrize(
    "text",
    [
        "tokens=12 prompt_tokens: 5",
        "http://127.0.0.1:8080/a@b",
        "mail ann@example.org",
        "links_to_page",
        "2026-01-01T10:00",
    ],
)
def test_harmless_text_stays(text: str) -> None:
    """A log that hides too much is of no use."""
    assert logs.scrub(text) == text


@pytest.mark.parametrize("form", ["console", "json"])
def test_what_is_logged_does_not_drive_the_terminal(form: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A client chooses the path of its request."""
    logs.configure(LoggingSettings(format=form))
    structlog.get_logger("keepstone.x").info("http.failed", path="/v1/\x1b]0;owned\x07", names=["\x1b[2J"])
    logging.getLogger("library").warning("no such file: %s", "\x1b[2J")
    printed = capsys.readouterr().err
    assert "owned" in printed
    assert not any(sign in printed for sign in "\x1b\x07")


def test_numbers_under_secret_sounding_names_stay(capsys: pytest.CaptureFixture[str]) -> None:
    """`max_token=5` is a count."""
    logs.configure(LoggingSettings(format="json"))
    structlog.get_logger("x").info("event", token=5, key=None)
    (line,) = lines(capsys.readouterr().err)
    assert (line["token"], line["key"]) == (5, None)


def test_a_request_is_marked_with_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    """All lines of one request can be found; a client cannot write lines of its own by its id."""
    logs.configure(LoggingSettings(format="json"))
    log = structlog.get_logger("x")
    with logs.request_context("client-7") as first:
        log.info("one")
    with logs.request_context('x"\n{"event": "forged"}') as second:
        logging.getLogger("library").warning("two")
    log.info("three")
    assert first == "client-7"
    assert [line.get("request") for line in lines(capsys.readouterr().err)] == ["client-7", second, None]
    assert second.isalnum()


def test_the_file_is_rotated_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never fills the disk, and other users cannot read it."""
    monkeypatch.setattr(logs, "FILE_BYTES", 2000)
    logs.configure(LoggingSettings(), tmp_path / "logs")
    for number in range(500):
        structlog.get_logger("x").info("event", number=number)
    files = list((tmp_path / "logs").iterdir())
    assert 1 < len(files) <= logs.OLD_FILES + 1
    assert sum(file.stat().st_size for file in files) <= 2000 * (logs.OLD_FILES + 1)
    assert (tmp_path / "logs").stat().st_mode & 0o077 == 0


def test_a_full_disk_does_not_stop_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines are lost, nothing else."""
    (tmp_path / logs.FILE_NAME).symlink_to("/dev/full")
    logs.configure(LoggingSettings(format="json"), tmp_path)
    structlog.get_logger("x").info("event")
    assert [line["event"] for line in lines(capsys.readouterr().err)] == ["event"]
