"""The page "Improve": start an improvement, watch its curve, read its verdict, promote and roll back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import gradio as gr

from keepstone.platform.access import Principal
from keepstone.platform.errors import InvalidInput, KeepstoneError
from keepstone.training.improve import ImproveConfig, Progress
from keepstone.training.improve.record import Candidate
from keepstone.training.promotion import Order
from keepstone.training.runs import Runs
from keepstone.ui.runtime import Runtime
from keepstone.ui.web import improve_view as view
from keepstone.ui.web.caller import principal_of, told
from keepstone.ui.web.components import ALWAYS, QUIET, interactive_html, payload
from keepstone.ui.web.markup import Markup, join

_SOON_S: Final = 2.0
_LATER_S: Final = 20.0
_SHOWN: Final = 10


class ImprovePage:
    """What was learned, and what could be.

    Args:
        runtime: the services.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def render(self) -> None:
        """Build the components, inside an open `gr.Blocks`."""
        with gr.Column(elem_id="page-improve", elem_classes="page"):
            gr.HTML("<h2>Improve</h2>", apply_default_css=False, elem_classes="page-title")
            with gr.Row(elem_id="improve-row", visible=False) as self.start_row:
                self.collection = gr.Dropdown([], label="Collection", elem_id="improve-collection", interactive=True)
                self.start = gr.Button("Learn from it", elem_id="improve-start", size="sm", variant="primary")
                self.promote = gr.Checkbox(
                    value=True, label="Put into use what is better beyond chance", elem_id="improve-promote"
                )
            self.running = interactive_html("cancel", elem_id="improve-running")
            self.past = interactive_html("retry", "promote", "rollback", elem_id="improve-past")
        self.timer = gr.Timer(_LATER_S)

    def connect(self, blocks: gr.Blocks) -> None:
        """Wire the events."""
        shown = [self.running, self.past, self.timer]
        blocks.load(self.on_open, None, [self.start_row, self.collection, *shown], **QUIET)
        self.timer.tick(self.on_tick, None, shown, **QUIET)
        self.start.click(self.on_start, [self.collection, self.promote], shown, **QUIET)
        self.running.cancel(self.on_cancel, None, shown, **ALWAYS)
        self.past.retry(self.on_retry, None, shown, **ALWAYS)
        self.past.promote(self.on_promote, None, shown, **ALWAYS)
        self.past.rollback(self.on_rollback, None, shown, **ALWAYS)

    @told
    def on_open(self, request: gr.Request) -> tuple[Any, ...]:
        """Show the collections to choose from, and everything else."""
        principal = principal_of(request)
        infos = self._runtime.library.collections(principal) if principal.administers else []
        fullest = max(infos, key=lambda info: info.documents, default=None)
        choices = gr.update(choices=[(info.name, info.id) for info in infos], value=fullest.id if fullest else None)
        return gr.update(visible=bool(infos)), choices, *self._shown(principal)

    async def on_tick(self, request: gr.Request) -> tuple[Any, ...]:
        """Show how far the work is."""
        return await asyncio.to_thread(self._shown, principal_of(request))

    @told
    def on_start(self, collection: str | None, promote: bool, request: gr.Request) -> tuple[Any, ...]:
        """Order an improvement."""
        principal = principal_of(request)
        if not collection:
            raise InvalidInput("No collection is chosen", fix="Choose one")
        self._runtime.improvements.start(principal, ImproveConfig(collection=collection, promote=promote))
        return self._shown(principal)

    @told
    def on_cancel(self, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Stop an improvement."""
        principal = principal_of(request)
        self._runtime.jobs.cancel(self._chosen(principal, event).record.id)
        return self._shown(principal)

    @told
    def on_retry(self, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Go on with one that failed or was cancelled."""
        principal = principal_of(request)
        self._runtime.jobs.retry(self._chosen(principal, event).record.id)
        return self._shown(principal)

    @told
    def on_promote(self, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Put a candidate into use."""
        principal = principal_of(request)
        progress, made = self._candidate(principal, event)
        verdict = made.judgement.verdict if made.judgement else None
        order = Order(model=made.model, collection=_of(progress, made), verdict_id=verdict)
        self._runtime.promotions.order(principal, order)
        gr.Info("It is being put into use.", duration=4)
        return self._shown(principal)

    @told
    def on_rollback(self, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Bring back what a candidate replaced."""
        principal = principal_of(request)
        self._runtime.promotions.order(principal, Order(collection=_of(*self._candidate(principal, event))))
        gr.Info("What was in use before is coming back.", duration=4)
        return self._shown(principal)

    def _chosen(self, principal: Principal, event: gr.EventData) -> Progress:
        return self._runtime.improvements.get(principal, payload(event, "improvement"))

    def _candidate(self, principal: Principal, event: gr.EventData) -> tuple[Progress, Candidate]:
        progress, recipe = self._chosen(principal, event), payload(event, "recipe")
        for made in progress.record.candidates:
            if made.recipe == recipe and made.model is not None:
                return progress, made
        raise InvalidInput("There is no such candidate", fix="Reload the page")

    def _shown(self, principal: Principal) -> tuple[Markup, Markup, gr.Timer]:
        if not principal.administers:
            return Markup(""), view.render_not_allowed(), gr.Timer(active=False)
        found = self._runtime.improvements.list(principal, _SHOWN)
        open_, ended = (
            [each for each in found if view.is_open(each)],
            [each for each in found if not view.is_open(each)],
        )
        live = self._live(principal, ended)
        running = join([view.render_running(each, _curve(self._runtime.runs, principal, each)) for each in open_])
        past = view.render_all([view.render_past(each, live) for each in ended]) if found else view.render_none()
        return running, past, gr.Timer(_SOON_S if open_ else _LATER_S)

    def _live(self, principal: Principal, found: list[Progress]) -> Mapping[str, bool]:
        """Return of each candidate whether it is in use now; those whose collection is gone are left out."""
        live: dict[str, bool] = {}
        for progress in found:
            for made in progress.record.candidates:
                if made.model is None:
                    continue
                try:
                    used = self._runtime.promotions.live(principal, collection=_of(progress, made))
                except KeepstoneError:
                    continue
                live[made.model] = used == made.model
        return live


def _of(progress: Progress, made: Candidate) -> str | None:
    """Return the collection whose encoder a candidate would be; None for language models."""
    return progress.record.collection_id if made.recipe == "embedding" else None


def _curve(runs: Runs, principal: Principal, progress: Progress) -> view.Curve:
    """Return the curve of the training that is under way, or was the last."""
    stage = next((each for each in progress.record.stages if each.state == "running"), None)
    if stage is None or stage.job is None or not stage.name.startswith("train"):
        return ()
    return runs.curve(principal, stage.job)
