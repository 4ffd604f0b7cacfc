"""What the pages share of Gradio: HTML that raises events, and how events are wired."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

import gradio as gr

from keepstone.platform.errors import InvalidInput
from keepstone.retrieval.library import CollectionInfo

EVERYWHERE: Final = ""
"""Chosen in the place of a collection's id: all that the caller may read."""

QUIET: Final[dict[str, Any]] = {"show_progress": "hidden", "api_visibility": "private"}
"""For handlers that must not run twice at once: a second event is dropped while the first is handled."""
ALWAYS: Final[dict[str, Any]] = {**QUIET, "trigger_mode": "multiple"}
"""For handlers that run for every event."""
LATEST: Final[dict[str, Any]] = {**QUIET, "trigger_mode": "always_last"}
"""For handlers that may skip events as long as they run for the last one, as while a person types."""


def static(name: str) -> str:
    """Return a text file of this package."""
    return resources.files(__package__).joinpath("static", name).read_text(encoding="utf-8")


def interactive_html(*events: str, elem_id: str, value: str = "") -> Any:
    """Return a component that shows our own HTML and raises `events`.

    A click on a button with `data-event="NAME"`, or sending such a form, raises NAME with its data attributes and
    fields as payload. The component has an attribute of the same name to connect handlers with.
    """
    script = f"const EVENTS = new Set({json.dumps(events)});\n{static('events.js')}"
    return gr.HTML(value, js_on_load=script, apply_default_css=False, elem_id=elem_id, padding=False)


def collection_choices(infos: Sequence[CollectionInfo], chosen: str) -> Any:
    """Return an update of a list to choose a collection from, or all; a choice that is gone becomes all."""
    choices = [("All collections", EVERYWHERE), *((info.name, info.id) for info in infos)]
    return gr.update(choices=choices, value=chosen if chosen in {info.id for info in infos} else EVERYWHERE)


def payload(event: gr.EventData, name: str) -> str:
    """Return one text that an event brought.

    Raises:
        InvalidInput: it brought none.
    """
    data = getattr(event, "_data", None)
    value = data.get(name) if isinstance(data, dict) else None
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise InvalidInput(f"The page sent no {name!r}", fix="Reload the page")
    return str(value)


def number(event: gr.EventData, name: str) -> int:
    """Return one number that an event brought, 0 when it brought none.

    Raises:
        InvalidInput: what it brought is no number.
    """
    data = getattr(event, "_data", None)
    value = data.get(name) if isinstance(data, dict) else None
    if value in (None, ""):
        return 0
    try:
        return int(str(value)[:20])
    except ValueError as error:
        raise InvalidInput(f"The page sent no number as {name!r}", fix="Reload the page") from error
