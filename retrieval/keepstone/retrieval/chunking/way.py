"""How the documents of a collection become passages: cut, placed by a language model where that is wanted, and marked.

way = open_way(chunking, encoder, placer)
chunks = way.cut(document_id, document, check=job.check_cancelled)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keepstone.platform.settings import ChunkingSettings
from keepstone.retrieval import late
from keepstone.retrieval.chunking.base import Chunker
from keepstone.retrieval.chunking.placement import Placer, wanted_placer
from keepstone.retrieval.chunking.registry import describe, open_chunker
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.types import Chunk, Document


@dataclass(frozen=True, slots=True)
class Way:
    """A way of cutting, under one encoder."""

    encoder: Encoder
    chunking: ChunkingSettings
    chunker: Chunker
    placer: Placer | None
    """Asks a language model for the place of each passage; None where that is not wanted."""

    @property
    def description(self) -> str:
        """For provenance."""
        placed = f" context={self.placer.version}" if self.placer else ""
        return f"{describe(self.chunker)}{placed}{' late=True' if self.chunking.late else ''}"

    def cut(self, document_id: str, document: Document, *, check: Callable[[], None]) -> list[Chunk]:
        """Return the passages of a document, in order.

        Args:
            document_id: under which a language model's words are kept.
            document: as a loader made it.
            check: called often; what it raises ends the work.

        Raises:
            EngineUnavailable: a language model is to be asked, and does not answer.
        """
        chunks = self.chunker.split(document, self.encoder)
        if self.placer is not None:
            chunks = self.placer.place(document_id, document, chunks, check=check)
        return late.mark(document.text, chunks) if self.chunking.late else chunks


def open_way(chunking: ChunkingSettings, encoder: Encoder, placer: Placer | None) -> Way:
    """Return the way that the settings name.

    Raises:
        InvalidInput: the encoder cannot do what they ask for, or there is no language model to be asked.
    """
    if chunking.late:
        late.window_encoder(encoder)
    return Way(encoder, chunking, open_chunker(chunking, encoder), wanted_placer(chunking, placer))
