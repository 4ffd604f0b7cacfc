"""Questions without a model, from the documents' own words; for language models too small to write good ones.

Three kinds stand in for what people ask:

`sentence`: a sentence, whose passage is to be found without it (the inverse cloze task of Lee, Chang and Toutanova,
    2019, "Latent Retrieval for Weakly Supervised Open Domain Question Answering"). For training only: in the real
    index the sentence itself stands in the passage.
`keywords`: rare words of a heading and of the sentence below it that tells most, as people type them into a search
    box.
`heading`: a heading with the document's title, whose passage is to be found without them.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from keepstone.agents.quotes import Sentence, quotable
from keepstone.retrieval.analysis import tokens
from keepstone.training.data.candidates import Candidate, Fault, as_passage
from keepstone.training.data.corpus import SourcePassage
from keepstone.training.data.rows import row_id

_SURFACE = re.compile(r"[^\W_]+(?:[-.'’][^\W_]+)*")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_KEYWORDS = (3, 6)
_HEADING_WORDS = 2
# What is left of a passage without its sentence must still say something, in characters of English.
_LEAST_LEFT = 80
_ANSWER_SENTENCES = 2


class Rarity:
    """How rare words are among passages: their inverse document frequency."""

    def __init__(self, passages: Iterable[SourcePassage]) -> None:
        self._frequency: Counter[str] = Counter()
        self._count = 0
        for passage in passages:
            self._frequency.update(set(tokens(passage.indexed_text)))
            self._count += 1

    def of(self, word: str) -> float:
        """Return the rarity of a search term; the highest for one that stands nowhere."""
        return math.log1p(self._count / (self._frequency[word] + 0.5))


def take_questions(source: SourcePassage, collection_id: str, rarity: Rarity, *, seed: int) -> list[Candidate | Fault]:
    """Return the questions that a passage gives by itself.

    Args:
        source: the passage.
        collection_id: of the passage.
        rarity: of words in the collection.
        seed: decides which sentences are taken.
    """
    passage = as_passage(source, collection_id)
    draw = random.Random(row_id(seed, source.document, source.start))  # noqa: S311 - to be repeatable, not secret
    sentences = list(quotable([passage]))
    draw.shuffle(sentences)
    found = [_keywords(source, sentences, rarity), _heading(source, quotable([passage]))]
    if source.side == "train":
        found.append(_sentence(source, sentences))
    candidates: list[Candidate | Fault] = [each for each in found if each is not None]
    return candidates or ["nothing_to_ask"]


def _sentence(source: SourcePassage, sentences: Sequence[Sentence]) -> Candidate | None:
    for each in sentences:
        rest = f"{source.text[: each.start].rstrip()}\n{source.text[each.end :].lstrip()}".strip()
        if _length(rest) < _LEAST_LEFT or each.text in rest:
            continue
        positive = f"{source.context}\n{rest}" if source.context else rest
        return Candidate("sentence", each.text, each.text, source, positive)
    return None


def _keywords(source: SourcePassage, sentences: Sequence[Sentence], rarity: Rarity) -> Candidate | None:
    """Return the telling words of the sentence that tells most, with what its heading adds."""
    heading = keywords(source.context.rpartition(" > ")[2], rarity, most=_HEADING_WORDS)
    best: tuple[float, str, list[str]] | None = None
    for each in sentences:
        words = keywords(each.text, rarity)
        told = {term for word in words for term in tokens(word)}
        words = [word for word in heading if not told.intersection(tokens(word))] + words
        weight = sum(_weight(word, rarity) for word in words)
        if len(words) >= _KEYWORDS[0] and (best is None or (weight, each.text) > best[:2]):
            best = weight, each.text, words
    return Candidate("keywords", " ".join(best[2]), best[1], source, source.indexed_text) if best else None


def keywords(text: str, rarity: Rarity, *, most: int | None = None) -> list[str]:
    """Return the words of a text that tell most, in its order: `most` of them, or else half, three to six."""
    spoken = [each for run in _SURFACE.findall(text) for each in (tokens(run) if _UNSPACED.search(run) else [run])]
    weights = {word: _weight(word, rarity) for word in dict.fromkeys(spoken) if _tells(word)}
    if most is None:
        most = min(_KEYWORDS[1], max(_KEYWORDS[0], len(weights) // 2))
    best = set(sorted(weights, key=lambda word: (-weights[word], word))[:most])
    return [word for word in weights if word in best]


def _tells(word: str) -> bool:
    """Tell whether a word can say what a question is about; digits alone can from four on, as in a year or model."""
    return bool(tokens(word)) and (
        len(word) > 3 or (len(word) > 1 and (word.isupper() or bool(_UNSPACED.search(word))))
    )


def _weight(word: str, rarity: Rarity) -> float:
    """Return how much a word tells: rare words more, and short ones of an alphabet, which are common ones, less."""
    rare = max(rarity.of(term) for term in tokens(word))
    return rare if _UNSPACED.search(word) or any(letter.isdigit() for letter in word) else rare * min(len(word), 8) / 8


def _heading(source: SourcePassage, sentences: Sequence[Sentence]) -> Candidate | None:
    """Return the heading that a passage begins with as a question; what stands below it is the answer."""
    first, _, body = source.text.strip().partition("\n")
    heading, body = first.lstrip("# ").strip(), body.strip()
    below = [each for each in sentences if heading not in each.text]
    if not first.startswith("#") or not heading or not below or _length(body) < _LEAST_LEFT:
        return None
    title = source.context.partition(" > ")[0].strip()
    question = f"{title}: {heading}" if title and title.casefold() != heading.casefold() else heading
    answer = " ".join(each.text for each in below[:_ANSWER_SENTENCES])
    return Candidate("heading", question, answer, source, body)


def _length(text: str) -> float:
    """Return the length of a text in characters of English, of which an unspaced script needs half or less."""
    return len(text) + len(_UNSPACED.findall(text))
