"""The plain data of an answer, and the events by which it is streamed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from keepstone.retrieval.types import Hit

Outcome = Literal["answered", "declined", "stopped", "failed"]
Style = Literal["write", "quote"]


@dataclass(frozen=True, slots=True)
class AnsweringModel:
    """The language model as answers record it."""

    name: str
    version: str
    style: Style
    """`write`: it formulates the answer. `quote`: it is too small for that and repeats a sentence."""
    base: str | None = None
    """For an adapter, name and version of the model it sits on."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage as the language model was shown it, under the number by which it is cited."""

    number: int
    hit: Hit
    text: str
    """The hit's text, shortened at its end where the token budget ran out."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A stretch of the answer and what it rests on."""

    start: int
    end: int
    """Its characters in the answer's content, without the citation mark."""
    citation: int | None
    """Number of the passage that supports it; None when nothing does."""
    support: float
    """0 to 1: how much of the claim stands in the cited passage."""
    quote_start: int | None = None
    quote_end: int | None = None
    """The characters of the document that support it."""
    attributed: bool = False
    """True when the mark was set by checking rather than written by the model."""

    @property
    def supported(self) -> bool:
        """Whether a passage supports it."""
        return self.citation is not None


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found before the answer is written, by somebody who searched on his own: an agent."""

    hits: tuple[Hit, ...]
    """Passages to answer from, best first. Without any, the question itself is searched for."""
    notes: tuple[str, ...] = ()
    """Facts that were worked out and stand in no document, such as `3 * 860 = 2580`."""
    answer_id: str | None = None
    """Under which the answer is to be stored; None makes one."""
    standalone: str | None = None
    """The question as it was searched for; None lets it be made of the conversation."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """How it was found, in JSON: the part `agent` of the provenance record."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A question that is put to judge what answers it: neither question nor answer is kept."""

    without: tuple[str, ...] = ()
    """Ids of documents to search as if they were not there."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A checked answer."""

    id: str
    question: str
    standalone_question: str
    content: str
    """Text with citation marks such as `[2]`."""
    outcome: Outcome
    passages: tuple[Passage, ...]
    claims: tuple[Claim, ...]
    record: dict[str, Any]
    """The provenance record."""

    @property
    def cited(self) -> tuple[Passage, ...]:
        """The passages that support something, in order of their first citation."""
        numbers = dict.fromkeys(claim.citation for claim in self.claims if claim.citation is not None)
        by_number = {passage.number: passage for passage in self.passages}
        return tuple(by_number[number] for number in numbers)


@dataclass(frozen=True, slots=True)
class Searching:
    """The search began, with the question as understood."""

    standalone_question: str


@dataclass(frozen=True, slots=True)
class Found:
    """The passages that the answer will be made from."""

    passages: tuple[Passage, ...]
    answer_id: str = ""
    """Under which the answer will be stored, however it ends."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of the answer; its citation marks are checked already."""

    text: str
    claims: tuple[Claim, ...] = ()
    """All that was checked by now; they point into the text so far."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The whole answer, stored unless it was a trial."""

    answer: Answer


AnswerEvent = Searching | Found | TextDelta | Finished
