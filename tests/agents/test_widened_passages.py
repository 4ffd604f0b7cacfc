"""Citations of passages that are read with what stands around them."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepstone.agents.types import Finished
from keepstone.platform.serving.scripted import ScriptedEngine
from tests.stack import NEVER_DECLINES, admin, ingest, open_stack

_TEXT = "# Manual 💡\n\nThe pump is blue. The filter is changed monthly. " * 3 + (
    "The warranty lasts two years 保修. The lamp is green. The case is grey.\n"
)


@pytest.mark.parametrize(
    "chunking", [{"chunker": "sentence-window", "window_sentences": 2}, {"chunker": "parent-child", "max_tokens": 32}]
)
async def test_quotes_are_where_the_claims_say(tmp_path: Path, chunking: dict[str, object]) -> None:
    """A claim counts its quote's characters from the beginning of what was read, not of what was found."""
    engine = ScriptedEngine(default="The warranty lasts two years. [1]")
    with open_stack(tmp_path / "home", engine=engine, answering=NEVER_DECLINES) as runtime:
        me = admin(runtime)
        runtime.library.create_collection(me, "manual", chunking=chunking)
        ingest(runtime, me, "manual", {"manual.md": _TEXT.encode()})
        [document] = runtime.library.documents(me, "manual")
        text = runtime.library.document_text(me, document.id).text
        async for event in runtime.answerer.answer(me, "How long is the warranty?", collections=["manual"]):
            if isinstance(event, Finished):
                answer = event.answer
        [claim] = answer.claims
        assert claim.quote_start is not None
        assert "warranty lasts two years" in text[claim.quote_start : claim.quote_end]
        for passage, record in zip(answer.passages, answer.record["passages"], strict=True):
            assert text[record["start"] : record["end"]] == passage.text
