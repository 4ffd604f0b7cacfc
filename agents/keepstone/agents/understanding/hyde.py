"""HyDE: a passage that could answer, made up, lies nearer to the true one than the question does.

Gao et al., 2022, arXiv:2212.10496. Its vector is blended with that of the question; its words are not searched for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from keepstone.agents.understanding.base import Documents, Further
from keepstone.agents.understanding.model import BoundedModel, asked
from keepstone.retrieval.several import Query

_TASK: Final = (
    "Write a short passage, of two or three sentences, as it could stand in a document that answers the question. "
    "Write it in the language and in the style of such a document, without introduction."
)
_TOKENS: Final = 120


class Hyde:
    """Has the model make up a passage that answers."""

    name = "hyde"
    needs_model = True

    async def queries(self, question: str, documents: Documents, model: BoundedModel) -> AsyncGenerator[Further, None]:
        """Yield the question with a supposed answer, in the question's place."""
        del documents
        passage = await model.write(_TASK, asked(question), max_tokens=_TOKENS)
        yield Further(Query(question, supposed=passage), self.name, replaces=True)
