"""The turns of a stored conversation, as pages show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from keepstone.agents.conversations import Conversations, StoredMessage
from keepstone.agents.react.runs import AgentRuns
from keepstone.agents.types import Claim
from keepstone.platform.access import Principal
from keepstone.platform.errors import Conflict, NotFound
from keepstone.platform.serving.engine import Message
from keepstone.retrieval.library import Library
from keepstone.ui.web.answers import AnswerView, Source
from keepstone.ui.web.steps import Steps, steps_of

_CLAIM_FIELDS = frozenset(field.name for field in fields(Claim))
# Texts of larger files are not read only to show quotes in a list.
_LARGEST_QUOTED = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer; None when it was never answered."""

    question: str
    answer: AnswerView | None = None


def load_turns(
    conversations: Conversations, library: Library, agent: AgentRuns, principal: Principal, conversation_id: str
) -> list[Turn]:
    """Return the turns of a conversation, those of the agent with its steps.

    Raises:
        NotFound: this principal has no such conversation.
    """
    quotes = _Quotes(library, principal)
    turns: list[Turn] = []
    for message in conversations.messages(principal, conversation_id):
        if message.role == "user":
            turns.append(Turn(message.content))
        elif turns:
            view = _view(conversations, principal, message, quotes)
            turns[-1] = replace(turns[-1], answer=replace(view, steps=_steps(agent, principal, view)))
    return turns


def as_history(turns: Sequence[Turn]) -> list[Message]:
    """Return turns as the answerer reads them; what was never answered is left out."""
    history: list[Message] = []
    for turn in turns:
        if turn.answer is not None:
            history += [Message("user", turn.question), Message("assistant", turn.answer.content)]
    return history


def _view(conversations: Conversations, principal: Principal, message: StoredMessage, quotes: _Quotes) -> AnswerView:
    if message.answer_id is None or message.record is None:
        return AnswerView(content=message.content, outcome="stopped")
    record = message.record
    sources = [_source(passage) for passage in record.get("passages", ())]
    return AnswerView(
        content=message.content,
        outcome=conversations.provenance(principal, message.answer_id)["outcome"],
        id=message.answer_id,
        sources=tuple(replace(source, text=quotes.of(source)) for source in sources),
        claims=tuple(_claim(claim) for claim in record.get("claims", ())),
        record=record,
        rating=message.rating,
        marks=message.marks,
    )


def _steps(agent: AgentRuns, principal: Principal, view: AnswerView) -> Steps:
    """Return what the agent did before an answer; nothing where it was not asked, or its run was deleted."""
    run_id = view.record.get("agent", {}).get("run_id")
    if run_id is None:
        return ()
    try:
        run = agent.get(principal, run_id)
    except NotFound:
        return ()
    return steps_of(run.steps, run.carried)


def _source(passage: Mapping[str, Any]) -> Source:
    return Source(
        number=passage["number"],
        document_id=passage["document_id"],
        document_name=passage["document"],
        document_sha256=passage["document_sha256"],
        start=passage["start"],
        end=passage["end"],
        page=passage.get("page"),
        context=passage.get("context") or "",
    )


def _claim(stored: Mapping[str, Any]) -> Claim:
    return Claim(**{name: value for name, value in stored.items() if name in _CLAIM_FIELDS})


class _Quotes:
    """Reads passages from their documents, each document once. What was deleted or changed since has no quote."""

    def __init__(self, library: Library, principal: Principal) -> None:
        self._library = library
        self._principal = principal
        self._texts: dict[str, tuple[str, str]] = {}

    def of(self, source: Source) -> str:
        if source.document_id not in self._texts:
            self._texts[source.document_id] = self._read(source.document_id)
        sha256, text = self._texts[source.document_id]
        return text[source.start : source.end] if sha256 == source.document_sha256 else ""

    def _read(self, document_id: str) -> tuple[str, str]:
        try:
            info = self._library.document(self._principal, document_id)
            if info.size > _LARGEST_QUOTED:
                return "", ""
            return info.sha256 or "", self._library.document_text(self._principal, document_id).text
        except (NotFound, Conflict):
            return "", ""
