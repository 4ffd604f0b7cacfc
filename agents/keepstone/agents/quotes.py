"""Finding the sentences that may answer a question, for models too small to write an answer of their own.

Such a model is asked which of these sentences are needed, and can do nothing else (`grammars.choosing_grammar`): the
answer is always a true quotation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keepstone.agents.sentences import plain, sentence_spans
from keepstone.agents.support import Evidence
from keepstone.agents.types import Passage
from keepstone.retrieval.analysis import tokens
from keepstone.retrieval.encoder import Encoder

_LONGEST = 400
_COMPLETE = re.compile(r"[.!?;。！？；][\"'”’)」]*\Z|\A\s*(?:\||[-*+•]\s|\d{1,3}[.)]\s)")
_HEADING = re.compile(r"#{1,6}\s")
_TABLE_HEAD = re.compile(r"\|[^\n]*\n\s*\|[\s|:-]+(?:\n|\Z)")
_SHORTEST_WORDS = 3
_MOST = 2
_CLOSE = 1.0
"""How far behind the best quote another one may be, in standard deviations of the candidates' scores."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A sentence of a passage that may be the answer."""

    number: int
    """The passage's number."""
    text: str
    """The sentence without Markdown marks."""
    start: int
    end: int
    """Its characters in the document."""
    score: float


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a packed passage."""

    passage: Passage
    start: int
    end: int
    """Its characters in the passage's text."""
    text: str
    """Without Markdown marks."""


@dataclass(frozen=True, slots=True)
class ReadSentences:
    """What can be quoted, and how near it is to the question."""

    sentences: tuple[Sentence, ...]
    cosines: NDArray[np.float32] | None
    """Of the question and each sentence, shape (n,); None where meaning has no say, or there is no sentence."""


def read_sentences(
    question: str, passages: Sequence[Passage], encoder: Encoder, *, dense_weight: float
) -> ReadSentences:
    """Return the sentences of the passages, or the whole passages where none is worth quoting.

    Args:
        question: the standalone question.
        passages: where to look.
        encoder: compares meanings.
        dense_weight: 0 to 1, weight of meaning against words, as in the search that found the passages.
    """
    sentences = tuple(quotable(passages) or map(_whole, passages))
    if not sentences or dense_weight <= 0:
        return ReadSentences(sentences, None)
    vectors = encoder.encode_documents([each.text for each in sentences])
    return ReadSentences(sentences, vectors @ encoder.encode_query(question))


def find_quotes(question: str, passages: Sequence[Passage], read: ReadSentences, *, dense_weight: float) -> list[Quote]:
    """Return the sentence nearest to the question, and the next one where it is nearly as near.

    Args:
        question: the standalone question.
        passages: those that were read.
        read: their sentences.
        dense_weight: as for `read_sentences`.
    """
    sentences = read.sentences
    if not sentences:
        return []
    lexical = _standardised(_word_overlap(question, sentences, passages))
    search = _standardised(np.array([each.passage.hit.score for each in sentences]))
    scores = (1 - dense_weight) * lexical + 0.5 * search
    if read.cosines is not None:
        scores = scores + dense_weight * _standardised(read.cosines)
    order = np.argsort(-scores, kind="stable")
    close = [int(i) for i in order if scores[i] >= scores[order[0]] - _CLOSE]
    distinct: dict[str, int] = {}
    for i in close:
        distinct.setdefault(sentences[i].text, i)
    return [_quote(sentences[i], float(scores[i])) for i in list(distinct.values())[:_MOST]]


def quotable(passages: Sequence[Passage]) -> list[Sentence]:
    """Return what can be an answer by itself: whole sentences, table rows and list items of some length."""
    return [
        Sentence(passage, start, end, plain(passage.text[start:end]))
        for passage in passages
        for start, end in sentence_spans(passage.text)
        if _worth_quoting(passage, start, end)
    ]


def _whole(passage: Passage) -> Sentence:
    return Sentence(passage, 0, len(passage.text), plain(passage.text))


def _quote(sentence: Sentence, score: float) -> Quote:
    offset = sentence.passage.hit.start
    return Quote(sentence.passage.number, sentence.text, offset + sentence.start, offset + sentence.end, score)


def _worth_quoting(passage: Passage, start: int, end: int) -> bool:
    """Tell whether a piece of text can be an answer: a whole sentence, table row or list item of some length.

    Questions, headings and the heads of tables cannot.
    """
    sentence = passage.text[start:end]
    spoken = plain(sentence)
    return bool(
        end - start <= _LONGEST
        and _COMPLETE.search(sentence)
        and not spoken.endswith(("?", "？"))
        and not (_HEADING.match(sentence) or _is_shouted(spoken) or spoken in passage.hit.context)
        and not _TABLE_HEAD.match(passage.text, start)
        and len(set(tokens(spoken))) >= _SHORTEST_WORDS
    )


def _is_shouted(text: str) -> bool:
    """Tell whether most letters are capitals, as in headings of plain text; Chinese has none."""
    return 2 * sum(letter.isupper() for letter in text) > sum(letter.isalpha() for letter in text)


def _word_overlap(question: str, sentences: Sequence[Sentence], passages: Sequence[Passage]) -> np.ndarray:
    evidence = Evidence(passages)
    asked = set(tokens(question))
    scores = []
    for each in sentences:
        own = set(tokens(each.text))
        context = set(tokens(each.passage.hit.context)) - own
        scores.append(
            sum(evidence.weight(word) for word in sorted(asked & own))
            + 0.5 * sum(evidence.weight(word) for word in sorted(asked & context))
        )
    return np.array(scores)


def _standardised(values: np.ndarray) -> np.ndarray:
    spread = float(values.std())
    return (values - values.mean()) / spread if spread > 1e-9 else np.zeros_like(values)
