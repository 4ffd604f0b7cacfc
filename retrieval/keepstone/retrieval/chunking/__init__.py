"""Documents into chunks: `split(document, max_tokens=..., overlap_tokens=..., tokenizer=...)`."""

from keepstone.retrieval.chunking.split import CHUNKER_VERSION, split
from keepstone.retrieval.chunking.tokens import TokenOffsets, WordOffsets

__all__ = ["CHUNKER_VERSION", "TokenOffsets", "WordOffsets", "split"]
