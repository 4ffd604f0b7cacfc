"""The tool `search`: passages of the person's documents, by meaning and by words."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from keepstone.agents.evidence import SEARCHED_WITH
from keepstone.agents.tools.base import DECODED, Observation, ToolContext, tool
from keepstone.retrieval.types import Hit

# Characters of a passage that the model is shown. The answer is made from whole passages, and `read` shows more.
_SHOWN = 400


@tool
def search(
    context: ToolContext,
    query: Annotated[str, Field(min_length=1, max_length=1000, json_schema_extra=DECODED)],
    k: Annotated[int, Field(ge=1, le=10)] = 5,
) -> Observation:
    """Find the k passages of the documents that fit a query best. Ask in words, one thing at a time."""
    result = context.searcher.search(context.scope(), query, k=k, options=SEARCHED_WITH)
    if not result.hits:
        return Observation("Nothing was found: there are no documents here, or none with passages.", error=True)
    return Observation("\n\n".join(map(_shown, result.hits)), result.hits)


def _shown(hit: Hit) -> str:
    place = f", page {hit.page}" if hit.page is not None else ""
    head = f"[{hit.document_name}{place}, from character {hit.start}]"
    text = hit.text if len(hit.text) <= _SHOWN else f"{hit.text[:_SHOWN]}…"
    return f"{head} {hit.context}\n{text}" if hit.context else f"{head}\n{text}"
