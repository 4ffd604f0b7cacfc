"""The status page and the words for the engine's state; the questions to begin with; messages to people."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import gradio as gr
import pytest

from keepstone.platform.access import Principal
from keepstone.platform.errors import EngineUnavailable, InvalidInput
from keepstone.platform.serving.absent import AbsentEngine
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.platform.serving.supervisor import EngineStatus, State
from keepstone.ui.runtime import Runtime
from keepstone.ui.web.caller import as_message, plain
from keepstone.ui.web.engine_state import EngineState, engine_state, managed_state
from keepstone.ui.web.examples import _is_subject, example_questions
from keepstone.ui.web.status import StatusPage, render_banner, render_chip

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def status(state: State, message: str = "It is", fix: str | None = None) -> EngineStatus:
    since = NOW - timedelta(seconds=35)
    return EngineStatus(
        state=state, message=message, fix=fix, since=since, restarts=0, pid=None, log_path=Path("engine.log")
    )


@pytest.mark.parametrize(
    ("given", "state", "words"),
    [
        ("ready", "ready", "The model is ready"),
        ("starting", "starting", "The model is starting (35 s)…"),
        ("restarting", "starting", "The model is starting again (35 s)…"),
        ("failed", "down", "It is"),
        ("stopped", "down", "It is"),
        ("draining", "down", "It is"),
        ("off", "down", "It is"),
    ],
)
def test_the_engines_state_is_told_in_words(given: State, state: str, words: str) -> None:
    told = managed_state(status(given), NOW)
    assert (told.state, told.message) == (state, words)


def test_a_failure_names_its_fix_or_the_log() -> None:
    assert managed_state(status("failed", fix="Install it"), NOW).fix == "Install it"
    assert "engine.log" in str(managed_state(status("failed"), NOW).fix)


async def test_an_engine_that_is_not_ours_is_asked(runtime: Runtime, engine: ScriptedEngine) -> None:
    assert (await engine_state(runtime)).state == "ready"
    engine.available = False
    try:
        assert (await engine_state(runtime)).state == "down"
    finally:
        engine.available = True


async def test_an_engine_that_cannot_be_started_names_its_own_fix(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh machine without the engine must not be told of some server."""
    reason = EngineUnavailable("The engine is not installed", fix="Run `keepstone engine install`")
    monkeypatch.setattr(runtime, "engine", AbsentEngine("a-model", reason))
    assert await engine_state(runtime) == EngineState("down", reason.message, reason.fix)


def test_the_banner_speaks_only_when_something_is_wrong() -> None:
    assert render_banner(EngineState("ready", "Ready")) == ""
    assert "You can ask already" in render_banner(EngineState("starting", "The model is starting (3 s)…"))
    down = render_banner(EngineState("down", "<gone>", "Run `keepstone up`"))
    assert "&lt;gone&gt;" in down
    assert "<code>keepstone up</code>" in down
    assert 'title="&lt;gone&gt;"' in render_chip(EngineState("down", "<gone>"))


async def test_the_page_names_models_collections_and_better_models(
    runtime: Runtime, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    chip, banner, overview, timer = await StatusPage(runtime).on_tick(asks(ann))
    assert "chip-ready" in chip
    assert banner == ""
    for expected in ("scripted", runtime.settings.encoder.model, "Manuals", "Signed in as", "admin"):
        assert expected in overview
    assert timer.value > 1


def test_examples_ask_about_what_is_there_in_its_language(runtime: Runtime, ann: Principal) -> None:
    collections = runtime.library.collections(ann)
    questions = example_questions(runtime.library, ann, collections)
    assert "What does “Warranty” say about duration?" in questions
    assert "《年假》对“天数”有什么规定？" in questions
    assert len(questions) <= 4
    assert example_questions(runtime.library, ann, []) == []


@pytest.mark.parametrize("heading", ["About this manual", "Overview", "2026-01-22", "Contents"])
def test_headings_that_name_no_subject_make_no_example(heading: str) -> None:
    assert not _is_subject(heading)


def test_messages_show_markup_as_text() -> None:
    assert "<" not in plain('<img src=x onerror="x">')
    message = as_message(InvalidInput("Bad *name* [x](http://evil)", fix="Use `a`"))
    assert "[" not in str(message.message)
    assert "*" not in str(message.message)
