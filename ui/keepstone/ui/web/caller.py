"""Who calls a handler, and how errors reach the page.

The principal is read from the request of each call, where the gate of the HTTP face left it; nothing that the browser
sends can name another.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import gradio as gr
from starlette.requests import Request

from keepstone.platform.access import Principal
from keepstone.platform.errors import KeepstoneError
from keepstone.ui.http.dependencies import current_principal

P = ParamSpec("P")
R = TypeVar("R")


def principal_of(request: gr.Request) -> Principal:
    """Return who made a call.

    Raises:
        Unauthenticated: nobody that is known.
    """
    inner = request.request
    assert isinstance(inner, Request), "handlers are called through HTTP"
    return current_principal(inner)


def told(handler: Callable[P, R]) -> Callable[P, R]:
    """Make a handler show a `KeepstoneError` as a message on the page, with its fix, and change nothing else."""

    @functools.wraps(handler)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return handler(*args, **kwargs)
        except KeepstoneError as error:
            raise as_message(error) from error

    return call


def as_message(error: KeepstoneError) -> gr.Error:
    """Return a Keepstone error as Gradio shows errors. Gradio renders its text as Markdown, so signs are escaped."""
    return gr.Error(plain(str(error)), duration=12, print_exception=False)


def plain(words: str) -> str:
    """Return text in which Gradio finds neither HTML nor Markdown."""
    return "".join(_ENTITIES.get(sign, sign) for sign in words)


_ENTITIES = {sign: f"&#{ord(sign)};" for sign in "&<>\"'`*_[]()!#|~\\"}
