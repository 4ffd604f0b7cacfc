"""From a question to what is searched for: its intent, and the queries that the techniques add to it.

understood = await Understanding(engine, model, encoder, settings).understand("filter change AF-200", documents)
search_several(searcher, documents.scope(), understood.queries, k=20)

All techniques work at once, each within a budget of tokens and of time. Whatever goes wrong with one, the question
itself is searched for; what became of each stands in the record.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import structlog

from keepstone.agents.types import AnsweringModel
from keepstone.agents.understanding.base import Documents, Further, Intent, Technique
from keepstone.agents.understanding.comparison import Comparison
from keepstone.agents.understanding.decomposition import Decomposition
from keepstone.agents.understanding.dictionary import Dictionary
from keepstone.agents.understanding.hyde import Hyde
from keepstone.agents.understanding.intent import intent_by_model, intent_by_rules
from keepstone.agents.understanding.model import UNDERSTANDING_PROMPTS, BoundedModel, Unusable
from keepstone.agents.understanding.multi_query import MultiQuery
from keepstone.agents.understanding.rewriting import Rewriting
from keepstone.agents.understanding.smalltalk import is_small_talk
from keepstone.agents.understanding.translation import Translation
from keepstone.platform.errors import KeepstoneError
from keepstone.platform.serving.engine import Engine
from keepstone.platform.understanding_settings import UnderstandingSettings
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.several import Query

Outcome = Literal["used", "nothing", "model_too_small", "too_slow", "unusable", "failed"]
"""`nothing`: it had nothing to add. `unusable`: the model wrote what cannot be used."""
# Who writes that much does not need to be understood better.
_LONGEST: Final = 1000
_INTENT: Final = "intent"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Understood:
    """What was made of a question."""

    question: str
    intent: Intent = "search"
    further: tuple[Further, ...] = ()
    """Queries besides the question."""
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    """What became of each technique."""
    tokens: Mapping[str, int] = field(default_factory=dict)
    """That the model read and wrote for each."""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds of each; they work at the same time."""

    @property
    def queries(self) -> tuple[Query, ...]:
        """All that is to be searched for, the question itself first."""
        weight = 0.0 if any(each.replaces for each in self.further) else 1.0
        return (Query(self.question, weight=weight), *(each.query for each in self.further))

    @property
    def speaker(self) -> int:
        """Which of the queries evidence is to be weighed by: that which says it in the documents' own way."""
        return next((at for at, each in enumerate(self.further, 1) if each.speaks), 0)

    @property
    def is_plain(self) -> bool:
        """Whether the question is nothing but a search for itself."""
        return self.intent == "search" and all(each == "nothing" for each in self.outcomes.values())

    def record(self) -> dict[str, Any]:
        """Return it as provenance records keep it, in JSON."""
        queries = [
            {"technique": each.technique, "text": each.query.text, "weight": round(each.query.weight, 4)}
            | ({"supposed": each.query.supposed} if each.query.supposed else {})
            for each in self.further
        ]
        return {
            "intent": self.intent,
            "queries": queries,
            "outcomes": dict(self.outcomes),
            "tokens": dict(self.tokens),
            "timings_ms": dict(self.timings),
            "prompts": UNDERSTANDING_PROMPTS,
        }


class Understanding:
    """Understands questions.

    Args:
        engine: the language model.
        model: tells which one that is at the moment; one that is too small to write is not asked.
        encoder: whose languages count.
        settings: which techniques are used, and how much they may spend.
    """

    def __init__(
        self,
        engine: Engine,
        model: Callable[[], AnsweringModel],
        encoder: Encoder,
        settings: UnderstandingSettings,
    ) -> None:
        self._engine, self._model, self._settings = engine, model, settings
        offered: tuple[Technique, ...] = (
            Comparison(),
            Dictionary(encoder),
            Rewriting(),
            MultiQuery(settings.paraphrases),
            Hyde(),
            Decomposition(settings.sub_questions),
            Translation(encoder),
        )
        self._techniques = {each.name: each for each in offered}

    def is_small_talk(self, message: str) -> bool:
        """Tell whether a message needs no documents at all."""
        return self._settings.intent != "off" and is_small_talk(message)

    async def understand(
        self, question: str, documents: Documents, techniques: Sequence[str] | None = None
    ) -> Understood:
        """Return what is to be searched for; without further queries where nothing helps.

        Args:
            question: as it would be asked without the conversation.
            documents: those that are asked.
            techniques: names of those to use; None takes the settings.
        """
        if len(question) > _LONGEST:
            return Understood(question)
        writes = self._model().style == "write"
        named = self._settings.techniques if techniques is None else techniques
        chosen = [self._techniques[name] for name in dict.fromkeys(named)]
        kind = self._run(_INTENT) if self._settings.intent == "model" and writes else None
        runs = [self._run(each.name) for each in chosen]
        async with asyncio.TaskGroup() as group:
            if kind:
                group.create_task(self._guarded(kind, self._ask_intent(kind, question)))
            for run, technique in zip(runs, chosen, strict=True):
                if technique.needs_model and not writes:
                    run.outcome = "model_too_small"
                else:
                    group.create_task(self._guarded(run, self._ask(run, technique, question, documents)))
        ran = [kind, *runs] if kind else runs
        return Understood(
            question,
            self._intent(question, kind),
            tuple(further for run in runs for further in run.further),
            outcomes={run.name: run.outcome for run in ran},
            tokens={run.name: run.model.tokens for run in ran if run.model.tokens},
            timings={run.name: run.ms for run in ran},
        )

    def _intent(self, question: str, kind: _Run | None) -> Intent:
        if kind and kind.intent:
            return kind.intent
        return "search" if self._settings.intent == "off" else intent_by_rules(question)

    def _run(self, name: str) -> _Run:
        return _Run(name, BoundedModel(self._engine, self._settings.max_tokens))

    async def _ask_intent(self, run: _Run, question: str) -> None:
        run.intent = await intent_by_model(question, run.model)
        run.outcome = "used"

    async def _ask(self, run: _Run, technique: Technique, question: str, documents: Documents) -> None:
        async with aclosing(technique.queries(question, documents, run.model)) as made:
            async for each in made:
                run.further.append(each)
                run.outcome = "used"

    async def _guarded(self, run: _Run, work: Coroutine[Any, Any, None]) -> None:
        """Do the work within its time, and note what became of it."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._settings.max_seconds):
                await work
        except TimeoutError:
            run.outcome = "too_slow"
        except Unusable:
            run.outcome = "unusable"
        except KeepstoneError as error:
            run.outcome = "failed"
            log.info("understanding_failed", technique=run.name, reason=error.code)
        run.ms = round((time.perf_counter() - began) * 1000, 1)


@dataclass(slots=True)
class _Run:
    """One technique at work on one question, and what came of it by now."""

    name: str
    model: BoundedModel
    outcome: Outcome = "nothing"
    further: list[Further] = field(default_factory=list)
    intent: Intent | None = None
    ms: float = 0.0
