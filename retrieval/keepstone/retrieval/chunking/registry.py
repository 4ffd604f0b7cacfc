"""The chunkers by their names, and the choice of one, with its options, for a collection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final

from pydantic import ValidationError

from keepstone.platform.database.tables import CollectionRow
from keepstone.platform.errors import InvalidInput, did_you_mean
from keepstone.platform.settings import ChunkingSettings
from keepstone.retrieval.chunking.base import Chunker
from keepstone.retrieval.chunking.fixed import FixedTokens
from keepstone.retrieval.chunking.parent_child import ParentChild
from keepstone.retrieval.chunking.recursive import Recursive
from keepstone.retrieval.chunking.semantic import Semantic
from keepstone.retrieval.chunking.sentence_window import SentenceWindow
from keepstone.retrieval.chunking.structure import Structure
from keepstone.retrieval.encoder import Encoder

CHUNKERS: Final[Mapping[str, Callable[..., Chunker]]] = {
    each.name: each for each in (Structure, FixedTokens, Recursive, SentenceWindow, ParentChild, Semantic)
}
"""Classes of chunkers; their fields are the options that they take."""


def open_chunker(settings: ChunkingSettings, encoder: Encoder) -> Chunker:
    """Return the chunker that the settings name, with sizes that the encoder can read."""
    max_tokens = min(settings.max_tokens, encoder.max_tokens)
    options = {
        "max_tokens": max_tokens,
        "overlap_tokens": min(settings.overlap_tokens, max_tokens // 2),
        "headings": settings.context != "none",
        "window_sentences": settings.window_sentences,
        "parent_tokens": settings.parent_tokens,
        "semantic_percentile": settings.semantic_percentile,
    }
    chunker = CHUNKERS[settings.chunker]
    return chunker(**{field.name: options[field.name] for field in fields(chunker)})  # type: ignore[arg-type]


def describe(chunker: Chunker) -> str:
    """Return name, version and options of a chunker, for provenance: `tokens/1 max_tokens=200 ...`."""
    options = [f"{field.name}={getattr(chunker, field.name)}" for field in fields(chunker)]  # type: ignore[arg-type]
    return " ".join([f"{chunker.name}/{chunker.version}", *options])


def chunking_of(collection: CollectionRow, default: ChunkingSettings) -> ChunkingSettings:
    """Return how the documents of a collection are cut: by its own choice, else as the settings say."""
    return default if collection.chunking is None else ChunkingSettings.model_validate(collection.chunking)


def choose(default: ChunkingSettings, given: Mapping[str, Any]) -> ChunkingSettings:
    """Return the settings with some of them replaced, as somebody chose them for a collection.

    Args:
        default: the settings.
        given: names and values, which may be words: `{"chunker": "recursive", "max_tokens": "300"}`.

    Raises:
        InvalidInput: there is no such option, or it cannot have that value; the fix names those that are.
    """
    for name in given:
        if name not in ChunkingSettings.model_fields:
            hint = did_you_mean(name, list(ChunkingSettings.model_fields))
            raise InvalidInput(f"Chunking has no option {name!r}", fix=hint)
    try:
        return ChunkingSettings.model_validate({**default.model_dump(), **given})
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        reason = fault["msg"].removeprefix("Value error, ")
        raise InvalidInput(
            f"Chunking cannot be set so: {place}: {reason}" if place else f"Chunking cannot be set so: {reason}",
            fix="See `chunking` in docs/configuration.md",
        ) from error
