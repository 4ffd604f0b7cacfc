"""The chat page: conversations on the left, questions and answers in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import gradio as gr

from keepstone.platform.access import Principal
from keepstone.platform.database.tables import utc_now
from keepstone.platform.errors import InvalidInput, KeepstoneError, NotFound
from keepstone.ui.runtime import Runtime
from keepstone.ui.web import thread
from keepstone.ui.web.asking import Asking, Question
from keepstone.ui.web.caller import as_message, principal_of, told
from keepstone.ui.web.components import ALWAYS, QUIET, interactive_html, payload
from keepstone.ui.web.examples import example_questions
from keepstone.ui.web.markup import Markup
from keepstone.ui.web.turns import Turn, as_history, load_turns

EVERYWHERE: Final = ""
_LONGEST_QUESTION: Final = 8_000


class ChatPage:
    """One conversation at a time, with those before it at hand.

    Args:
        runtime: the services.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._asking = Asking(runtime)

    def render(self) -> None:
        """Build the components, inside an open `gr.Blocks`."""
        with gr.Column(elem_id="page-chat", elem_classes="page"):
            with gr.Column(elem_id="history", elem_classes="side"):
                self.new = gr.Button("New conversation", elem_id="new-conversation", size="sm")
                self.history = interactive_html("open", "delete", elem_id="conversations")
            with gr.Column(elem_id="conversation"):
                self.collection = gr.Dropdown(
                    choices=[("All collections", EVERYWHERE)],
                    value=EVERYWHERE,
                    label="Documents to ask",
                    elem_id="chat-collection",
                    interactive=True,
                )
                with gr.Column(elem_id="thread"):
                    self.turns = interactive_html("cite", "rate", "comment", "example", elem_id="turns")
                    self.live = interactive_html("cite", "example", elem_id="live")
                with gr.Column(elem_id="composer"):
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
        # The open conversation's id lives in the browser, so that it outlasts a restart of the server. It names
        # nothing that is not checked against the caller.
        self.conversation = gr.Textbox(visible="hidden", elem_id="conversation-id", label="Conversation")

    def connect(self, blocks: gr.Blocks, reader: Any) -> None:
        """Wire the events.

        Args:
            blocks: the app.
            reader: the reading page, whose `show` handles clicks on citations.
        """
        page = [self.conversation, self.turns, self.live, self.history]
        asked = [self.question, *page]
        blocks.load(self.on_load, self.conversation, [self.collection, *page], **QUIET)
        ask_inputs = [self.question, self.collection, self.conversation]
        self.question.submit(self.on_ask, ask_inputs, asked, concurrency_limit=None, **QUIET)
        self.question.stop(self.on_stop, self.conversation, None, **ALWAYS)
        for source in (self.turns, self.live):
            source.example(
                self.on_example, [self.collection, self.conversation], asked, concurrency_limit=None, **QUIET
            )
            source.cite(reader.on_cite, None, reader.panel, **ALWAYS)
        self.turns.rate(self.on_rate, self.conversation, self.turns, **ALWAYS)
        self.turns.comment(self.on_comment, None, None, **QUIET)
        self.new.click(self.on_new, self.collection, page, **QUIET)
        self.history.open(self.on_open, None, [self.collection, *page], **ALWAYS)
        self.history.delete(self.on_delete, [self.collection, self.conversation], page, **QUIET)
        self.collection.input(self.on_collection, [self.collection, self.conversation], self.turns, **ALWAYS)

    @told
    def on_load(self, conversation_id: str, request: gr.Request) -> tuple[Any, ...]:
        """Fill the page when it opens, with the conversation that was open before a reload."""
        principal = principal_of(request)
        wanted = conversation_id or str(request.query_params.get("c", ""))
        if wanted:
            try:
                return self._opened(principal, wanted)
            except NotFound:
                pass
        return (self._choices(principal, EVERYWHERE), *self._empty(principal, EVERYWHERE))

    async def on_ask(
        self, text: str, collection: str, conversation_id: str, request: gr.Request
    ) -> AsyncGenerator[tuple[Any, ...], None]:
        """Answer what stands in the box."""
        try:
            async for update in self._ask(principal_of(request), text, collection, conversation_id):
                yield update
        except KeepstoneError as error:
            yield _idle(), *[gr.skip()] * 4
            raise as_message(error) from error

    async def on_example(
        self, collection: str, conversation_id: str, request: gr.Request, event: gr.EventData
    ) -> AsyncGenerator[tuple[Any, ...], None]:
        """Ask a question that was clicked."""
        async for update in self.on_ask(payload(event, "question"), collection, conversation_id, request):
            yield update

    async def on_stop(self, conversation_id: str, request: gr.Request) -> None:
        """Stop the answer that is being written."""
        self._asking.stop(principal_of(request), conversation_id)

    @told
    def on_open(self, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Open a conversation."""
        return self._opened(principal_of(request), payload(event, "id"))

    @told
    def on_new(self, collection: str, request: gr.Request) -> tuple[Any, ...]:
        """Begin an empty conversation."""
        return self._empty(principal_of(request), collection)

    @told
    def on_delete(
        self, collection: str, conversation_id: str, request: gr.Request, event: gr.EventData
    ) -> tuple[Any, ...]:
        """Delete a conversation; when it is the open one, show an empty page."""
        principal, deleted = principal_of(request), payload(event, "id")
        self._asking.runtime.conversations.delete(principal, deleted)
        if deleted == conversation_id:
            return self._empty(principal, collection)
        return gr.skip(), gr.skip(), gr.skip(), self._history(principal, conversation_id)

    @told
    def on_rate(self, conversation_id: str, request: gr.Request, event: gr.EventData) -> Markup:
        """Rate an answer, or take the rating back."""
        principal = principal_of(request)
        rating = payload(event, "rating")
        self._runtime.conversations.rate(principal, payload(event, "answer"), {"1": 1, "-1": -1}.get(rating, 0))
        return thread.render_turns(self._turns(principal, conversation_id))

    @told
    def on_comment(self, request: gr.Request, event: gr.EventData) -> None:
        """Keep what a person found wrong with an answer."""
        answer_id, comment = payload(event, "answer"), payload(event, "comment")[:2000].strip()
        self._runtime.conversations.rate(principal_of(request), answer_id, -1, comment)
        gr.Success("Thank you. Your comment is stored with the answer.", title="Saved", duration=4)

    @told
    def on_collection(self, collection: str, conversation_id: str, request: gr.Request) -> Any:
        """Show the examples of another collection while the conversation is empty."""
        return gr.skip() if conversation_id else self._welcome(principal_of(request), collection)

    async def _ask(
        self, principal: Principal, text: str, collection: str, conversation_id: str
    ) -> AsyncGenerator[tuple[Any, ...], None]:
        text = text.strip()[:_LONGEST_QUESTION]
        if not text:
            raise InvalidInput("There is no question", fix="Type one")
        turns, conversation_id = await asyncio.to_thread(self._begin, principal, text, collection, conversation_id)
        done = thread.render_turns(turns)
        history = await asyncio.to_thread(self._history, principal, conversation_id)
        yield _busy(), conversation_id, done, thread.render_waiting(text, "Searching the documents…"), history
        question = Question(principal, text, conversation_id, (collection,) if collection else None, as_history(turns))
        live = thread.NOTHING
        async for progress in self._asking.answer(question):
            if progress.error:
                live = thread.render_failed(text, progress.error, progress.view)
            elif progress.view:
                live = thread.render_writing(text, progress.view)
                if progress.view.outcome:
                    done = thread.render_turns([*turns, Turn(text, progress.view)])
                    live = thread.NOTHING
            else:
                live = thread.render_waiting(text, progress.status)
            yield gr.skip(), gr.skip(), done, live, gr.skip()
        yield _idle(), gr.skip(), gr.skip(), gr.skip(), gr.skip()

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
        conversations.append(principal, conversation_id, "user", text)
        return turns, conversation_id

    def _opened(self, principal: Principal, conversation_id: str) -> tuple[Any, ...]:
        turns = self._turns(principal, conversation_id)
        listed = self._runtime.conversations.recent(principal)
        of = next((info.collection_id for info in listed if info.id == conversation_id), None)
        shown = thread.render_conversations(listed, conversation_id, utc_now())
        return (
            self._choices(principal, of or EVERYWHERE),
            conversation_id,
            thread.render_turns(turns),
            thread.NOTHING,
            shown,
        )

    def _empty(self, principal: Principal, collection: str) -> tuple[Any, ...]:
        return "", self._welcome(principal, collection), thread.NOTHING, self._history(principal, None)

    def _welcome(self, principal: Principal, collection: str) -> Markup:
        infos = self._runtime.library.collections(principal)
        chosen = [info for info in infos if info.id == collection] or infos
        examples: Sequence[str] = example_questions(self._runtime.library, principal, chosen)
        name = chosen[0].name if collection and chosen else None
        return thread.render_welcome(examples, collection=name, documents=sum(info.documents for info in chosen))

    def _turns(self, principal: Principal, conversation_id: str) -> list[Turn]:
        return load_turns(self._runtime.conversations, self._runtime.library, principal, conversation_id)

    def _history(self, principal: Principal, current: str | None) -> Markup:
        return thread.render_conversations(self._runtime.conversations.recent(principal), current, utc_now())

    def _choices(self, principal: Principal, chosen: str) -> Any:
        infos = self._runtime.library.collections(principal)
        choices = [("All collections", EVERYWHERE), *((info.name, info.id) for info in infos)]
        value = chosen if chosen in {info.id for info in infos} else EVERYWHERE
        return gr.update(choices=choices, value=value)


def _busy() -> Any:
    """Return the box while an answer is written: emptied, still usable, with a stop button."""
    return gr.update(value="", submit_btn=False, stop_btn=True)


def _idle() -> Any:
    """Return the box with its send button."""
    return gr.update(submit_btn=True, stop_btn=False)
