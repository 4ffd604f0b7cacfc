"""What a search found as HTML: passages around the words that were looked for, with their scores of every stage."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from typing import Final

from keepstone.retrieval.analysis import tokens
from keepstone.retrieval.explain import Explanation, Place
from keepstone.retrieval.search import SearchResult
from keepstone.retrieval.types import Hit
from keepstone.training.relevance import Relevant
from keepstone.ui.web.markup import Markup, action, element, flat, icon, join

EXCERPT_CHARS: Final = 420
# So much of a long passage is looked through for words.
_READ_CHARS: Final = 8_000
_MOST_TERMS: Final = 128
_BEFORE: Final = 60
# Scripts that write words without blanks, more or less; Latin and Greek letters with accents lie between.
_UNSPACED: Final = "\u0e00-\u1dff\u2e80-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
_RUN: Final = re.compile(f"[{_UNSPACED}]+")
_WORD: Final = re.compile(f"[{_UNSPACED}]+|[^\\W_{_UNSPACED}]+")
_STAGES: Final = {
    "dense": "By meaning (cosine)",
    "lexical": "By words (BM25)",
    "fused": "By both",
    "regularised": "Drawn to passages beside it and like it",
    "faded": "Less for its age",
    "rerank": "By the reranker",
    "final": "In the end",
}

Marks = Mapping[str, Sequence[Relevant]]
"""What is relevant to the question, by the id of each collection that the caller may judge."""


def render_welcome() -> Markup:
    """Return what stands there before anything was looked for."""
    words = "See which passages search finds for a question, best first, and why."
    return element("div", element("p", words), element("p", "No language model is needed."), class_="empty-state")


def render_found(query: str, result: SearchResult, marks: Marks) -> Markup:
    """Return the passages, best first."""
    if not result.hits:
        words, hint = "Nothing was found.", "Ask in other words, or add documents."
        return element("div", element("p", words), element("p", hint), class_="empty-state", role="status")
    terms = searched_terms(query)
    explained = {each.chunk_id: each for each in result.explanations}
    rows = [
        element(
            "li",
            _passage(number, hit, terms),
            element(
                "footer",
                _mark(number, hit, query, marks[hit.collection_id]) if hit.collection_id in marks else None,
                _explanation(explained[hit.chunk_id]) if hit.chunk_id in explained else None,
                class_="answer-footer",
            ),
        )
        for number, hit in enumerate(result.hits, 1)
    ]
    hint = join(
        ["Passages that you mark as relevant are what ", element("code", "keepstone eval retrieval"), " asks for."]
    )
    return element(
        "section",
        element("p", _facts(result), class_="facts", role="status"),
        element("ol", *rows),
        element("p", hint, class_="note") if marks else None,
        class_="sources results",
    )


def searched_terms(query: str) -> frozenset[str]:
    """Return what is looked for among the words of passages; of a very long query its beginning, as search does."""
    return frozenset(islice(dict.fromkeys(tokens(query)), _MOST_TERMS))


def excerpt(text: str, terms: frozenset[str]) -> Markup:
    """Return the part of a passage that holds most of the words that were looked for, with these marked."""
    words = flat(text[:_READ_CHARS])
    found = list(_matches(words, terms))
    start = _start(words, [at for at, _ in found])
    end = start + EXCERPT_CHARS
    if end < len(words):
        blank = words.rfind(" ", end - _BEFORE, end)
        end = blank if blank >= 0 else end
    parts: list[object] = ["…" if start else None]
    position = start
    for first, last in found:
        if position <= first and last <= end:
            parts += [words[position:first], element("mark", words[first:last], class_="passage")]
            position = last
    return join([*parts, words[position:end], "…" if end < len(words) or len(text) > _READ_CHARS else None])


def _matches(words: str, terms: frozenset[str]) -> Iterator[tuple[int, int]]:
    """Yield where the words stand that search takes for the same."""
    unspaced = sorted(filter(_RUN.match, terms), key=len, reverse=True)
    # A single character says little beside words.
    unspaced = [term for term in unspaced if len(term) > 1] or unspaced
    inside = re.compile("|".join(map(re.escape, unspaced))) if unspaced else None
    for word in _WORD.finditer(words):
        if not _RUN.match(word.group()):
            if not terms.isdisjoint(tokens(word.group())):
                yield word.span()
        elif inside:
            yield from (found.span() for found in inside.finditer(words, *word.span()))


def _start(words: str, found: Sequence[int]) -> int:
    """Return where the excerpt begins: at a word, a little before the densest of the matches."""
    if len(words) <= EXCERPT_CHARS or not found:
        return 0
    room = EXCERPT_CHARS - 2 * _BEFORE
    counts = [bisect_left(found, first + room) - at for at, first in enumerate(found)]
    densest = found[counts.index(max(counts))]
    start = max(0, min(densest - _BEFORE, len(words) - EXCERPT_CHARS))
    blank = words.find(" ", start, densest)
    return blank + 1 if start and blank >= 0 else start


def _passage(number: int, hit: Hit, terms: frozenset[str]) -> Markup:
    where = " · ".join(filter(None, [f"Page {hit.page}" if hit.page else "", _headings(hit)]))
    score = element("span", f"{hit.score:.2f}", class_="source-where", title="Score, to be compared in this list only")
    label = join(
        [
            element("span", number, class_="source-number", aria_hidden="true"),
            element(
                "span",
                element("span", hit.document_name, class_="source-name", dir="auto"),
                element("span", where, class_="source-where", dir="auto") if where else None,
                element("span", excerpt(hit.text, terms), class_="source-quote", dir="auto"),
                class_="source-body",
            ),
            score,
        ]
    )
    return action(
        "cite",
        label,
        class_="source",
        data_document=hit.document_id,
        data_start=hit.start,
        data_end=hit.end,
        data_sha=hit.document_sha256,
        data_number=number,
    )


def _headings(hit: Hit) -> str:
    """Return the headings that the passage stands under, outermost first."""
    return " › ".join(part.strip() for line in hit.context.splitlines() for part in line.split(" > ") if part.strip())


def _mark(number: int, hit: Hit, query: str, relevant: Sequence[Relevant]) -> Markup:
    covering = [each for each in relevant if each.covers(hit)]
    whole = any(each.is_whole for each in covering)
    return action(
        "mark",
        join([icon("thumb-up"), "Relevant"]),
        class_="button small quiet chosen" if covering else "button small quiet",
        aria_label=f"Passage {number}: relevant to the question",
        aria_pressed="true" if covering else "false",
        data_chunk=hit.chunk_id,
        data_query=query,
        data_relevant="no" if covering else "yes",
        data_confirm=f"All of “{hit.document_name}” was judged relevant. Take that back?" if whole else None,
        data_confirm_label="Take back" if whole else None,
    )


def _explanation(explanation: Explanation) -> Markup:
    rows: list[Markup] = []
    before: Place | None = None
    for stage in (each.name for each in fields(explanation) if each.name in _STAGES):
        place: Place = getattr(explanation, stage)
        if place.score is not None and (stage == "final" or place != before):
            told = f"{place.score:.3f}" + (f", place {place.rank}" if place.rank else "")
            rows.append(element("div", element("dt", _STAGES[stage]), element("dd", told)))
        before = place
    return element("details", element("summary", "Why here?"), element("dl", *rows), class_="provenance")


def _facts(result: SearchResult) -> str:
    count = len(result.hits)
    facts = [
        f"{count} passage{'s' if count != 1 else ''}",
        f"{sum(result.timings.values()):,.0f} ms",
        f"meaning {result.dense_weight:.0%}, words {1 - result.dense_weight:.0%}",
        f"reranked by {result.reranker}" if result.reranker else "",
    ]
    return " · ".join(filter(None, facts))
