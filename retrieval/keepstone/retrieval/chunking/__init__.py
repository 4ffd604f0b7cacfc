"""Documents into chunks: `open_chunker(settings, encoder).split(document, encoder)`."""

from keepstone.retrieval.chunking.base import Chunker
from keepstone.retrieval.chunking.registry import CHUNKERS, choose, chunking_of, describe, open_chunker
from keepstone.retrieval.chunking.tokens import TokenOffsets, WordOffsets

__all__ = ["CHUNKERS", "Chunker", "TokenOffsets", "WordOffsets", "choose", "chunking_of", "describe", "open_chunker"]
