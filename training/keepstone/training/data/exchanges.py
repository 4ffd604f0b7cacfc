"""Whole exchanges for the language model: the prompt that answering uses, and the answer with its citation."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from keepstone.agents.packing import pack
from keepstone.agents.prompts import write_prompt
from keepstone.agents.sentences import plain, sentence_spans
from keepstone.agents.support import SUPPORTED, Evidence
from keepstone.agents.types import Passage
from keepstone.platform.settings import AnsweringSettings
from keepstone.retrieval.types import Hit
from keepstone.training.data.corpus import SourcePassage
from keepstone.training.data.rows import ChatMessage, ChatRow, row_id

_MARK = re.compile(r"\s?\[(\d{1,3})\]")


@dataclass(frozen=True, slots=True)
class PromptBudget:
    """How passages are packed into the prompt, as in answering."""

    passages: int
    tokens: int
    count_tokens: Callable[[str], int]

    @classmethod
    def of(cls, settings: AnsweringSettings, max_model_len: int, count_tokens: Callable[[str], int]) -> PromptBudget:
        """Return the budget that answering has."""
        room = max_model_len - settings.max_answer_tokens - 400
        return cls(settings.passages, max(min(settings.max_context_tokens, room), 1), count_tokens)


def exchange(
    question: str,
    answer: str,
    source: SourcePassage,
    hits: Sequence[Hit],
    *,
    by_chunk: Mapping[int, SourcePassage],
    budget: PromptBudget,
    seed: int,
) -> tuple[ChatRow, tuple[int, ...]] | None:
    """Return a question with what search found for it and the answer, and the chunks in the prompt.

    Only passages of the same side of the split are shown. The one that answers keeps its rank; where it ranks too low
    to be shown, it takes a drawn place. None when the answer does not fit into the prompt.
    """
    shown = [hit for hit in hits if _may_stand_beside(by_chunk.get(hit.chunk_id), source)]
    place = next((place for place, hit in enumerate(shown) if hit.chunk_id == source.chunk_id), None)
    if place is None or place >= budget.passages:
        shown = [hit for hit in shown if hit.chunk_id != source.chunk_id][: budget.passages - 1]
        draw = random.Random(row_id(seed, question))  # noqa: S311 - to be repeatable, not secret
        shown.insert(draw.randint(0, len(shown)), source.hit(""))
    passages = pack(shown, limit=budget.passages, budget=budget.tokens, count_tokens=budget.count_tokens)
    number = next((each.number for each in passages if each.hit.chunk_id == source.chunk_id), None)
    if number is None:
        return None
    support = Evidence(passages).best(answer, prefer=number)
    if support is None or support.number != number or support.score < SUPPORTED:
        return None
    row = chat_row(question, passages, cited(answer, number), source.document, "generated")
    return row, tuple(each.hit.chunk_id for each in passages)


def chat_row(question: str, passages: Sequence[Passage], answer: str, document: str, source: str) -> ChatRow:
    """Return an exchange under the prompt that answering uses."""
    messages = prompt_messages(question, passages)
    return ChatRow(
        id=row_id("chat", *(message.content for message in messages), answer),
        messages=(*messages, ChatMessage(role="assistant", content=answer)),
        document=document,
        source="feedback" if source == "feedback" else "generated",
    )


def prompt_messages(question: str, passages: Sequence[Passage]) -> tuple[ChatMessage, ...]:
    """Return the prompt that answering uses, without history."""
    prompt = write_prompt(question, passages, ())
    return tuple(ChatMessage(role=message.role, content=message.content) for message in prompt)


def cited(answer: str, number: int) -> str:
    """Return an answer with the mark of a passage behind each sentence."""
    sentences = [plain(answer[start:end]) for start, end in sentence_spans(answer)]
    return " ".join(f"{sentence} [{number}]" for sentence in sentences if sentence)


def without_marks(answer: str) -> str:
    """Return an answer without its citation marks."""
    return _MARK.sub("", answer).strip()


def renumbered(answer: str, numbers: Mapping[int, int]) -> str:
    """Return an answer with its citation marks under new numbers; marks that have none are taken out."""

    def mark(found: re.Match[str]) -> str:
        number = numbers.get(int(found[1]))
        return "" if number is None else found.group().replace(found[1], str(number))

    return _MARK.sub(mark, answer)


def _may_stand_beside(other: SourcePassage | None, source: SourcePassage) -> bool:
    if other is None or other.side != source.side:
        return False
    return other.chunk_id == source.chunk_id or other.group != source.group
