"""Grounded answering: understand, search, pack, ask the model, check every sentence, keep the record.

async for event in Answerer(...).answer(principal, "How long is the warranty?", collections=["manuals"]): ...
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Final

import anyio
from anyio.to_thread import run_sync

from keepstone.agents.condense import condense
from keepstone.agents.drafts import NOT_SEARCHED, Draft
from keepstone.agents.evidence import ABSTAIN_BELOW, HITS_NEEDED, SEARCHED_WITH, Signs, weigh
from keepstone.agents.packing import pack
from keepstone.agents.prompts import PROMPT_VERSION
from keepstone.agents.quotes import ReadSentences
from keepstone.agents.record import provenance_record, store_answer
from keepstone.agents.types import (
    Answer,
    AnswerEvent,
    AnsweringModel,
    Findings,
    Finished,
    Found,
    Searching,
    TextDelta,
    Trial,
)
from keepstone.agents.understanding.base import Documents
from keepstone.agents.understanding.smalltalk import reply_to
from keepstone.agents.understanding.understanding import Understanding, Understood
from keepstone.agents.writing import Writer
from keepstone.platform.access import Principal
from keepstone.platform.database import Database
from keepstone.platform.database.tables import new_id
from keepstone.platform.errors import InvalidInput
from keepstone.platform.serving.engine import Engine, Message
from keepstone.platform.settings import AnsweringSettings
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.search import Searcher
from keepstone.retrieval.several import search_several

_HISTORY_TURNS = 6
LONGEST_QUESTION: Final = 10_000
"""In characters."""
_PROMPT_ROOM = 400
# So many times the passages are read for questions that want all of something, or about two things.
_WIDER = 3


class Answerer:
    """Answers questions from the collections that the asker may read.

    Args:
        database: where collections are, and answers are kept.
        searcher: finds the passages.
        encoder: judges the evidence.
        engine: writes.
        model: what is behind `engine`, or what tells so at the moment it is asked.
        settings: how to answer.
        understanding: what is made of questions before they are searched for; None: nothing.
    """

    def __init__(
        self,
        *,
        database: Database,
        searcher: Searcher,
        encoder: Encoder,
        engine: Engine,
        model: AnsweringModel | Callable[[], AnsweringModel],
        settings: AnsweringSettings,
        understanding: Understanding | None = None,
    ) -> None:
        self._database = database
        self._searcher = searcher
        self._encoder = encoder
        self._engine = engine
        self._model = model if callable(model) else lambda: model
        self._settings = settings
        self._understanding = understanding
        self._writer = Writer(engine, self._model, settings)

    async def answer(
        self,
        principal: Principal,
        question: str,
        *,
        collections: Sequence[str] | None = None,
        history: Sequence[Message] = (),
        max_tokens: int | None = None,
        temperature: float | None = None,
        findings: Findings | None = None,
        instructions: str = "",
        trial: Trial | None = None,
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Yield `Searching`, `Found`, `TextDelta`s and `Finished`.

        Closing the iterator stops the engine; what was written by then is stored with the outcome `stopped`.

        Args:
            principal: who asks; only what they may read is searched.
            question: the last message of the conversation.
            collections: names or ids; None searches all readable ones.
            history: the turns before.
            max_tokens: longest answer; None takes the setting.
            temperature: randomness; None takes the setting.
            findings: what an agent found, to answer from; whether that is enough is judged as for any question.
            instructions: the asker's wishes for the answer, of use to models that write.
            trial: the question is put to judge the pipeline.

        Raises:
            InvalidInput: the question is empty or far too long.
            NotFound: there is no such collection.
            EngineUnavailable: the language model does not answer.
        """
        started = time.perf_counter()
        # PostgreSQL keeps no NUL in a text.
        question = question.replace("\0", "").strip()
        if not question:
            raise InvalidInput("The question is empty", fix="Type a question")
        if len(question) > LONGEST_QUESTION:
            raise InvalidInput("The question is too long", fix=f"Use at most {LONGEST_QUESTION} characters")
        findings = findings or Findings(())
        recent = tuple(history[-_HISTORY_TURNS:])
        documents = Documents(
            self._database, self._searcher, principal, collections, without=trial.without if trial else ()
        )
        if self._understanding and self._understanding.is_small_talk(question):
            understood = Understood(question, "chat")
        else:
            standalone = findings.standalone or await self.standalone(question, recent)
            yield Searching(standalone)
            understood = await self._understand(standalone, documents, findings)
        begin = partial(self._reply if understood.intent == "chat" else self._search, question, understood, documents)
        draft = await run_sync(partial(begin, started, findings=findings, keep=trial is None))
        yield Found(draft.passages, draft.answer_id)
        try:
            draft.instructions = instructions
            async with aclosing(self._writer.write(draft, recent, max_tokens, temperature)) as pieces:
                async for piece in pieces:
                    draft.clock("first_token")
                    yield TextDelta(piece, tuple(draft.claims))
        except Exception:
            draft.outcome = "failed"
            raise
        finally:
            # The record is kept also when the asker went away.
            with anyio.CancelScope(shield=True):
                answer = await run_sync(self._finish, draft)
        yield Finished(answer)

    async def standalone(self, question: str, history: Sequence[Message]) -> str:
        """Return the question as it would be asked without the conversation.

        Raises:
            EngineUnavailable: the language model does not answer.
        """
        rewrite = self._model().style == "write"
        return await condense(self._engine, question, history[-_HISTORY_TURNS:], rewrite=rewrite)

    async def _understand(self, standalone: str, documents: Documents, findings: Findings) -> Understood:
        """Return what to search for; who brings passages along has done so by himself."""
        if self._understanding is None or findings.hits or findings.record:
            return Understood(standalone)
        return await self._understanding.understand(standalone, documents)

    def _reply(
        self,
        question: str,
        understood: Understood,
        documents: Documents,
        started: float,
        *,
        findings: Findings,
        keep: bool,
    ) -> Draft:
        """Return the draft of what is said to small talk, for which nothing is searched."""
        return Draft(
            principal=documents.principal,
            question=question,
            standalone=understood.question,
            result=NOT_SEARCHED,
            passages=(),
            keep=keep,
            read=ReadSentences((), None),
            signs=Signs(None, None, alike=False),
            evidence=0.0,
            threshold=0.0,
            started=started,
            findings=findings,
            answer_id=findings.answer_id or new_id("ans"),
            model=self._model(),
            understood=understood,
            reply=reply_to(question, documents.names()),
        )

    def _search(
        self,
        question: str,
        understood: Understood,
        documents: Documents,
        started: float,
        *,
        findings: Findings,
        keep: bool,
    ) -> Draft:
        # The smallest models read no more of it, and quote one or two sentences in any case.
        wide = understood.intent in ("aggregate", "compare") and self._model().style == "write"
        limit = self._settings.passages * (_WIDER if wide else 1)
        queries, scope = understood.queries, documents.scope()
        k = max(limit, HITS_NEEDED)
        found = search_several(self._searcher, scope, queries, k=k, without=documents.without, options=SEARCHED_WITH)
        room = self._engine.max_model_len - self._settings.max_answer_tokens - _PROMPT_ROOM
        passages = pack(
            findings.hits or found.hits,
            limit=limit,
            budget=min(self._settings.max_context_tokens, room),
            count_tokens=self._engine.count_tokens,
        )
        threshold = ABSTAIN_BELOW if self._settings.abstain_below is None else self._settings.abstain_below
        speaker = understood.speaker
        weighed = weigh(queries[speaker].text, found.results[speaker], passages, self._encoder)
        draft = Draft(
            principal=documents.principal,
            question=question,
            standalone=understood.question,
            result=replace(found.results[0], timings=found.timings),
            passages=passages,
            keep=keep,
            read=weighed.read,
            signs=weighed.signs,
            evidence=weighed.strength,
            threshold=threshold,
            started=started,
            findings=findings,
            answer_id=findings.answer_id or new_id("ans"),
            model=self._model(),
            understood=understood,
        )
        draft.clock("search")
        return draft

    def _finish(self, draft: Draft) -> Answer:
        draft.clock("total")
        record: dict[str, Any] = provenance_record(
            result=draft.result,
            passages=draft.passages,
            claims=draft.claims,
            evidence={"strength": round(draft.evidence, 4), "threshold": draft.threshold, **asdict(draft.signs)},
            versions={
                "prompt": PROMPT_VERSION,
                "model": draft.model.name,
                "model_version": draft.model.version,
                **({"base_model": draft.model.base} if draft.model.base else {}),
                "style": draft.model.style,
                "encoder": ", ".join(sorted({*draft.result.encoders.values()})) or self._encoder.version,
            },
            timings_ms=draft.timings,
            tokens=draft.tokens,
            finish_reason=draft.finish_reason,
        )
        if not draft.understood.is_plain:
            record["understanding"] = draft.understood.record()
        if draft.findings.record:
            record["agent"] = {**draft.findings.record, "notes": list(draft.findings.notes)}
        answer = Answer(
            id=draft.answer_id,
            question=draft.question,
            standalone_question=draft.standalone,
            content=draft.content,
            outcome=draft.outcome,
            passages=draft.passages,
            claims=tuple(draft.claims),
            record=record,
        )
        if draft.keep:
            store_answer(self._database, draft.principal, answer)
        return answer
