"""Cross-language search: a question in one language, documents in another, and an encoder that does not know both.

Words of the question then stand in no document, and meaning cannot help: so the question is asked in the language of
the documents as well. A multilingual encoder needs none of this.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Final

from keepstone.agents.understanding.base import Documents, Further
from keepstone.agents.understanding.model import BoundedModel, Unusable, asked, words
from keepstone.retrieval.encoder import Encoder, knows_language
from keepstone.retrieval.language import detect_language
from keepstone.retrieval.several import Query

_NAMES: Final = {
    "ar": "Arabic",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "pt": "Portuguese",
    "ru": "Russian",
    "zh": "Chinese",
}
_TASK: Final = "Translate the question into {language}. Keep names and numbers. Write only the translation."
_TOKENS: Final = 120
_LEAST_SHARE: Final = 0.2
_WEIGHT_ALONE: Final = 20.0


class Translation:
    """Has the model translate the question into the language that most documents are in.

    Args:
        encoder: whose languages count.
    """

    name = "translation"
    needs_model = True

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    async def queries(self, question: str, documents: Documents, model: BoundedModel) -> AsyncGenerator[Further, None]:
        """Yield the translated question."""
        language = detect_language(question)
        if language is None:
            return
        there = await documents.languages()
        target = bridge(language, there, self._encoder)
        if target is None:
            return
        task = _TASK.format(language=_NAMES[target])
        translated = words(await model.write(task, asked(question), max_tokens=_TOKENS))
        if detect_language(translated) not in (target, None):
            raise Unusable("the wrong language")
        yield across(translated, language, there, self.name)


def bridge(language: str, there: Mapping[str, int], encoder: Encoder) -> str | None:
    """Return the commonest language of the documents that a question in another one cannot reach, if there is one.

    Args:
        language: of the question.
        there: how many documents are in each language.
        encoder: meaning reaches from one language that it knows to another.
    """
    reached = {language}
    if knows_language(encoder, language):
        reached |= {each for each in there if knows_language(encoder, each)}
    others = [each for each in there if each in _NAMES and each not in reached]
    best = max(others, key=lambda each: there[each], default=None)
    return best if best and there[best] >= _LEAST_SHARE * sum(there.values()) else None


def across(text: str, language: str, there: Mapping[str, int], technique: str) -> Further:
    """Return the query that asks a question in the documents' language.

    Where documents are in the question's own language too, each of both finds passages of its own, those of equal rank
    stand beside each other, and evidence is weighed by the question.

    Args:
        text: of the query.
        language: of the question.
        there: how many documents are in each language.
        technique: that made the text.
    """
    alone = not there.get(language)
    query = Query(text, weight=_WEIGHT_ALONE) if alone else Query(text, separate=True)
    return Further(query, technique, speaks=alone)
