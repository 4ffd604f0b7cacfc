"""The chat page: conversations on the left, questions and answers in the middle."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final, Literal

import gradio as gr

from keepstone.platform.access import Principal
from keepstone.platform.database.tables import utc_now
from keepstone.platform.errors import Conflict, InvalidInput, KeepstoneError, NotFound
from keepstone.ui.runtime import Runtime
from keepstone.ui.web import thread
from keepstone.ui.web.asking import Asking, Progress, Question
from keepstone.ui.web.caller import as_message, principal_of, told
from keepstone.ui.web.components import ALWAYS, EVERYWHERE, QUIET, collection_choices, interactive_html, number, payload
from keepstone.ui.web.examples import example_questions
from keepstone.ui.web.markup import Markup
from keepstone.ui.web.reading import ReadingPanel
from keepstone.ui.web.turns import Turn, as_history, load_turns

_LONGEST_QUESTION: Final = 8_000
_LISTED: Final = 200
_TABS: Final = 10_000
# Which conversation a browser tab has open, and whether the agent is asked, outlasts a reload of the page.
_REMEMBER: Final = "(id) => { sessionStorage.setItem('keepstone.conversation', id || ''); }"
_RECALL: Final = "() => sessionStorage.getItem('keepstone.conversation') || ''"
_REMEMBER_AGENT: Final = "(chosen) => { sessionStorage.setItem('keepstone.agent', chosen ? 'yes' : ''); }"
_RECALL_AGENT: Final = "() => sessionStorage.getItem('keepstone.agent') === 'yes'"


class ChatPage:
    """One conversation at a time, with those before it at hand.

    Args:
        runtime: the services.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._asking = Asking(runtime)
        self._viewed: OrderedDict[str, str] = OrderedDict()
        """The conversation that each browser tab shows, by Gradio's session."""

    def render(self, render_banner: Callable[[], None]) -> None:
        """Build the components, inside an open `gr.Blocks`.

        Args:
            render_banner: builds what stands above the question box.
        """
        with gr.Column(elem_id="page-chat", elem_classes="page"):
            with gr.Column(elem_id="history", elem_classes="side"):
                self.new = gr.Button("New conversation", elem_id="new-conversation", size="sm")
                self.history = interactive_html("open", "delete", elem_id="conversations")
            with gr.Column(elem_id="conversation"):
                with gr.Row(elem_id="chat-how"):
                    self.collection = gr.Dropdown(
                        choices=[("All collections", EVERYWHERE)],
                        value=EVERYWHERE,
                        label="Documents to ask",
                        elem_id="chat-collection",
                        interactive=True,
                    )
                    self.agent = gr.Checkbox(
                        label="Agent", elem_id="chat-agent", interactive=True, container=False, min_width=0
                    )
                with gr.Column(elem_id="thread"):
                    self.turns = interactive_html("cite", "mark", "rate", "comment", "example", elem_id="turns")
                    self.live = interactive_html("cite", "example", elem_id="live")
                with gr.Column(elem_id="composer"):
                    render_banner()
                    self.question = gr.Textbox(
                        label="Your question",
                        show_label=False,
                        placeholder="Ask a question about your documents",
                        lines=1,
                        max_lines=8,
                        max_length=_LONGEST_QUESTION,
                        submit_btn=True,
                        autofocus=True,
                        container=False,
                        elem_id="question",
                        html_attributes=gr.InputHTMLAttributes(autocapitalize="sentences", spellcheck=True),
                    )
        # The script of the pages clicks it whenever this page is come back to.
        self.refresh = gr.Button("Refresh", visible="hidden", elem_id="chat-refresh")
        # It lives in the browser, so that it outlasts a restart of the server; it is checked against the caller.
        self.conversation = gr.Textbox(visible="hidden", elem_id="conversation-id", label="Conversation")

    def connect(self, blocks: gr.Blocks, reading: ReadingPanel) -> None:
        """Wire the events: what changes the conversation answers at once, and following the answer comes after it."""
        page = [self.conversation, self.turns, self.live, self.history]
        asked = [self.question, *page]
        opened = [self.collection, *asked]
        remembered = blocks.load(self.on_load, self.conversation, opened, js=_RECALL, **QUIET)
        ask_inputs = [self.question, self.collection, self.conversation, self.agent]
        sent = self.question.submit(self.on_ask, ask_inputs, asked, **QUIET)
        again = [
            source.example(self.on_example, [self.collection, self.conversation, self.agent], asked, **QUIET)
            for source in (self.turns, self.live)
        ]
        chosen = self.history.open(self.on_open, None, opened, **ALWAYS)
        followed = [self.question, self.turns, self.live]
        for event in (remembered, sent, *again, chosen):
            event.success(self.on_follow, self.conversation, followed, concurrency_limit=None, **ALWAYS)
        self.new.click(self.on_new, self.collection, asked, **QUIET)
        self.history.delete(self.on_delete, [self.collection, self.conversation], asked, **QUIET)
        self.question.stop(self.on_stop, self.conversation, None, **ALWAYS)
        self.conversation.change(None, self.conversation, None, js=_REMEMBER)
        blocks.load(None, None, self.agent, js=_RECALL_AGENT)
        self.agent.input(None, self.agent, None, js=_REMEMBER_AGENT)
        for source in (self.turns, self.live):
            source.cite(reading.on_cite, None, reading.panel, **ALWAYS)
        self.turns.rate(self.on_rate, self.conversation, self.turns, **ALWAYS)
        self.turns.mark(self.on_mark, self.conversation, self.turns, **ALWAYS)
        self.turns.comment(self.on_comment, None, None, **QUIET)
        refreshed = [self.collection, self.turns]
        self.refresh.click(self.on_refresh, [self.collection, self.conversation], refreshed, **QUIET)
        self.collection.input(self.on_collection, [self.collection, self.conversation], self.turns, **ALWAYS)

    @told
    def on_load(self, conversation_id: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Fill the page when it opens, with the conversation that was open before a reload."""
        principal = principal_of(request)
        try:
            return self._opened(principal, conversation_id or "", request)
        except NotFound:
            return self._choices(principal, EVERYWHERE), *self._empty(principal, EVERYWHERE, request)

    async def on_ask(
        self, text: str, collection: str, conversation_id: str, agent: bool, request: gr.Request
    ) -> tuple[Any, ...]:
        """Begin to answer what stands in the box."""
        try:
            return await self._ask(request, text, collection, conversation_id, agent=agent)
        except KeepstoneError as error:
            raise as_message(error) from error

    async def on_example(
        self, collection: str, conversation_id: str, agent: bool, request: gr.Request, event: gr.EventData
    ) -> tuple[Any, ...]:
        """Begin to answer a question that was clicked."""
        return await self.on_ask(payload(event, "question"), collection, conversation_id, agent, request)

    async def on_follow(self, conversation_id: str, request: gr.Request) -> AsyncGenerator[tuple[Any, ...], None]:
        """Show the answer that is being written, until its end."""
        principal = principal_of(request)
        yield gr.skip(), gr.skip(), gr.skip()  # of a generator that yields nothing, Gradio empties the outputs
        async with aclosing(self._asking.follow(principal, conversation_id)) as progress:
            async for each in progress:
                if self._viewed.get(_session(request)) != conversation_id:
                    return  # the tab shows another conversation by now
                if each.finished and each.error is None:
                    turns = await asyncio.to_thread(self._turns, principal, conversation_id)
                    yield _idle(), *_shown(turns)
                else:
                    yield _idle() if each.finished else gr.skip(), gr.skip(), _live(each)

    async def on_stop(self, conversation_id: str, request: gr.Request) -> None:
        """Stop the answer that is being written."""
        self._asking.stop(principal_of(request), conversation_id)

    @told
    def on_open(self, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Open a conversation."""
        return self._opened(principal_of(request), payload(event, "id"), request)

    @told
    def on_new(self, collection: str, request: gr.Request) -> tuple[Any, ...]:
        """Begin an empty conversation."""
        return self._empty(principal_of(request), collection, request)

    async def on_delete(
        self, collection: str, conversation_id: str, request: gr.Request, event: gr.EventData
    ) -> tuple[Any, ...]:
        """Delete a conversation; when it is the open one, show an empty page."""
        principal, deleted = principal_of(request), payload(event, "id")
        self._asking.stop(principal, deleted, keep=False)
        try:
            await asyncio.to_thread(self._runtime.conversations.delete, principal, deleted)
        except KeepstoneError as error:
            raise as_message(error) from error
        if deleted == conversation_id:
            return await asyncio.to_thread(self._empty, principal, collection, request)
        rest = await asyncio.to_thread(self._history, principal, conversation_id)
        return gr.skip(), gr.skip(), gr.skip(), gr.skip(), rest

    @told
    def on_rate(self, conversation_id: str, request: gr.Request, event: gr.EventData) -> Markup:
        """Rate an answer, or take the rating back."""
        principal = principal_of(request)
        rating = {"1": 1, "-1": -1}.get(payload(event, "rating"), 0)
        self._runtime.conversations.rate(principal, payload(event, "answer"), rating)
        return _shown(self._turns(principal, conversation_id))[0]

    @told
    def on_mark(self, conversation_id: str, request: gr.Request, event: gr.EventData) -> Markup:
        """Keep whether a source was relevant, or take that back."""
        principal = principal_of(request)
        mark: Literal[-1, 0, 1] = {"1": 1, "-1": -1}.get(payload(event, "mark"), 0)  # type: ignore[assignment]
        self._runtime.conversations.mark(principal, payload(event, "answer"), number(event, "number"), mark)
        return _shown(self._turns(principal, conversation_id))[0]

    @told
    def on_comment(self, request: gr.Request, event: gr.EventData) -> None:
        """Keep what a person found wrong with an answer."""
        answer_id, comment = payload(event, "answer"), payload(event, "comment")[:2000].strip()
        self._runtime.conversations.rate(principal_of(request), answer_id, -1, comment)
        gr.Success("Thank you. Your comment is stored with the answer.", duration=4)

    @told
    def on_collection(self, collection: str, conversation_id: str, request: gr.Request) -> Any:
        """Show the examples of another collection while the conversation is empty."""
        return gr.skip() if conversation_id else self._welcome(principal_of(request), collection)

    @told
    def on_refresh(self, collection: str, conversation_id: str, request: gr.Request) -> tuple[Any, ...]:
        """Show the collections as they are by now, and in an empty conversation the documents."""
        principal = principal_of(request)
        choices = self._choices(principal, collection)
        return choices, gr.skip() if conversation_id else self._welcome(principal, choices["value"])

    async def _ask(
        self, request: gr.Request, text: str, collection: str, conversation_id: str, *, agent: bool
    ) -> tuple[Any, ...]:
        principal = principal_of(request)
        text = text.strip()[:_LONGEST_QUESTION]
        if not text:
            raise InvalidInput("There is no question", fix="Type one")
        if self._asking.is_running(principal.id, conversation_id):
            raise Conflict("An answer is being written", fix="Wait for its end, or stop it")
        turns, conversation_id = await asyncio.to_thread(self._begin, principal, text, collection, conversation_id)
        self._view(request, conversation_id)
        where = (collection,) if collection else None
        self._asking.start(Question(principal, text, conversation_id, where, as_history(turns), agent))
        listed = await asyncio.to_thread(self._history, principal, conversation_id)
        waiting = thread.render_waiting(text, "Searching the documents…")
        return _busy(""), conversation_id, thread.render_turns(turns), waiting, listed

    def _begin(self, principal: Principal, text: str, collection: str, conversation_id: str) -> tuple[list[Turn], str]:
        """Store the question and return the turns before it; a conversation that is gone is begun anew."""
        conversations = self._runtime.conversations
        turns: list[Turn] = []
        try:
            turns = self._turns(principal, conversation_id) if conversation_id else []
        except NotFound:
            conversation_id = ""
        if not conversation_id:
            conversation_id = conversations.start(principal, collection or None, text).id
        if turns and turns[-1] == Turn(text):
            return turns[:-1], conversation_id  # asked again
        conversations.append(principal, conversation_id, "user", text)
        return turns, conversation_id

    def _opened(self, principal: Principal, conversation_id: str, request: gr.Request) -> tuple[Any, ...]:
        turns = self._turns(principal, conversation_id)
        self._view(request, conversation_id)
        listed = self._runtime.conversations.recent(principal, _LISTED)
        of = next((info.collection_id for info in listed if info.id == conversation_id), None)
        box = _busy() if self._asking.is_running(principal.id, conversation_id) else _idle()
        history = thread.render_conversations(listed, conversation_id, utc_now())
        return self._choices(principal, of or EVERYWHERE), box, conversation_id, *_shown(turns), history

    def _empty(self, principal: Principal, collection: str, request: gr.Request) -> tuple[Any, ...]:
        self._view(request, "")
        return _idle(), "", self._welcome(principal, collection), thread.NOTHING, self._history(principal, None)

    def _view(self, request: gr.Request, conversation_id: str) -> None:
        """Note what a tab shows, so that an answer of another conversation is not drawn over it."""
        self._viewed[_session(request)] = conversation_id
        self._viewed.move_to_end(_session(request))
        while len(self._viewed) > _TABS:
            self._viewed.popitem(last=False)

    def _welcome(self, principal: Principal, collection: str) -> Markup:
        infos = self._runtime.library.collections(principal)
        chosen = [info for info in infos if info.id == collection] or infos
        examples: Sequence[str] = example_questions(self._runtime.library, principal, chosen)
        name = chosen[0].name if collection and chosen else None
        return thread.render_welcome(examples, collection=name, documents=sum(info.documents for info in chosen))

    def _turns(self, principal: Principal, conversation_id: str) -> list[Turn]:
        runtime = self._runtime
        return load_turns(runtime.conversations, runtime.library, runtime.agent, principal, conversation_id)

    def _history(self, principal: Principal, current: str | None) -> Markup:
        return thread.render_conversations(self._runtime.conversations.recent(principal, _LISTED), current, utc_now())

    def _choices(self, principal: Principal, chosen: str) -> Any:
        return collection_choices(self._runtime.library.collections(principal), chosen)


def _session(request: gr.Request) -> str:
    return request.session_hash or ""


def _shown(turns: Sequence[Turn]) -> tuple[Markup, Markup]:
    """Return the turns and, apart from them, a last question that has no answer."""
    if turns and turns[-1].answer is None:
        return thread.render_turns(turns[:-1]), thread.render_turns(turns[-1:])
    return thread.render_turns(turns), thread.NOTHING


def _live(progress: Progress) -> Markup:
    if progress.error:
        return thread.render_failed(progress.question, progress.error, progress.view)
    if progress.view and progress.view.content:
        return thread.render_writing(progress.question, progress.view)
    return thread.render_waiting(progress.question, progress.status, progress.view.steps if progress.view else ())


def _busy(value: str | None = None) -> Any:
    """Return the box while an answer is written: still usable, with a stop button."""
    given: dict[str, Any] = {} if value is None else {"value": value}
    return gr.update(submit_btn=False, stop_btn=True, **given)


def _idle() -> Any:
    """Return the box with its send button."""
    return gr.update(submit_btn=True, stop_btn=False)
