"""The watched places on the documents page: there for those who may use them, with what came of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest

from keepstone.retrieval.sources import SourceInfo
from keepstone.ui.runtime import Runtime
from keepstone.ui.web.sources import SourcesPanel, render_sources
from tests.stack import WAIT_S, admin, ingest, open_stack, someone
from tests.ui.web.conftest import event


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an allowed folder with one file."""
    folder = tmp_path_factory.mktemp("srv")
    (folder / "guide.md").write_text("# Guide\n\nClean the filter.")
    return folder


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Runtime]:
    """Return a runtime in which that folder may be taken from."""
    sources = {"allowed_folders": (folder,)}
    with open_stack(tmp_path_factory.mktemp("home"), sources=sources) as runtime:
        ingest(runtime, admin(runtime), "docs", {"a.md": b"# A\n\nText."})
        yield runtime


def test_a_place_is_watched_looked_through_and_left(
    runtime: Runtime, folder: Path, asks: Callable[..., gr.Request]
) -> None:
    """A refusal stands beside the form, and a stranger to the collection sees nothing of it."""
    panel, me = SourcesPanel(runtime), admin(runtime)
    docs = runtime.library.collection(me, "docs").id
    assert f'value="{folder}"' in panel.on_show(docs, asks(me))[0]
    refused, _ = panel.on_watch(docs, asks(me), event(location="/etc"))
    assert "may not be taken from /etc" in refused
    watched, _ = panel.on_watch(docs, asks(me), event(location=str(folder)))
    assert "Watched places (1)" in watched
    [source] = runtime.sources.of(me, "docs")
    runtime.jobs.wait(str(source.job_id), WAIT_S)
    assert "1 file · Looked through just now" in panel.on_show(docs, asks(me))[0]
    panel.on_sync(docs, asks(me), event(source=source.id))
    left, _ = panel.on_unwatch(docs, asks(me), event(source=source.id))
    assert "Watched places (0)" in left
    reader = someone(runtime, "rita")
    runtime.library.grant(me, "docs", "rita", "reader")
    assert panel.on_show(docs, asks(reader))[0] == ""
    with pytest.raises(gr.Error):
        panel.on_show(docs, asks(someone(runtime, "eve")))


def test_a_look_that_goes_on_or_failed_is_open_to_the_eye() -> None:
    source = SourceInfo(
        id="src_1",
        name="desk",
        location="/srv/desk",
        files=2,
        problems=1,
        looking=True,
        leaving=False,
        job_id=None,
        checked_at=None,
        error=None,
    )
    quiet = replace(source, looking=False)
    assert "2 files · 1 not taken · Looking through it" in render_sources([source], [])
    assert "<details open" in render_sources([source], [])
    assert "<details open" not in render_sources([quiet], [])
    assert "It is empty" in render_sources([replace(quiet, error="It is empty")], [])


def test_names_of_sources_are_shown_as_text(runtime: Runtime, folder: Path, asks: Callable[..., gr.Request]) -> None:
    panel, me = SourcesPanel(runtime), admin(runtime)
    made = runtime.library.create_collection(me, "other")
    runtime.sources.add(me, made.id, str(folder), "<b>bold")
    shown = panel.on_show(made.id, asks(me))[0]
    assert "<b>bold" not in shown
    assert "&lt;b&gt;bold" in shown
