"""Vectors in PostgreSQL: hierarchical navigable small worlds by pgvector, 0.8 or later.

A table for each index, so that a search walks a graph of nothing but what it may find, and dropping one is quick. The
graph holds half-precision copies, which halves what a walk reads; the candidates that it finds are compared in full.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.types import UserDefinedType

from keepstone.platform.database import Database
from keepstone.platform.errors import Unavailable
from keepstone.retrieval.indexes.backends import IndexKey
from keepstone.retrieval.indexes.base import EF_SEARCH, EMPTY_RANKING, UNBUILT, Position, Ranking
from keepstone.retrieval.indexes.hnsw import EF_CONSTRUCTION, M
from keepstone.retrieval.indexes.postgres import MAKING_LOCK, IndexLock, PostgresIndex, among, numbers, texts

# Longer vectors cannot be in a graph: they are compared one by one.
_MAX_GRAPH_DIMENSION = 4000
_MAX_EF = 1000
# Half precision may order near-equal vectors wrongly; so many more are compared in full.
_SPARE = 32
# Up to so many allowed ids are compared one by one, which is exact and faster than walking past all others.
_SCAN_ALLOWED = 4000
# How far a walk may go for allowed ones, and how many times PostgreSQL's work_mem it may remember where it was.
_MAX_SCAN_TUPLES = 100_000
_SCAN_MEMORY = 8
_NEEDED = (0, 8)
_FIX = (
    "Install pgvector 0.8 or later beside the server, and let its owner run `CREATE EXTENSION vector` in the database"
)


class _Vector(UserDefinedType[str]):
    """pgvector's types; a value is its text."""

    cache_ok = True

    def __init__(self, name: str, dimension: int) -> None:
        self.name, self.dimension = name, dimension

    def get_col_spec(self, **_: Any) -> str:
        return f"{self.name}({self.dimension})"


