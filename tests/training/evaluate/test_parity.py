"""Two engines read the same conversations: what their tokens and log-probabilities say of each other."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import pytest

from keepstone.platform.serving.engine import Forwarded, Message
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.training.evaluate.parity import Conversation, compare, own_template
from keepstone.training.evaluate.speed import compare_speed
from tests.training.tiny_models import tiny_llm

TALK = (Message("user", "Where?"), Message("assistant", "Here."))


def template(conversation: Conversation) -> list[int]:
    """One token a letter."""
    return [ord(letter) for message in conversation for letter in f"{message.role}:{message.content}"]


class Reader(ScriptedEngine):
    """Tells its tokens and their log-probabilities as vLLM does."""

    def __init__(self, logprob: float, *, shift: int = 0, status: int = 200) -> None:
        super().__init__()
        self._logprob, self._shift, self._status = logprob, shift, status

    async def forward(self, path: str, body: Mapping[str, Any]) -> Forwarded:
        assert path == "/chat/completions"
        assert body["add_generation_prompt"] is False
        ids = [each + self._shift for each in template([Message(**each) for each in body["messages"]])]
        known = [None, *({str(each): {"logprob": self._logprob, "rank": 1}} for each in ids[1:])]
        answer = {"prompt_token_ids": ids, "prompt_logprobs": known}
        return Forwarded(self._status, "application/json", _whole(json.dumps(answer).encode()))


async def _whole(content: bytes) -> AsyncGenerator[bytes, None]:
    yield content


async def test_the_same_tokens_are_compared_one_by_one() -> None:
    parity = await compare(Reader(-1.0), Reader(-1.25), [TALK, TALK], template)
    assert parity is not None
    assert parity.same_tokens
    assert (parity.texts, parity.tokens) == (2, 2 * (len(template(TALK)) - 1))
    assert parity.mean_difference == parity.max_difference == pytest.approx(0.25)


async def test_an_engine_with_another_chat_template_is_found_out() -> None:
    parity = await compare(Reader(-1.0), Reader(-1.0, shift=1), [TALK, TALK], template)
    assert parity is not None
    assert (parity.different, parity.same_tokens) == (2, False)
    assert parity.mean_difference is None


@pytest.mark.parametrize("engine", [ScriptedEngine(default="no"), Reader(-1.0, status=400)])
async def test_an_engine_that_does_not_tell_its_tokens_has_no_parity(engine: ScriptedEngine) -> None:
    assert await compare(Reader(-1.0), engine, [TALK], template) is None


def test_the_template_of_a_model_is_that_of_training(tmp_path: Path) -> None:
    ids = own_template(tiny_llm(tmp_path))(TALK)
    text = "<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\nHere.<|im_end|>\n"
    letters = text.replace("<|im_start|>", "").replace("<|im_end|>", "")
    assert len(ids) == 4 + len(letters)


async def test_speed_is_measured_for_each_question_with_both_in_turns() -> None:
    asked: list[str] = []

    def reply(name: str) -> ScriptedEngine:
        return ScriptedEngine(default=lambda request: asked.append(name) or "one two three four")

    pairs = await compare_speed(reply("live"), reply("candidate"), ["a", "b", "c"], check=lambda: None)
    assert len(pairs) == 3
    assert all(pair.live > 0 and pair.candidate > 0 for pair in pairs)
    assert asked[2:] == ["live", "candidate", "candidate", "live", "live", "candidate"]


async def test_an_engine_that_writes_a_single_word_has_no_speed() -> None:
    assert (
        await compare_speed(ScriptedEngine(default="a"), ScriptedEngine(default="a"), ["?"], check=lambda: None) == []
    )
