"""The settings of query understanding; `settings` has the whole tree."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from keepstone.platform.model_settings import Section

UnderstandingTechnique = Literal[
    "comparison", "dictionary", "rewriting", "multi_query", "hyde", "decomposition", "translation"
]


class UnderstandingSettings(Section):
    """What is made of a question before it is searched for."""

    intent: Literal["off", "rules", "model"] = "rules"
    """What tells small talk, which is answered without a search, and questions for all of a kind or about two things,
    for which more passages are read. `rules`: their words. `model`: the language model, if large enough to write."""
    techniques: tuple[UnderstandingTechnique, ...] = ("dictionary",)
    """What else is searched for. `comparison`: either side of a comparison. `dictionary`: the English meanings of a
    Chinese question's words, where the encoder knows no Chinese. By a language model that is large enough to write:
    `rewriting`, the question with its spelling corrected; `multi_query`, in other words; `hyde`, with a supposed
    answer; `decomposition`, sub-questions, one after the other; `translation`, in the documents' language where the
    encoder does not know both."""
    paraphrases: int = Field(default=3, ge=1, le=8)
    """How often `multi_query` puts a question in other words."""
    sub_questions: int = Field(default=3, ge=1, le=8)
    """How many sub-questions `decomposition` may ask."""
    max_tokens: int = Field(default=600, ge=32)
    """Most tokens that the language model writes for each technique and question."""
    max_seconds: float = Field(default=20, gt=0)
    """How long the techniques, which work at the same time, may take; what they made by then counts."""