class PgvectorIndex(PostgresIndex):
    """The vectors of one collection.

    Args:
        database: a PostgreSQL with pgvector.
        lock: that of the index.
        key: names the index.
        dimension: length of the vectors.
        ef_search: candidates looked at in a search: more finds more of the true neighbours and takes longer.
    """

    def __init__(
        self, database: Database, lock: IndexLock, key: IndexKey, *, dimension: int, ef_search: int = EF_SEARCH
    ) -> None:
        super().__init__(database, lock, key, "vectors", f"1/{dimension}")
        self._dimension, self._ef_search = dimension, min(ef_search, _MAX_EF)
        self._type, self._half = _Vector("vector", dimension), _Vector("halfvec", dimension)
        self._chunks = self._table = sa.Table(
            f"derived_{self._name}",
            self._metadata,
            sa.Column("chunk", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("vector", self._type, nullable=False),
        )
        self._has_graph = dimension <= _MAX_GRAPH_DIMENSION

    def apply(self, removed: Sequence[int], added: Mapping[int, NDArray[np.float32]], position: Position) -> None:
        """Remove and add vectors; removing what is not there and adding what is changes nothing."""
        chunk = self._table.c.chunk
        with self._changing(position) as change:
            if removed:
                gone = change.connection.execute(sa.delete(self._table).where(among(chunk, removed)))
                change.chunks -= gone.rowcount
            held = set(change.connection.scalars(sa.select(chunk).where(among(chunk, list(added)))))
            new = {each: vector for each, vector in added.items() if each not in held}
            if new:
                self._add(change.connection, new)
                change.chunks += len(new)
            if self._has_graph and position != UNBUILT and not change.was_built:
                # A graph of many vectors is built sooner at once than one by one.
                self._graph().create(change.connection)

    def search(
        self, vector: NDArray[np.float32], k: int, *, allowed: Sequence[int] | None = None, exact: bool = False
    ) -> Ranking:
        """Return the `k` vectors of highest inner product among the allowed ones."""
        if k <= 0 or (allowed is not None and not len(allowed)):
            return EMPTY_RANKING
        if not exact and (allowed is None or len(allowed) > _SCAN_ALLOWED):
            found = self._read(lambda session: self._walk(session, vector, k, allowed), EMPTY_RANKING)
            # Fewer than asked for: there are no more, or the walk gave up before it met them.
            if len(found) == k:
                return found
        return self._read(lambda session: self._scan(session, vector, k, allowed), EMPTY_RANKING)

    def scores(self, vector: NDArray[np.float32], ids: Sequence[int]) -> NDArray[np.float64]:
        """Return the inner product with each of these vectors, NaN for those that are not here."""
        chosen = sa.select(self._table.c.chunk, self._product(vector)).where(among(self._table.c.chunk, ids))
        nothing: dict[int, float] = {}
        known = self._read(lambda session: {row[0]: row[1] for row in session.execute(chosen)}, nothing)
        return np.array([known.get(each, np.nan) for each in ids], dtype=np.float64)

    def vectors(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return each of these vectors, NaN for those that are not here."""
        vector = sa.cast(self._table.c.vector, ARRAY(sa.REAL))
        chosen = sa.select(self._table.c.chunk, vector).where(among(self._table.c.chunk, ids))
        nothing: dict[int, list[float]] = {}
        known = self._read(lambda session: {row[0]: row[1] for row in session.execute(chosen)}, nothing)
        found = np.full((len(ids), self._dimension), np.nan, dtype=np.float32)
        for at, each in enumerate(ids):
            if each in known:
                found[at] = known[each]
        return found

    def _walk(self, session: Session, vector: NDArray[np.float32], k: int, allowed: Sequence[int] | None) -> Ranking:
        """Search the graph, going on until enough allowed vectors were met."""
        options = {
            "hnsw.ef_search": str(self._ef_search),
            "hnsw.iterative_scan": "relaxed_order",
            "hnsw.max_scan_tuples": str(_MAX_SCAN_TUPLES),
            "hnsw.scan_mem_multiplier": str(_SCAN_MEMORY),
            # The planner cannot know that its other ways read every vector.
            "enable_seqscan": "off",
            "enable_bitmapscan": "off",
            "enable_sort": "off",
        }
        session.execute(sa.select(*(sa.func.set_config(name, value, True) for name, value in options.items())))
        near = sa.cast(self._table.c.vector, self._half).op("<#>")(_literal(vector, self._half))
        best = sa.select(self._table.c.chunk, self._product(vector)).order_by(near).limit(k + _SPARE)
        if allowed is not None:
            best = best.where(among(self._table.c.chunk, allowed))
        return _ranking(session.execute(best), k)

    def _scan(self, session: Session, vector: NDArray[np.float32], k: int, allowed: Sequence[int] | None) -> Ranking:
        """Compare with every allowed vector."""
        product = self._product(vector)
        best = sa.select(self._table.c.chunk, product).order_by(product.desc(), self._table.c.chunk).limit(k)
        if allowed is not None:
            best = best.where(among(self._table.c.chunk, allowed))
        return _ranking(session.execute(best), k)

    def _product(self, vector: NDArray[np.float32]) -> sa.ColumnElement[float]:
        negative = self._table.c.vector.op("<#>", return_type=sa.Float())(_literal(vector, self._type))
        return -negative

    def _graph(self) -> sa.Index:
        # On a copy of the table's description, so that it is not made together with the table.
        column = self._table.to_metadata(sa.MetaData()).c.vector
        return sa.Index(
            f"{self._table.name}_graph",
            sa.cast(column, self._half).label("half"),
            postgresql_using="hnsw",
            postgresql_with={"m": M, "ef_construction": EF_CONSTRUCTION},
            postgresql_ops={"half": "halfvec_ip_ops"},
        )

    def _add(self, connection: sa.Connection, vectors: Mapping[int, NDArray[np.float32]]) -> None:
        pairs = sa.func.unnest(numbers(list(vectors)), texts(list(map(_text, vectors.values()))))
        rows = pairs.table_valued("chunk", "vector").render_derived()
        chosen = sa.select(rows.c.chunk, sa.cast(rows.c.vector, self._type))
        connection.execute(sa.insert(self._table).from_select(["chunk", "vector"], chosen))


def require_pgvector(database: Database) -> None:
    """Make the types and the graphs of pgvector known to the database.

    Raises:
        Unavailable: the server has no pgvector, or an old one, or only its owner may.
    """
    version = sa.text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    try:
        with database.transaction() as session:
            if session.scalar(version) is None:
                session.execute(sa.select(sa.func.pg_advisory_xact_lock(MAKING_LOCK)))
                session.execute(sa.text("CREATE EXTENSION IF NOT EXISTS vector"))
            found = str(session.scalar(version))
    except DBAPIError as error:
        reason = str(error.orig).partition("\n")[0]
        raise Unavailable(f"The database has no pgvector ({reason})", fix=_FIX) from error
    if tuple(map(int, found.split(".")[:2])) < _NEEDED:
        raise Unavailable(f"The database has pgvector {found}", fix=_FIX)


def _literal(vector: NDArray[np.float32], kind: _Vector) -> sa.ColumnElement[str]:
    return sa.cast(sa.literal(_text(vector), sa.Text), kind)


def _text(vector: NDArray[np.float32]) -> str:
    # Nine digits give the same 32 bits back.
    return f"[{','.join(map('{:.9g}'.format, vector.tolist()))}]"


def _ranking(rows: Iterable[Any], k: int) -> Ranking:
    found = [tuple(row) for row in rows]
    ids = np.array([each for each, _ in found], dtype=np.int64)
    scores = np.array([score for _, score in found], dtype=np.float64)
    order = np.lexsort((ids, -scores))[:k]
    return Ranking(ids[order], scores[order])
