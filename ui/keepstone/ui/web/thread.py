"""A conversation as HTML: its turns, the one being answered, the welcome of an empty one; and the list of all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from keepstone.agents.conversations import ConversationInfo
from keepstone.platform.errors import KeepstoneError
from keepstone.ui.web.answers import AnswerView, render_answer, render_text
from keepstone.ui.web.markup import Markup, action, element, icon_action, join, with_code
from keepstone.ui.web.steps import Steps, render_steps
from keepstone.ui.web.turns import Turn

NOTHING: Final = Markup("")


def render_turns(turns: Sequence[Turn]) -> Markup:
    """Return the turns of a conversation."""
    return join(
        _turn(turn.question, render_answer(turn.answer) if turn.answer else _unanswered(turn.question))
        for turn in turns
    )


def render_waiting(question: str, status: str, steps: Steps = ()) -> Markup:
    """Return the turn whose answer has no words yet, with what the agent has done so far."""
    dots = element("span", *[element("i") for _ in range(3)], class_="dots", aria_hidden="true")
    working = element("p", dots, status, class_="working", role="status")
    return _turn(question, join([render_steps(steps), working]), live=True)


def render_writing(question: str, view: AnswerView) -> Markup:
    """Return the turn whose answer is being written."""
    return _turn(question, render_text(view), live=True)


def render_failed(question: str, error: KeepstoneError, written: AnswerView | None = None) -> Markup:
    """Return the turn that could not be answered, with what mends it and a way to try again."""
    text = render_text(written) if written and written.content else render_steps(written.steps) if written else None
    return _turn(question, join([text, render_error(error), _again(question)]))


def render_error(error: KeepstoneError) -> Markup:
    """Return an error with its fix."""
    fix = element("p", with_code(error.fix), class_="fix") if error.fix else None
    return element(
        "div", element("p", element("strong", with_code(error.message))), fix, class_="callout error", role="alert"
    )


def render_welcome(examples: Sequence[str], *, collection: str | None, documents: int) -> Markup:
    """Return what an empty conversation shows: whose documents are asked, and questions to begin with."""
    if documents == 0:
        invitation = element(
            "p", "There are no documents here yet. ", element("a", "Add some documents", href="#documents"), " first."
        )
        return element("div", element("h2", "Ask your documents"), invitation, class_="welcome")
    count = f"{documents:,} document{'s' if documents != 1 else ''}"
    where = f"in {collection}" if collection else "in all collections"
    questions = [
        element("li", action("example", element("span", each, dir="auto"), class_="example", data_question=each))
        for each in examples
    ]
    return element(
        "div",
        element("h2", "Ask your documents"),
        element("p", f"Answers come from {count} {where}, with the passages they rest on."),
        element("ul", *questions, class_="examples") if questions else None,
        class_="welcome",
    )


def render_conversations(listed: Sequence[ConversationInfo], current: str | None, now: datetime) -> Markup:
    """Return the list of conversations, grouped by age, the open one marked."""
    if not listed:
        return element("p", "Your conversations will be listed here.", class_="empty")
    groups: dict[str, list[Markup]] = {}
    for info in listed:
        groups.setdefault(_age(info.updated_at, now), []).append(_conversation(info, info.id == current))
    return join(element("section", element("h3", age), element("ul", *rows)) for age, rows in groups.items())


def _turn(question: str, answer: Markup, *, live: bool = False) -> Markup:
    return element(
        "article",
        element("div", question, class_="question", dir="auto"),
        element("div", answer, class_="answer"),
        class_="turn live" if live else "turn",
    )


def _unanswered(question: str) -> Markup:
    return join([element("p", "This question was not answered.", class_="note"), _again(question)])


def _again(question: str) -> Markup:
    return action("example", "Ask again", class_="button small", data_question=question)


def _conversation(info: ConversationInfo, current: bool) -> Markup:
    title = info.title or "Untitled"
    return element(
        "li",
        action(
            "open",
            title,
            class_="conversation",
            data_id=info.id,
            title=title,
            aria_current="true" if current else None,
            data_close="history",
        ),
        icon_action(
            "delete",
            "trash",
            f"Delete conversation: {title}",
            title="Delete",
            data_id=info.id,
            data_confirm=f"Delete the conversation “{title}”? Its questions and answers go for good.",
            data_confirm_label="Delete",
        ),
        class_="current" if current else None,
    )


def _age(moment: datetime, now: datetime) -> str:
    days = (now.date() - moment.date()) // timedelta(days=1)
    if days <= 0:
        return "Today"
    if days == 1:
        return "Yesterday"
    return "This week" if days < 7 else "Earlier"
