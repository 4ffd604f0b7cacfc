"""What one ranking and one answer are worth, each a number from 0 to 1.

Rankings: nDCG (Järvelin and Kekäläinen, 2002), average precision, recall and reciprocal rank, as trec_eval counts them.
Answers: exact match and F1 as in SQuAD (Rajpurkar et al., 2016), with the tokens of MLQA (Lewis et al., 2020): words,
but single characters where a script does not part its words.
"""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

_Id = TypeVar("_Id", bound=Hashable)
_ARTICLES = {
    "en": re.compile(r"\b(a|an|the)\b"),
    "de": re.compile(r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b"),
    "es": re.compile(r"\b(un|una|unos|unas|el|la|los|las)\b"),
}
_TOKEN = re.compile(
    "[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\\s\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)


def ndcg(ranked: Sequence[int], relevant: Collection[int], k: int) -> float:
    """Return the discounted gain of the first `k`, as a share of what the best order would have.

    Args:
        ranked: ids, best first.
        relevant: ids of what answers; at least one.
        k: how many count.
    """
    gain = sum(1 / math.log2(place + 2) for place, each in enumerate(ranked[:k]) if each in relevant)
    return gain / sum(1 / math.log2(place + 2) for place in range(min(k, len(relevant))))


def graded_ndcg(ranked: Sequence[_Id], grades: Mapping[_Id, int], k: int) -> float:
    """Return nDCG where what is relevant is so to a degree; the gain is the grade, as in trec_eval.

    Args:
        ranked: ids, best first.
        grades: by ids; at least one above 0. What is not there, or below 0, gains nothing.
        k: how many count.
    """
    gains = [max(grades.get(each, 0), 0) for each in ranked[:k]]
    best = sorted((grade for grade in grades.values() if grade > 0), reverse=True)[:k]
    return _discounted(gains) / _discounted(best)


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))


def average_precision(ranked: Sequence[_Id], relevant: Collection[_Id], k: int) -> float:
    """Return the mean over the relevant of the precision at their places among the first `k`, 0 for those behind."""
    found, total = 0, 0.0
    for place, each in enumerate(ranked[:k], start=1):
        if each in relevant:
            found += 1
            total += found / place
    return total / len(relevant)


def recall(ranked: Sequence[_Id], relevant: Collection[_Id], k: int) -> float:
    """Return the share of the relevant that is among the first `k`."""
    return len(set(ranked[:k]).intersection(relevant)) / len(relevant)


def reciprocal_rank(ranked: Sequence[_Id], relevant: Collection[_Id], k: int) -> float:
    """Return 1 divided by the place of the first relevant among the first `k`, 0 where there is none."""
    return next((1 / (place + 1) for place, each in enumerate(ranked[:k]) if each in relevant), 0.0)


def exact_match(answer: str, expected: str, language: str | None = "en") -> float:
    """Return 1 if the answers are the same but for case, punctuation and articles, else 0."""
    return float(answer_tokens(answer, language) == answer_tokens(expected, language))


def token_f1(answer: str, expected: str, language: str | None = "en") -> float:
    """Return the harmonic mean of the shares of tokens that the answers have in common.

    Where one of them has no token, they are as good as they are equal.
    """
    given, wanted = answer_tokens(answer, language), answer_tokens(expected, language)
    if not given or not wanted:
        return float(given == wanted)
    common = (Counter(given) & Counter(wanted)).total()
    return 2 * common / (len(given) + len(wanted))


def answer_tokens(text: str, language: str | None = "en") -> list[str]:
    """Return the tokens by which answers are compared.

    Args:
        text: the answer.
        language: whose articles do not count; of one that is not known, all words do.
    """
    bare = "".join(letter for letter in text.lower() if not _is_punctuation(letter))
    articles = _ARTICLES.get(language or "")
    return _TOKEN.findall(articles.sub(" ", bare) if articles else bare)


@lru_cache(maxsize=4096)
def _is_punctuation(letter: str) -> bool:
    return letter in string.punctuation or unicodedata.category(letter).startswith("P")
