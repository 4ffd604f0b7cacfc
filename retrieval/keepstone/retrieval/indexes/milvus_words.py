"""Words in Milvus: BM25 (Robertson and Zaragoza, 2009; k1 = 1.2, b = 0.75) by its BM25 function.

Terms come cut by `analysis.tokens`. Milvus would cut them once more, so each is sent as a short word of letters and
digits that stands for it, of which every tokenizer makes one token; BM25 only asks which terms are the same.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keepstone.retrieval.analysis import ANALYSIS_VERSION
from keepstone.retrieval.embeddings import batched
from keepstone.retrieval.indexes.base import EMPTY_RANKING, Position, Ranking
from keepstone.retrieval.indexes.milvus_index import MilvusIndex
from keepstone.retrieval.indexes.milvus_rows import MAX_HITS, MilvusRows, RowKind
from keepstone.retrieval.indexes.milvus_server import MilvusServer

_FORMAT = f"1/{ANALYSIS_VERSION}"
_TERMS, _WEIGHTS = "terms", "weights"
_MAX_CHARS = 65_535
# 40 bits, in base32 eight characters: Milvus itself tells terms apart by 32.
_STAND_IN_BYTES = 5
_MAX_TERMS = _MAX_CHARS // (_STAND_IN_BYTES * 8 // 5 + 1)
_MAX_QUERY_TERMS = 256
# Stands in for no term, as it is too short: a text without terms is one that no question finds.
_NOTHING = "0"


class MilvusWords(MilvusIndex):
    """The words of one collection.

    Args:
        server: where they are.
        name: of their Milvus collection.
    """

    def __init__(self, server: MilvusServer, name: str) -> None:
        super().__init__(MilvusRows(server, name, _KIND))

    def apply(self, removed: Sequence[int], added: Mapping[int, Sequence[str]], position: Position) -> None:
        """Remove and add chunks, of which the first 7,281 terms count; for a moment both old and new are found."""
        texts = {each: {_TERMS: _text(terms[:_MAX_TERMS])} for each, terms in added.items()}
        self._rows.write(removed, texts, position)

    def search(self, terms: Sequence[str], k: int, *, allowed: Sequence[int] | None = None) -> Ranking:
        """Return the `k` chunks of highest BM25 score among those that hold any of the terms."""
        distinct = list(dict.fromkeys(terms))[:_MAX_QUERY_TERMS]
        if not distinct:
            return EMPTY_RANKING
        return self._rows.search(_text(distinct), min(k, MAX_HITS - 1), allowed)

    def scores(self, terms: Sequence[str], ids: Sequence[int]) -> NDArray[np.float64]:
        """Return the BM25 score of each of these chunks; 0 for those without any of the terms, or not held."""
        by_id: dict[int, float] = {}
        for some in batched(ids, MAX_HITS - 1):
            found = self.search(terms, len(some), allowed=some)
            by_id.update(zip(found.ids.tolist(), found.scores.tolist(), strict=True))
        return np.array([by_id.get(each, 0.0) for each in ids], dtype=np.float64)


def _text(terms: Iterable[str]) -> str:
    return " ".join(map(_stand_in, terms)) or _NOTHING


@lru_cache(maxsize=1 << 16)
def _stand_in(term: str) -> str:
    digest = hashlib.blake2b(term.encode(errors="surrogatepass"), digest_size=_STAND_IN_BYTES).digest()
    return base64.b32encode(digest).decode().lower()


def _define(schema: Any, indexes: Any) -> None:
    from pymilvus import DataType, Function, FunctionType

    analyzer = {"tokenizer": "standard"}
    schema.add_field(_TERMS, DataType.VARCHAR, max_length=_MAX_CHARS, enable_analyzer=True, analyzer_params=analyzer)
    schema.add_field(_WEIGHTS, DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(
        Function(
            name="bm25",
            function_type=FunctionType.BM25,
            input_field_names=[_TERMS],
            output_field_names=[_WEIGHTS],
        )
    )
    parameters = {"bm25_k1": 1.2, "bm25_b": 0.75}
    indexes.add_index(_WEIGHTS, index_type="SPARSE_INVERTED_INDEX", metric_type="BM25", params=parameters)


_KIND = RowKind(
    made_by=_FORMAT,
    searched=_WEIGHTS,
    metric="BM25",
    blank={_TERMS: _NOTHING},
    define=_define,
    parameters=lambda _: {},
    complete=True,
)
