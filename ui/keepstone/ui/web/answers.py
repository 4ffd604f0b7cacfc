"""An answer as HTML: its text with citations to click and unsupported sentences marked, its sources, what made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from keepstone.agents.types import Answer, Claim, Outcome, Passage
from keepstone.ui.web.markup import Mark, Markup, action, element, flat, icon, join, markdown
from keepstone.ui.web.provenance import render_provenance
from keepstone.ui.web.steps import Steps, render_queries, render_steps

UNSUPPORTED: Final = "No passage in the documents supports this sentence"
_QUOTE_CHARS: Final = 220


@dataclass(frozen=True, slots=True)
class Source:
    """A passage that an answer rests on, as far as a page needs to know it."""

    number: int
    document_id: str
    document_name: str
    document_sha256: str
    start: int
    end: int
    page: int | None = None
    context: str = ""
    """Title and heading path."""
    text: str = ""
    """The passage, where it is at hand."""

    @classmethod
    def of(cls, passage: Passage) -> Source:
        """Return the source that a passage is."""
        hit = passage.hit
        return cls(
            number=passage.number,
            document_id=hit.document_id,
            document_name=hit.document_name,
            document_sha256=hit.document_sha256,
            start=hit.start,
            end=hit.end,
            page=hit.page,
            context=hit.context,
            text=hit.text,
        )


@dataclass(frozen=True, slots=True)
class AnswerView:
    """What a page shows of an answer, whether it was just made or read from the database."""

    content: str
    outcome: Outcome | None = None
    """None while it is being written."""
    id: str | None = None
    sources: tuple[Source, ...] = ()
    claims: tuple[Claim, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    rating: int | None = None
    marks: Mapping[int, int] = field(default_factory=dict)
    """What the reader said of the sources, by their numbers: 1 relevant, -1 not."""
    steps: Steps = ()
    """What the agent did before, where it was asked."""

    @classmethod
    def of(cls, answer: Answer, steps: Steps = ()) -> AnswerView:
        """Return the view of an answer that was just made."""
        return cls(
            content=answer.content,
            outcome=answer.outcome,
            id=answer.id,
            sources=tuple(Source.of(passage) for passage in answer.passages),
            claims=answer.claims,
            record=answer.record,
            steps=steps,
        )

    @property
    def cited(self) -> tuple[Source, ...]:
        """The sources whose marks stand in the text, in order of their numbers."""
        return tuple(source for source in self.sources if f"[{source.number}]" in self.content)


def render_answer(view: AnswerView) -> Markup:
    """Return a whole answer: text, sources, rating and provenance."""
    if view.outcome == "declined":
        return _declined(view)
    unsupported = any(not claim.supported for claim in view.claims)
    return join(
        [
            render_text(view),
            _note("Stopped before it was finished") if view.outcome == "stopped" else None,
            _note("The answer broke off") if view.outcome == "failed" else None,
            _legend() if unsupported and view.outcome != "failed" else None,
            _sources(view, view.cited, "Sources"),
            _footer(view),
        ]
    )


def render_text(view: AnswerView) -> Markup:
    """Return the text, below the steps that led to it; also while it is being written."""
    marks = [
        Mark(claim.start, claim.end, "unsupported", UNSUPPORTED)
        for claim in view.claims
        if not claim.supported and view.outcome is not None
    ]
    by_number = {source.number: source for source in view.sources}

    def cite(number: int, offset: int) -> Markup | None:
        source = by_number.get(number)
        return _citation(source, _claim_before(view.claims, number, offset)) if source else None

    text = element(
        "div",
        markdown(view.content, marks=marks, cite=cite),
        class_="answer-text" if view.outcome else "answer-text writing",
        dir="auto",
    )
    return join([render_steps(view.steps), render_queries(view.record), text])


def _declined(view: AnswerView) -> Markup:
    badge = element("span", icon("search-off"), "Not in the documents", class_="badge badge-declined")
    closest = _sources(view, view.sources[:3], "Closest passages, judged too weak to answer from")
    return join(
        [
            render_steps(view.steps),
            render_queries(view.record),
            badge,
            element("div", markdown(view.content), class_="answer-text", dir="auto"),
            closest,
            _footer(view),
        ]
    )


def _claim_before(claims: Sequence[Claim], number: int, offset: int | None = None) -> Claim | None:
    """Return the last claim that rests on a passage and ends before `offset`; without an offset, the first one."""
    resting = [claim for claim in claims if claim.citation == number and claim.quote_end is not None]
    if offset is None:
        return resting[0] if resting else None
    return max((claim for claim in resting if claim.start < offset), key=lambda claim: claim.end, default=None)


def _citation(source: Source, claim: Claim | None) -> Markup:
    where = ", ".join(filter(None, [source.document_name, f"page {source.page}" if source.page else ""]))
    label = f"Source {source.number}: {where}"
    return action("cite", source.number, class_="cite", title=where, aria_label=label, **_address(source, claim))


def _address(source: Source, claim: Claim | None) -> dict[str, object]:
    """Return the data attributes by which the reader finds a passage; it authorizes them anew."""
    return {
        "data_document": source.document_id,
        "data_start": source.start,
        "data_end": source.end,
        "data_sha": source.document_sha256,
        "data_quote_start": claim.quote_start if claim else None,
        "data_quote_end": claim.quote_end if claim else None,
        "data_number": source.number,
    }


def _sources(view: AnswerView, sources: Sequence[Source], title: str) -> Markup | None:
    if not sources:
        return None
    rows = [
        element(
            "li",
            _source(source, _claim_before(view.claims, source.number)),
            _marks(view, source) if view.id else None,
        )
        for source in sources
    ]
    return element("section", element("h4", title), element("ol", *rows), class_="sources")


def _source(source: Source, claim: Claim | None) -> Markup:
    where = " · ".join(filter(None, [f"Page {source.page}" if source.page else "", _section(source)]))
    label = join(
        [
            element("span", source.number, class_="source-number", aria_hidden="true"),
            element(
                "span",
                element("span", source.document_name, class_="source-name"),
                element("span", where, class_="source-where") if where else None,
                element("span", _quote(source, claim), class_="source-quote", dir="auto") if source.text else None,
                class_="source-body",
            ),
        ]
    )
    return action("cite", label, class_="source", **_address(source, claim))


def _marks(view: AnswerView, source: Source) -> Markup:
    """Return the buttons that say of a source whether it is relevant, from which search is measured and improved."""
    return element(
        "span",
        _mark(view, source, 1, "thumb-up", "Relevant to the question"),
        _mark(view, source, -1, "thumb-down", "Not relevant to the question"),
        class_="source-marks",
    )


def _mark(view: AnswerView, source: Source, mark: int, name: str, title: str) -> Markup:
    chosen = view.marks.get(source.number) == mark
    return action(
        "mark",
        icon(name),
        class_="icon-button chosen" if chosen else "icon-button",
        aria_label=f"Source {source.number}: {title.lower()}",
        aria_pressed="true" if chosen else "false",
        title=title,
        data_answer=view.id,
        data_number=source.number,
        data_mark=0 if chosen else mark,
    )


def _section(source: Source) -> str:
    """Return the innermost heading that the passage stands under, when it says more than the document's name."""
    parts = [part.strip() for line in source.context.splitlines() for part in line.split(" > ") if part.strip()]
    return parts[-1] if len(parts) > 1 else ""


