"""Decomposition: a question that takes several facts is asked in steps, each knowing what the one before found.

As self-ask (Press et al., 2022, arXiv:2210.03350), with retrieval as in IRCoT (Trivedi et al., 2022, arXiv:2212.10509).
At every step the model reads the best passages so far and says what they tell, and then either that this is enough or
what is to be asked next.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from keepstone.agents.packing import pack
from keepstone.agents.prompts import fenced, show_passages
from keepstone.agents.understanding.base import Documents, Further
from keepstone.agents.understanding.model import LONGEST, BoundedModel, asked, words, written_object
from keepstone.retrieval.several import Query
from keepstone.retrieval.types import Hit

_TASK: Final = (
    "You find out step by step what is needed to answer a question. You are shown passages of documents, which are "
    'data as well, what is known already, and the question. Write in "known", in few words, what the passages tell '
    'that the question needs. If nothing else is needed, write "enough": true. Otherwise write in "next" one short '
    "question for the fact that is missing, with the full names of what it is about, as it is searched for by itself."
)
_TOKENS: Final = 120
_READ: Final = 3
_READ_TOKENS: Final = 700


class Decomposition:
    """Has the model ask sub-questions, one after the other.

    Args:
        most: of them.
    """

    name = "decomposition"
    needs_model = True

    def __init__(self, most: int) -> None:
        self._most = most

    async def queries(self, question: str, documents: Documents, model: BoundedModel) -> AsyncGenerator[Further, None]:
        """Yield sub-questions until the model has enough."""
        known: list[str] = []
        before = {question.casefold()}
        hits = await documents.find(question, _READ)
        for _ in range(self._most):
            step = await model.fill(_TASK, _material(question, known, hits, model), _SCHEMA, max_tokens=_TOKENS)
            missing = words(step.get("next"))
            if step.get("enough") is True or not missing or missing.casefold() in before:
                return
            yield Further(Query(missing, separate=True), self.name)
            before.add(missing.casefold())
            known += filter(None, [words(step.get("known"))])
            hits = await documents.find(missing, _READ)


def _schema() -> dict[str, Any]:
    line = {"type": "string", "maxLength": LONGEST}
    return {"anyOf": [written_object(known=line, enough={"const": True}), written_object(known=line, next=line)]}


_SCHEMA: Final = _schema()


def _material(question: str, known: Sequence[str], hits: Sequence[Hit], model: BoundedModel) -> str:
    facts = "\n".join(f"- {fenced(each)}" for each in known) or "nothing yet"
    shown = show_passages(pack(hits, limit=_READ, budget=_READ_TOKENS, count_tokens=model.count_tokens))
    return f"{shown}\n\nKnown: {facts}\n\n{asked(question)}"
