"""How strong the evidence for a question is, and below which strength the answer is "not in the documents".

Two signs are weighed. The lead is how far the best passage stands out from the field of the next ones, in standard
deviations of the fused score (a query performance predictor in the manner of NQC: Shtok et al., ACM TOIS 30(2), 2012):
a question that the documents answer has a passage of its own, one that they only touch finds many that are alike. The
likeness is the cosine of the question and the nearest sentence of the packed passages. A logistic regression makes
of them the probability that the answer stands in the passages.

The weights are fitted by `python -m benchmarks.abstention --fit`: on questions of XQuAD, CMRC 2018 and Chroma's
chunking evaluation, each once with the passages that hold its answer and once without them. On WikiQA, which had no
part in it and holds questions that nothing answers, they tell the two apart with an AUC of .79; the lead alone gives
.76.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType
from typing import Any, Final

from keepstone.agents.quotes import ReadSentences, read_sentences
from keepstone.agents.types import Passage
from keepstone.retrieval.encoder import Encoder, knows_language
from keepstone.retrieval.search import SearchResult
from keepstone.retrieval.types import Hit

ABSTAIN_BELOW: Final = 0.138
"""Fitted by `python -m benchmarks.abstention` on the train half of the example questions."""
HITS_NEEDED: Final = 20
"""How many hits the lead wants to see."""
SEARCHED_WITH: Final[Mapping[str, Any]] = MappingProxyType({"regularisation": 0.0})
"""Options of the search for passages to answer from: that those around a passage and like it fit a question tells what
it is about, and not that the answer stands in it."""
_FIELD_FROM = 5
_FEWEST = 8
_LEAST_COSINE = 0.25


@dataclass(frozen=True, slots=True)
class Signs:
    """What tells whether the passages hold the answer."""

    lead: float | None
    """Standard deviations of the fused score; None with too few hits for a field."""
    likeness: float | None
    """Cosine; None where meaning had no say."""
    alike: bool
    """Whether any passage has anything in common with the question."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Of the logistic regression."""

    lead: float
    likeness: float
    constant: float


BY_WORDS: Final = Weights(lead=1.65, likeness=0.0, constant=-6.33)
"""Where the encoder does not know the question's language."""
BY_MEANING: Final = Weights(lead=1.01, likeness=0.0, constant=-2.74)
"""For encoders whose cosines have not been measured: each has a range of its own."""
BY_LIKENESS: Final = {"all-minilm-l6-v2": Weights(lead=0.97, likeness=6.84, constant=-6.87)}
"""For encoders by name."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """The evidence for a question."""

    read: ReadSentences
    signs: Signs
    strength: float
    """Probability, 0 to 1, that the answer stands in the passages."""


def weigh(question: str, result: SearchResult, passages: Sequence[Passage], encoder: Encoder) -> Weighed:
    """Weigh the evidence for a question.

    Args:
        question: the standalone question.
        result: what search found, at least `HITS_NEEDED` hits where there are so many passages.
        passages: those that were packed.
        encoder: reads their sentences, whichever encoder found them.
    """
    # A collection's own encoder may know languages that this one does not.
    weight = result.dense_weight if knows_language(encoder, result.query_language) else 0.0
    read = read_sentences(question, passages, encoder, dense_weight=weight)
    signs = read_signs(result.hits, read)
    return Weighed(read, signs, evidence_strength(signs, encoder.version))


def read_signs(hits: Sequence[Hit], read: ReadSentences) -> Signs:
    """Return the signs for a question.

    Args:
        hits: best first, at least `HITS_NEEDED` where the collection has so many passages.
        read: the sentences of the passages that were packed.
    """
    alike = any((hit.lexical_score or 0.0) > 0 or (hit.dense_score or 0.0) >= _LEAST_COSINE for hit in hits)
    if len(hits) < _FEWEST:
        return Signs(None, None, alike)
    fused = sorted((hit.fused_score for hit in hits), reverse=True)
    lead = fused[0] - fmean(fused[_FIELD_FROM:HITS_NEEDED])
    likeness = None if read.cosines is None else float(read.cosines.max())
    return Signs(lead, likeness, alike)


def evidence_strength(signs: Signs, encoder: str) -> float:
    """Return the probability, 0 to 1, that the answer stands in the passages.

    With too few passages for a field, all that can be told is whether there is any likeness at all: 1 if so, else 0.

    Args:
        signs: as `read_signs` gives them.
        encoder: name or version of the encoder.
    """
    if signs.lead is None:
        return 1.0 if signs.alike else 0.0
    weights = BY_WORDS if signs.likeness is None else BY_LIKENESS.get(encoder.partition("@")[0], BY_MEANING)
    logit = weights.lead * signs.lead + weights.likeness * (signs.likeness or 0.0) + weights.constant
    return 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, logit))))