def _quote(source: Source, claim: Claim | None) -> str:
    """Return the words that support the answer, or the passage's first ones."""
    quoted = claim.quote_start if claim and claim.quote_start is not None else source.start
    start = min(max(0, quoted - source.start), len(source.text))
    words = flat(source.text[start:])
    cut = words[:_QUOTE_CHARS].rstrip() + "…" if len(words) > _QUOTE_CHARS else words
    return f"“{cut}”"


def _note(words: str) -> Markup:
    return element("p", words, class_="note")


def _legend() -> Markup:
    sample = element("span", "Dotted", class_="unsupported")
    return element("p", sample, " sentences are not backed by a passage: check them.", class_="note")


def _footer(view: AnswerView) -> Markup:
    parts: list[Markup] = [
        element("button", icon("copy"), type="button", class_="icon-button", data_copy=True, aria_label="Copy answer")
    ]
    if view.id:
        parts += [_thumb(view, 1, "thumb-up", "Good answer"), _thumb(view, -1, "thumb-down", "Bad answer")]
    bar = element("div", *parts, class_="answer-actions")
    comment = _comment_form(view) if view.id and view.rating == -1 else None
    return element(
        "footer", bar, comment, render_provenance(view.record) if view.record else None, class_="answer-footer"
    )


def _thumb(view: AnswerView, rating: int, name: str, label: str) -> Markup:
    chosen = view.rating == rating
    return action(
        "rate",
        icon(name),
        class_="icon-button chosen" if chosen else "icon-button",
        aria_label=label,
        aria_pressed="true" if chosen else "false",
        title=label,
        data_answer=view.id,
        data_rating=0 if chosen else rating,
    )


def _comment_form(view: AnswerView) -> Markup:
    name = f"comment-{view.id}"
    return element(
        "form",
        element("label", "What was wrong? (optional)", for_=name),
        element("textarea", name="comment", id=name, rows=2, maxlength=2000),
        element("button", "Send", type="submit", class_="button small"),
        class_="comment",
        data_event="comment",
        data_answer=view.id,
    )
