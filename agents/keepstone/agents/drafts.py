"""An answer in the making: what is known of it from the search until its record is stored."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from keepstone.agents.evidence import Signs
from keepstone.agents.quotes import ReadSentences
from keepstone.agents.types import AnsweringModel, Claim, Findings, Outcome, Passage
from keepstone.agents.understanding.understanding import Understood
from keepstone.platform.access import Principal
from keepstone.retrieval.search import SearchResult

_DECLINED: Final = {
    "zh": "文档中没有找到这个问题的答案。",
    "en": "I could not find this in the documents.",
}

NOT_SEARCHED: Final = SearchResult(
    hits=(),
    query_language=None,
    dense_weight=0.0,
    timings={},
    index_seq={},
    encoders={},
    reranker=None,
    explanations=(),
)
"""The result of small talk."""


@dataclass(slots=True)
class Draft:
    """An answer in the making."""

    principal: Principal
    question: str
    standalone: str
    result: SearchResult
    passages: tuple[Passage, ...]
    read: ReadSentences
    signs: Signs
    evidence: float
    threshold: float
    started: float
    findings: Findings
    answer_id: str
    model: AnsweringModel
    """The one that writes it; until it begins to, the one that would."""
    understood: Understood
    reply: str = ""
    """What is said without any documents; empty where they are asked."""
    instructions: str = ""
    content: str = ""
    claims: list[Claim] = field(default_factory=list)
    outcome: Outcome = "stopped"
    refused: bool = False
    """Whether the model said that the passages do not hold the answer."""
    timings: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int | None] = field(default_factory=dict)
    finish_reason: str | None = None
    """Why the model stopped writing: `length` where the token budget cut the answer; None where it wrote nothing."""
    keep: bool = True
    """Whether the answer is to be stored."""

    def clock(self, stage: str) -> None:
        """Note the milliseconds since the question came."""
        self.timings.setdefault(stage, round((time.perf_counter() - self.started) * 1000, 1))

    def decline(self) -> str:
        """Make the answer, and return it, that the documents do not hold one."""
        self.content = _DECLINED["zh" if self.result.query_language == "zh" else "en"]
        self.outcome = "declined"
        return self.content
