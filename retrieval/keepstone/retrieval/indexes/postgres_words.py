"""Words in PostgreSQL: BM25 (Robertson and Zaragoza, 2009; k1 = 1.2, b = 0.75) over an inverted index in its tables.

The postings of a term stand in blocks, one for each 1,024 neighbouring chunk ids, packed into a `bytea`: a search reads
some hundred rows instead of a row for each chunk with the term, and adds the scores up itself. Scores are those of
`Bm25Index`, which rounds the lengths of chunks of 40 terms and more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from keepstone.platform.database import Database
from keepstone.retrieval.analysis import ANALYSIS_VERSION
from keepstone.retrieval.indexes.backends import IndexKey
from keepstone.retrieval.indexes.base import EMPTY_RANKING, Position, Ranking
from keepstone.retrieval.indexes.postgres import Change, IndexLock, PostgresIndex, among, numbers, texts

_K1, _B = 1.2, 0.75
_BLOCK = 1024
_POSTING = np.dtype([("offset", "<u2"), ("count", "<u2"), ("length", "<u4")])
_MAX_COUNT = 2**16 - 1
_MAX_QUERY_TERMS = 256

_Place = tuple[str, int]
"""A term and the number of a block."""


class PostgresWords(PostgresIndex):
    """The words of one collection.

    Args:
        database: a PostgreSQL.
        lock: that of the index.
        key: names the index.
    """

    def __init__(self, database: Database, lock: IndexLock, key: IndexKey) -> None:
        super().__init__(database, lock, key, "words", f"1/{ANALYSIS_VERSION}")
        self._chunks = self._words = sa.Table(
            f"derived_{self._name}",
            self._metadata,
            sa.Column("chunk", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("length", sa.Integer, nullable=False),
            sa.Column("terms", ARRAY(sa.Text), nullable=False),
        )
        self._postings = sa.Table(
            f"derived_{self._name}_postings",
            self._metadata,
            sa.Column("term", sa.Text(collation="C"), primary_key=True),
            sa.Column("block", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("postings", sa.LargeBinary, nullable=False),
        )

    def apply(self, removed: Sequence[int], added: Mapping[int, Sequence[str]], position: Position) -> None:
        """Remove and add chunks in one transaction."""
        with self._changing(position) as change:
            gone = self._remove(change, removed)
            held = set(change.connection.scalars(self._held(list(added))))
            new = {each: terms for each, terms in added.items() if each not in held}
            self._rewrite(change.connection, gone, _postings(new))
            change.chunks += len(new)
            change.terms += sum(map(len, new.values()))
            if new:
                rows = [(each, len(terms), list(dict.fromkeys(terms))) for each, terms in new.items()]
                columns = ("chunk", "length", "terms")
                change.connection.execute(
                    sa.insert(self._words), [dict(zip(columns, row, strict=True)) for row in rows]
                )

    def search(self, terms: Sequence[str], k: int, *, allowed: Sequence[int] | None = None) -> Ranking:
        """Return the `k` chunks of highest BM25 score among those that hold any of the terms."""
        distinct = list(dict.fromkeys(terms))[:_MAX_QUERY_TERMS]
        if k <= 0 or not distinct or (allowed is not None and not len(allowed)):
            return EMPTY_RANKING
        found = self._read(lambda session: self._scored(session, distinct), EMPTY_RANKING)
        ids, scores = found.ids, found.scores
        if allowed is not None:
            chosen = np.isin(ids, np.asarray(allowed, dtype=np.int64))
            ids, scores = ids[chosen], scores[chosen]
        if k < len(ids):  # equal to the last one, too, since the ids decide among those
            chosen = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
            ids, scores = ids[chosen], scores[chosen]
        order = np.lexsort((ids, -scores))[:k]
        return Ranking(ids[order], scores[order])

    def scores(self, terms: Sequence[str], ids: Sequence[int]) -> NDArray[np.float64]:
        """Return the BM25 score of each of these chunks; 0 for those without any of the terms, or not held."""
        found = self.search(terms, len(ids), allowed=ids)
        by_id = dict(zip(found.ids.tolist(), found.scores.tolist(), strict=True))
        return np.array([by_id.get(each, 0.0) for each in ids])

    def _scored(self, session: Session, terms: list[str]) -> Ranking:
        """Score every chunk that has any of the terms; ascending by id."""
        row = session.execute(self._row()).first()
        postings = self._postings.c
        wanted = sa.select(postings.term, postings.block, postings.postings).where(
            postings.term == sa.any_(texts(terms))
        )
        found = session.execute(wanted.order_by(postings.term, postings.block)).all()
        if row is None or not found:
            return EMPTY_RANKING
        blocks = [np.frombuffer(each.postings, _POSTING) for each in found]
        having = Counter[str]()
        for each, block in zip(found, blocks, strict=True):
            having[each.term] += len(block)
        sizes = [len(block) for block in blocks]
        number_of = np.array([having[each.term] for each in found])
        rarity = np.repeat(np.log1p((row.chunks - number_of + 0.5) / (number_of + 0.5)), sizes)
        posting = np.concatenate(blocks)
        count, length = posting["count"].astype(np.float64), posting["length"].astype(np.float64)
        norm = _K1 * (1 - _B + _B * length / (row.terms / row.chunks))
        score = rarity * (1 + _K1) * count / (count + norm)
        # Blocks side by side give every chunk a place in one array, without sorting the postings.
        block_of, rank = np.unique(np.array([each.block for each in found]), return_inverse=True)
        place = np.repeat(rank * _BLOCK, sizes) + posting["offset"]
        total = np.bincount(place, weights=score, minlength=len(block_of) * _BLOCK).astype(np.float64)
        hit = np.flatnonzero(total)
        return Ranking(block_of[hit // _BLOCK] * _BLOCK + hit % _BLOCK, total[hit])

    def _remove(self, change: Change, removed: Sequence[int]) -> dict[_Place, list[int]]:
        """Take out chunks; return the offsets that their postings have, by place."""
        gone: dict[_Place, list[int]] = {}
        if not removed:
            return gone
        words = self._words.c
        taken = sa.delete(self._words).where(among(words.chunk, removed))
        for chunk, length, terms in change.connection.execute(
            taken.returning(words.chunk, words.length, words.terms)
        ).all():
            change.chunks -= 1
            change.terms -= length
            for term in terms:
                gone.setdefault((term, chunk // _BLOCK), []).append(chunk % _BLOCK)
        return gone

    def _rewrite(
        self, connection: sa.Connection, gone: Mapping[_Place, list[int]], new: Mapping[_Place, list[tuple[int, ...]]]
    ) -> None:
        """Take postings out of their blocks, and put others in."""
        places = sorted({*gone, *new})
        if not places:
            return
        postings = self._postings.c
        wanted = sa.select(postings.term, postings.block, postings.postings).where(self._at(places))
        held = {(term, block): np.frombuffer(packed, _POSTING) for term, block, packed in connection.execute(wanted)}
        nothing = np.empty(0, _POSTING)
        blocks: dict[_Place, bytes] = {}
        for place in places:
            block = held.get(place, nothing)
            if place in gone:
                block = block[~np.isin(block["offset"], gone[place])]
            blocks[place] = block.tobytes() + np.array(new.get(place, []), _POSTING).tobytes()
        self._put(connection, {place: block for place, block in blocks.items() if block})
        emptied = [place for place, block in blocks.items() if not block]
        if emptied:
            connection.execute(sa.delete(self._postings).where(self._at(emptied)))

    def _put(self, connection: sa.Connection, blocks: Mapping[_Place, bytes]) -> None:
        if not blocks:
            return
        written = insert(self._postings)
        connection.execute(
            written.on_conflict_do_update(
                index_elements=["term", "block"], set_={"postings": written.excluded.postings}
            ),
            [{"term": term, "block": block, "postings": packed} for (term, block), packed in blocks.items()],
        )

    def _at(self, places: Sequence[_Place]) -> sa.ColumnElement[bool]:
        pairs = sa.func.unnest(texts([term for term, _ in places]), numbers([block for _, block in places]))
        rows = pairs.table_valued("term", "block").render_derived()
        both = sa.tuple_(self._postings.c.term, self._postings.c.block)
        return both.in_(sa.select(rows.c.term, rows.c.block))

    def _held(self, ids: Sequence[int]) -> sa.Select[int]:
        return sa.select(self._words.c.chunk).where(among(self._words.c.chunk, ids))


def _postings(chunks: Mapping[int, Sequence[str]]) -> dict[_Place, list[tuple[int, ...]]]:
    found: dict[_Place, list[tuple[int, ...]]] = {}
    for chunk, terms in chunks.items():
        block, offset = divmod(chunk, _BLOCK)
        for term, count in Counter(terms).items():
            found.setdefault((term, block), []).append((offset, min(count, _MAX_COUNT), len(terms)))
    return found
