"""How many tokens per second a model writes for one reader, compared with another one.

Only decoding is timed: what comes before the first token depends on what the engine's prefix cache holds by chance. The
two take turns, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Final

from keepstone.platform.serving.engine import ChatRequest, Engine, Message
from keepstone.training.evaluate.bootstrap import Pair

_TOKENS: Final = 48
_SHORTEST_S = 1e-6


async def compare_speed(
    live: Engine, candidate: Engine, questions: Sequence[str], *, check: Callable[[], None]
) -> list[Pair]:
    """Return tokens per second for each question under both.

    Args:
        live: what is in use.
        candidate: what may replace it.
        questions: to be answered, off the cuff.
        check: called between requests; what it raises ends the measurement.
    """
    for engine in (live, candidate):
        await _rate(engine, "Good morning.")
    pairs = []
    for place, question in enumerate(questions):
        check()
        if place % 2:
            second, first = await _rate(candidate, question), await _rate(live, question)
        else:
            first, second = await _rate(live, question), await _rate(candidate, question)
        if first and second:
            pairs.append(Pair(f"prompt-{place}", first, second))
    return pairs


async def _rate(engine: Engine, question: str) -> float | None:
    """Return tokens per second after the first one; None where the engine wrote no second one, or does not count."""
    request = ChatRequest(
        messages=(Message("user", question),),
        max_tokens=_TOKENS,
        extra={"ignore_eos": True},
    )
    first: float | None = None
    tokens: int | None = None
    async with aclosing(engine.stream_chat(request)) as deltas:
        async for delta in deltas:
            if first is None and delta.text:
                first = time.perf_counter()
            tokens = delta.completion_tokens or tokens
    if first is None or tokens is None or tokens < 2:
        return None
    return (tokens - 1) / max(time.perf_counter() - first, _SHORTEST_S)
