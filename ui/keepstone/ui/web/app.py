"""The Gradio app, and its mounting into the app that serves HTTP.

mount(app, runtime)   # app is a FastAPI behind the gate of keepstone.ui.http, which knows who asks
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Final

import gradio as gr
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.requests import Request

from keepstone.platform.access import Principal
from keepstone.ui.runtime import Runtime
from keepstone.ui.web.chat import ChatPage
from keepstone.ui.web.components import static
from keepstone.ui.web.documents import DocumentsPage
from keepstone.ui.web.guard import GradioGuard
from keepstone.ui.web.improve import ImprovePage
from keepstone.ui.web.reading import ReadingPanel
from keepstone.ui.web.search import SearchPage
from keepstone.ui.web.status import StatusPage
from keepstone.ui.web.theme import keepstone_theme
from keepstone.ui.web.uploads import ABANDONED_AFTER_S, prepare_folder

FAVICON: Final = Path(str(resources.files(__package__).joinpath("static", "favicon.svg")))
_CLEAN_EVERY_S: Final = 600
# Gradio reads these from the environment. Its statistics over all events, made anew after each, nobody looks at.
_GRADIO: Final = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(10**12),
}


def mount(app: FastAPI, runtime: Runtime) -> None:
    """Mount the pages at "/", behind whatever was routed before.

    Args:
        app: the app whose gate leaves the caller in `request.state.principal`.
        runtime: the services.
    """
    os.environ.update(_GRADIO)
    uploads = prepare_folder(runtime.settings.home)
    gr.mount_gradio_app(
        app,
        build_blocks(runtime, uploads),
        path="/",
        auth_dependency=_user_of,
        app_kwargs={"middleware": [Middleware(GradioGuard)]},
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        blocked_paths=["/"],
        favicon_path=str(FAVICON),
        show_error=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
        theme=keepstone_theme(),
        head=f"<style>{static('keepstone.css')}</style>",
        js=static("keepstone.js"),
    )


def build_blocks(runtime: Runtime, uploads: Path) -> gr.Blocks:
    """Return the pages as one Gradio app.

    Args:
        runtime: the services.
        uploads: folder in which Gradio keeps uploads until they are stored.
    """
    status, chat, documents, search, improve, reading = (
        StatusPage(runtime),
        ChatPage(runtime),
        DocumentsPage(runtime, uploads),
        SearchPage(runtime),
        ImprovePage(runtime),
        ReadingPanel(runtime),
    )
    blocks = gr.Blocks(
        title="Keepstone",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(_CLEAN_EVERY_S, ABANDONED_AFTER_S),
    )
    with blocks:
        status.render_header()
        with gr.Row(elem_id="body"):
            chat.render(status.render_banner)
            documents.render()
            search.render()
            improve.render()
            status.render()
            reading.render()
        status.connect(blocks)
        chat.connect(blocks, reading)
        documents.connect(blocks, reading)
        search.connect(blocks, reading)
        improve.connect(blocks)
        reading.connect()
    blocks.queue(default_concurrency_limit=None, api_open=False)
    return blocks


def _user_of(request: Request) -> str | None:
    """Return whom the gate recognised, for Gradio's own check."""
    principal = getattr(request.state, "principal", None)
    return principal.id if isinstance(principal, Principal) else None
