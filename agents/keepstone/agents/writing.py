"""Writing a checked answer from packed passages: in the model's own words, or by quoting sentences it points at.

async with aclosing(Writer(engine, model, settings).write(draft, history, None, None)) as pieces: ...
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from keepstone.agents.checking import StreamChecker
from keepstone.agents.drafts import Draft
from keepstone.agents.grammars import choosing_grammar, citing_grammar
from keepstone.agents.prompts import REFUSAL, choose_prompt, write_prompt
from keepstone.agents.quotes import find_quotes
from keepstone.agents.support import Evidence
from keepstone.agents.types import AnsweringModel
from keepstone.platform.serving.engine import ChatRequest, Engine, Message
from keepstone.platform.settings import AnsweringSettings


class Writer:
    """Has the language model write answers.

    Args:
        engine: the language model.
        model: tells which one that is at the moment.
        settings: length and randomness of answers.
    """

    def __init__(self, engine: Engine, model: Callable[[], AnsweringModel], settings: AnsweringSettings) -> None:
        self._engine, self._model, self._settings = engine, model, settings

    async def write(
        self, draft: Draft, history: Sequence[Message], max_tokens: int | None, temperature: float | None
    ) -> AsyncGenerator[str, None]:
        """Yield the checked answer, keeping `draft` up to date.

        Args:
            draft: with its passages and their evidence.
            history: the turns before.
            max_tokens: longest answer; None takes the setting.
            temperature: randomness; None takes the setting.

        Raises:
            EngineUnavailable: the language model does not answer.
        """
        if draft.reply:
            draft.content, draft.outcome = draft.reply, "answered"
            yield draft.content
            return
        notes = draft.findings.notes
        if not draft.passages or draft.evidence < draft.threshold:
            if notes:  # what was worked out is the answer
                draft.content, draft.outcome = "\n".join(notes), "answered"
                yield draft.content
                return
            yield draft.decline()
            return
        draft.model = self._model()
        if draft.model.style == "write":
            async with aclosing(self._checked(draft, self._written(draft, history, max_tokens, temperature))) as pieces:
                async for piece in pieces:
                    yield piece
            if draft.refused:
                yield draft.decline()
                return
        if not draft.content.strip():
            # A model that writes nothing of use still finds the sentence that answers.
            async with aclosing(self._checked(draft, self._quoted(draft))) as pieces:
                async for piece in pieces:
                    yield piece
        draft.outcome = "answered"

    async def _checked(self, draft: Draft, raw_text: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        """Yield what the model says, checked sentence by sentence, keeping `draft` up to date."""
        checker = StreamChecker(Evidence(draft.passages, "\n".join((draft.question, *draft.findings.notes))))
        draft.claims = checker.claims
        async with aclosing(raw_text) as raw:
            async for text in raw:
                piece = checker.feed(text)
                draft.content = checker.content
                if piece:
                    yield piece
        rest = checker.finish()
        draft.content = checker.content
        if rest:
            yield rest

    async def _written(
        self, draft: Draft, history: Sequence[Message], max_tokens: int | None, temperature: float | None
    ) -> AsyncGenerator[str, None]:
        """Yield the answer in the model's own words, as they come; nothing when it refuses to answer."""
        request = ChatRequest(
            messages=write_prompt(
                draft.question, draft.passages, history, draft.findings.notes, instructions=draft.instructions
            ),
            max_tokens=max_tokens or self._settings.max_answer_tokens,
            temperature=self._settings.temperature if temperature is None else temperature,
            grammar=citing_grammar([passage.number for passage in draft.passages]),
        )
        opening: str | None = ""
        async with aclosing(self._engine.stream_chat(request)) as deltas:
            async for delta in deltas:
                if delta.finish_reason:
                    draft.finish_reason = delta.finish_reason
                    draft.tokens = {"prompt": delta.prompt_tokens, "completion": delta.completion_tokens}
                if opening is None:
                    yield delta.text
                    continue
                opening = (opening + delta.text).lstrip()
                if not f"{REFUSAL}.".startswith(opening.rstrip()):  # so long it may still be the refusal
                    yield opening
                    opening = None
        if opening is not None:
            draft.refused = opening.strip(" .\n") == REFUSAL
            if not draft.refused:
                yield opening

    async def _quoted(self, draft: Draft) -> AsyncGenerator[str, None]:
        """Yield the sentences that the model points at, each with its mark."""
        quotes = find_quotes(draft.standalone, draft.passages, draft.read, dense_weight=draft.result.dense_weight)
        request = ChatRequest(
            messages=choose_prompt(draft.standalone, [quote.text for quote in quotes]),
            max_tokens=4 * len(quotes),
            grammar=choosing_grammar(len(quotes)),
        )
        reply = await self._engine.chat(request)
        draft.tokens = {"prompt": reply.prompt_tokens, "completion": reply.completion_tokens}
        chosen = {1, *(int(word) for word in reply.text.split() if word.isdecimal())}
        picked = [quote for number, quote in enumerate(quotes, 1) if number in chosen]
        yield "\n".join([*(f"{quote.text} [{quote.number}]" for quote in picked), *draft.findings.notes])
