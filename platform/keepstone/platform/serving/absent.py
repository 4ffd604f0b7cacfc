"""The engine that is not there: every question to it is answered with the reason and the fix."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from keepstone.platform.errors import KeepstoneError
from keepstone.platform.serving.engine import ChatRequest, Delta, Forwarded, Reply
from keepstone.platform.serving.tokens import TokenCounter


class AbsentEngine:
    """Stands in where no language model can be reached: switched off, or not installed.

    Args:
        model: name of the model that the settings name.
        reason: raised by every question.
    """

    max_model_len = 8192

    def __init__(self, model: str, reason: KeepstoneError) -> None:
        self.model = model
        self.reason = reason
        self._tokens = TokenCounter(None)

    def count_tokens(self, text: str) -> int:
        """Return an upper estimate."""
        return self._tokens.count(text)

    async def chat(self, request: ChatRequest) -> Reply:
        """Raise the reason."""
        del request
        raise self.reason

    async def stream_chat(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Raise the reason."""
        del request
        raise self.reason
        yield Delta("")

    async def forward(self, path: str, body: Mapping[str, Any]) -> Forwarded:
        """Raise the reason."""
        del path, body
        raise self.reason

    async def ready(self) -> bool:
        """Tell that it is not."""
        return False

    async def close(self) -> None:
        """Do nothing."""
