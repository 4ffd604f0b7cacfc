"""The state of the installation: a chip in the header, and a page with models and collections."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import gradio as gr

from keepstone.platform.access import Principal
from keepstone.retrieval.library import CollectionInfo
from keepstone.ui.recommendation import Recommendation, better_models
from keepstone.ui.runtime import Runtime
from keepstone.ui.web.caller import principal_of
from keepstone.ui.web.components import QUIET
from keepstone.ui.web.engine_state import EngineState, engine_state
from keepstone.ui.web.markup import Markup, element, icon, join, with_code

_SOON_S: Final = 1.0
_LATER_S: Final = 15.0


class StatusPage:
    """What runs, and what could run better.

    Args:
        runtime: the services.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def render_header(self) -> None:
        """Build the header with the names of the pages and the engine's state."""
        with gr.Row(elem_id="header"):
            gr.HTML(render_navigation(), apply_default_css=False, elem_id="navigation")
            self.chip = gr.HTML("", apply_default_css=False, elem_id="engine-chip")
        self.timer = gr.Timer(_SOON_S)

    def render_banner(self) -> None:
        """Build the line above the question box that tells why no answer can come yet."""
        self.banner = gr.HTML("", apply_default_css=False, elem_id="banner")

    def render(self) -> None:
        """Build the page, inside an open `gr.Blocks`."""
        with gr.Column(elem_id="page-status", elem_classes="page"):
            gr.HTML("<h2>Status</h2>", apply_default_css=False, elem_classes="page-title")
            self.overview = gr.HTML("", apply_default_css=False, elem_id="overview")

    def connect(self, blocks: gr.Blocks) -> None:
        """Wire the events."""
        shown = [self.chip, self.banner, self.overview, self.timer]
        blocks.load(self.on_tick, None, shown, **QUIET)
        self.timer.tick(self.on_tick, None, shown, **QUIET)

    async def on_tick(self, request: gr.Request) -> tuple[Any, ...]:
        """Show the state: often while the engine is not ready, seldom while it is."""
        state = await engine_state(self._runtime)
        overview = await asyncio.to_thread(self._overview, principal_of(request), state)
        interval = _SOON_S if state.state == "starting" else _LATER_S
        return render_chip(state), render_banner(state), overview, gr.Timer(interval)

    def _overview(self, principal: Principal, state: EngineState) -> Markup:
        runtime = self._runtime
        facts = {
            "Language model": runtime.language_model,
            "Encoder": ": ".join(filter(None, (runtime.settings.encoder.model, runtime.encoder_trouble()))),
            "Machine": runtime.machine.summary(),
            "Signed in as": principal.name,
        }
        better = better_models(runtime.settings, runtime.machine)
        return join(
            [
                render_engine(state),
                _section("In use", _facts(facts), element("a", "Sign out", href="/logout", class_="button small")),
                _section("This machine could run better models", *map(_better, better)) if better else None,
                _section("Collections", _collections(runtime.library.collections(principal))),
            ]
        )


def render_navigation() -> Markup:
    """Return the name of the app and the links between its pages."""
    pages = ("chat", "documents", "search", "improve", "status")
    links = [element("a", page.capitalize(), href=f"#{page}", data_page=page) for page in pages]
    return join(
        [
            element("a", "Skip to content", href="#chat", class_="skip"),
            element(
                "button",
                icon("menu"),
                type="button",
                class_="icon-button",
                data_toggle="history",
                aria_label="Conversations",
                id="history-toggle",
            ),
            element("a", element("span", class_="logo", aria_hidden="true"), "Keepstone", href="#chat", class_="brand"),
            element("nav", *links, aria_label="Pages"),
        ]
    )


def render_chip(state: EngineState) -> Markup:
    """Return the engine's state as a word in the header."""
    words = {"ready": "Ready", "starting": "Starting", "down": "Model down", "off": "Model off"}[state.state]
    dot = element("span", class_="dot", aria_hidden="true")
    return element(
        "a",
        dot,
        element("span", words),
        href="#status",
        class_=f"chip chip-{state.state}",
        title=state.message,
        role="status",
    )


def render_banner(state: EngineState) -> Markup:
    """Return why no answer can come yet, and what to do; nothing while the engine is ready."""
    if state.state == "ready":
        return Markup("")
    if state.state == "starting":
        dot = element("span", class_="dot", aria_hidden="true")
        words = f"{state.message} You can ask already: the answer comes as soon as it is ready."
        return element("p", dot, words, class_="banner chip-starting", role="status")
    return render_engine(state)


def render_engine(state: EngineState) -> Markup:
    """Return the engine's state with its fix."""
    fix = element("p", with_code(state.fix), class_="fix") if state.fix else None
    kind = {"ready": "good", "starting": "", "down": "error", "off": ""}[state.state]
    dot = element("span", class_="dot", aria_hidden="true")
    line = element("p", dot, element("strong", state.message))
    return element("div", line, fix, class_=f"callout engine chip-{state.state} {kind}")


def _better(entry: Recommendation) -> Markup:
    role = "Language model" if entry.kind == "llm" else "Encoder"
    return element(
        "div",
        element("p", element("strong", entry.title)),
        element("p", f"{role} · {entry.memory_gib:g} GiB of memory", class_="note"),
        element("ol", *map(_step, entry.commands)),
        class_="better",
    )


def _step(command: str) -> Markup:
    """Return one thing to do: a command to run, or words."""
    is_command = command.startswith("keepstone ")
    return element("li", element("code", command) if is_command else command[:1].upper() + command[1:])


def _section(title: str, *children: object) -> Markup:
    return element("section", element("h3", title), *children, class_="panel")


def _facts(facts: dict[str, str]) -> Markup:
    return element("dl", *[element("div", element("dt", key), element("dd", value)) for key, value in facts.items()])


def _collections(infos: list[CollectionInfo]) -> Markup:
    if not infos:
        return element("p", "None yet. ", element("a", "Create one", href="#documents"), ".", class_="note")
    heads = ("Name", "Documents", "Passages", "Encoder", "Chunker")
    head = element("tr", *[element("th", each, scope="col") for each in heads])
    rows = [
        element(
            "tr",
            element("td", info.name, dir="auto"),
            element("td", f"{info.documents:,}", class_="number"),
            element("td", f"{info.chunks:,}", class_="number"),
            element("td", info.encoder.partition("@")[0], title=info.encoder),
            element("td", info.chunking.chunker),
        )
        for info in infos
    ]
    return element("table", element("thead", head), element("tbody", *rows), class_="plain")
