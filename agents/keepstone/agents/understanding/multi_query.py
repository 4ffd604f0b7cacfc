"""Multi-query: the question in other words, several times, all searched for and fused.

As RAG-Fusion (Rackauckas, 2024, arXiv:2402.03367).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from keepstone.agents.understanding.base import Documents, Further
from keepstone.agents.understanding.model import LONGEST, BoundedModel, Unusable, asked, words, written_object
from keepstone.retrieval.several import Query

_TASK: Final = (
    "Write search queries that ask the same as the question in other words: synonyms, other spellings, the terms that "
    "documents would use. Keep names, numbers and the language."
)
_TOKENS_EACH: Final = 48


class MultiQuery:
    """Has the model put the question in other words.

    Args:
        count: how often. Together they weigh as much as the question.
    """

    name = "multi_query"
    needs_model = True

    def __init__(self, count: int) -> None:
        self._count = count
        line = {"type": "string", "maxLength": LONGEST}
        self._schema = written_object(
            queries={"type": "array", "items": line, "minItems": count, "maxItems": count},
        )

    async def queries(self, question: str, documents: Documents, model: BoundedModel) -> AsyncGenerator[Further, None]:
        """Yield the question in other words."""
        del documents
        task = f"{_TASK} Write {self._count}."
        filled = await model.fill(task, asked(question), self._schema, max_tokens=_TOKENS_EACH * (self._count + 1))
        listed = filled.get("queries")
        if not isinstance(listed, list):
            raise Unusable("no list of queries")
        others = dict.fromkeys(words(each) for each in listed[: self._count])
        for text in others:
            if text and text.casefold() != question.casefold():
                yield Further(Query(text, weight=1 / self._count), self.name)
