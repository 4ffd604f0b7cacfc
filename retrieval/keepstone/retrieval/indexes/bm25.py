"""Words on disk: BM25 (Robertson and Zaragoza, 2009; k1 = 1.2, b = 0.75) by tantivy.

Terms come cut by `analysis.tokens`. Each commit carries the position in the change sequence as a document of its own,
so that content and position are always those of the same commit, whenever the process dies.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import tantivy
from numpy.typing import NDArray

from keepstone.platform.errors import StorageFull, storage_errors
from keepstone.retrieval.analysis import ANALYSIS_VERSION
from keepstone.retrieval.indexes.base import EMPTY_RANKING, UNBUILT, Position, Ranking

_FORMAT = f"1/{ANALYSIS_VERSION}"
_TERMS = "terms"
_POSITION = "position"
# Smallest that tantivy accepts for one thread; a unit of ingestion fits in.
_WRITER_BYTES = 20_000_000
_MAX_QUERY_TERMS = 256

log = structlog.get_logger(__name__)


class Bm25Index:
    """The words of one collection.

    Args:
        folder: where its files are; made when missing, emptied when unusable.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._schema = _schema()
        self._lock = threading.Lock()
        self._writer: Any = None
        try:
            self._open()
        except (ValueError, KeyError, TypeError, OSError) as error:
            log.warning("lexical_index_ignored", folder=str(folder), reason=str(error))
            self._wipe()

    @property
    def position(self) -> Position:
        """How far it is in the change sequence."""
        return self._position

    @property
    def durable_position(self) -> Position:
        """The same: what is applied is on the disk."""
        return self._position

    @property
    def count(self) -> int:
        """Number of chunks."""
        return int(self._searcher.num_docs) - (0 if self._position == UNBUILT else 1)

    @property
    def memory_bytes(self) -> int:
        """Of the process itself; the files are mapped, and the system's to keep or drop."""
        return _WRITER_BYTES if self._writer is not None else 0

    def ids(self) -> NDArray[np.int64]:
        """Return all ids, ascending."""
        searcher = self._searcher
        if not searcher.num_docs:
            return EMPTY_RANKING.ids
        found = searcher.search(tantivy.Query.all_query(), limit=searcher.num_docs, count=False).hits
        ids = searcher.fast_field_values("id", [address for _, address in found])
        return np.sort(np.array([each for each in ids if each is not None], dtype=np.int64))

    def apply(self, removed: Sequence[int], added: Mapping[int, Sequence[str]], position: Position) -> None:
        """Remove and add chunks in one durable commit."""
        with self._lock, storage_errors("writing the lexical index"):
            writer = self._writer or self._index.writer(heap_size=_WRITER_BYTES, num_threads=1)
            self._writer = writer
            try:
                if removed or added:
                    writer.delete_documents_by_query(self._id_query([*removed, *added]))
                for each, terms in added.items():
                    document = tantivy.Document()
                    document.add_unsigned("id", each)
                    document.add_text(_TERMS, " ".join(terms))
                    writer.add_document(document)
                self._add_position(writer, position)
                writer.commit()
            except BaseException as error:
                # What was not committed must not slip into the next commit.
                self._writer = None
                del writer
                if "No space left" in str(error):
                    raise StorageFull(
                        "No space left on the disk while writing the lexical index", fix="Free some space"
                    ) from error
                raise
            self._reload(position)

    def search(self, terms: Sequence[str], k: int, *, allowed: Sequence[int] | None = None) -> Ranking:
        """Return the `k` chunks of highest BM25 score among those that hold any of the terms."""
        searcher = self._searcher
        query = self._query(terms, allowed)
        limit = min(k, searcher.num_docs)
        if query is None or limit <= 0:
            return EMPTY_RANKING
        hits = searcher.search(query, limit=limit, count=False).hits
        ids = np.array(searcher.fast_field_values("id", [address for _, address in hits]), dtype=np.int64)
        scores = np.array([score for score, _ in hits], dtype=np.float64)
        order = np.lexsort((ids, -scores))
        return Ranking(ids[order], scores[order])

    def scores(self, terms: Sequence[str], ids: Sequence[int]) -> NDArray[np.float64]:
        """Return the BM25 score of each of these chunks; 0 for those without any of the terms, or not held."""
        found = self.search(terms, len(ids), allowed=ids)
        by_id = dict(zip(found.ids.tolist(), found.scores.tolist(), strict=True))
        return np.array([by_id.get(each, 0.0) for each in ids])

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._wipe()

    def save(self) -> None:
        """Do nothing: every commit is durable."""

    def close(self) -> None:
        """Let go of the writer and its memory."""
        with self._lock:
            self._close_writer()

    def _query(self, terms: Sequence[str], allowed: Sequence[int] | None) -> Any:
        distinct = list(dict.fromkeys(terms))[:_MAX_QUERY_TERMS]
        if not distinct or (allowed is not None and not len(allowed)):
            return None
        should = [
            (tantivy.Occur.Should, tantivy.Query.term_query(self._schema, _TERMS, term, index_option="freq"))
            for term in distinct
        ]
        query = tantivy.Query.boolean_query(should)
        if allowed is None:
            return query
        among = tantivy.Query.const_score_query(self._id_query(allowed), 0.0)
        return tantivy.Query.boolean_query([(tantivy.Occur.Must, query), (tantivy.Occur.Must, among)])

    def _id_query(self, ids: Sequence[int]) -> Any:
        return tantivy.Query.term_set_query(self._schema, "id", [int(each) for each in ids])

    def _add_position(self, writer: Any, position: Position) -> None:
        writer.delete_documents_by_term("kind", _POSITION)
        if position == UNBUILT:
            return
        document = tantivy.Document()
        document.add_text("kind", _POSITION)
        document.add_text("record", json.dumps({"format": _FORMAT, **asdict(position)}))
        writer.add_document(document)

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._index = tantivy.Index(self._schema, path=str(self._folder), reuse=True)
        analyzer = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
        self._index.register_tokenizer(_TERMS, analyzer)
        self._index.config_reader(reload_policy="manual")
        self._reload(UNBUILT)
        self._position = self._read_position()

    def _read_position(self) -> Position:
        searcher = self._searcher
        if not searcher.num_docs:
            return UNBUILT
        query = tantivy.Query.term_query(self._schema, "kind", _POSITION)
        [(_, address)] = searcher.search(query, limit=2).hits
        record = json.loads(str(searcher.doc(address).get_first("record")))
        if record["format"] != _FORMAT:
            raise ValueError("made by another version")
        return Position(seq=int(record["seq"]), check=str(record["check"]))

    def _reload(self, position: Position) -> None:
        self._index.reload()
        self._searcher = self._index.searcher()
        self._position = position

    def _wipe(self) -> None:
        self._close_writer()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._open()

    def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.wait_merging_threads()


def _schema() -> Any:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("id", indexed=True, fast=True)
    builder.add_text_field(_TERMS, tokenizer_name=_TERMS, index_option="freq")
    builder.add_text_field("kind", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("record", stored=True, tokenizer_name="raw", index_option="basic")
    return builder.build()
