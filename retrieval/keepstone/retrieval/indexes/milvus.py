"""Indexes on a Milvus server or cluster: for collections that one machine's memory does not hold.

Each half of an index is a collection of Milvus, named after the collection and the encoder that it belongs to.
"""

from __future__ import annotations

import re
import weakref
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from keepstone.platform.database import Database
from keepstone.retrieval.indexes.backends import IndexKey
from keepstone.retrieval.indexes.base import EF_SEARCH
from keepstone.retrieval.indexes.milvus_server import CollectionMissing, MilvusServer
from keepstone.retrieval.indexes.milvus_vectors import MilvusVectors
from keepstone.retrieval.indexes.milvus_words import MilvusWords
from keepstone.retrieval.indexes.postgres import IndexLock

_VECTORS, _WORDS = "vectors", "words"


class MilvusBackend:
    """Milvus.

    Args:
        server: the connection.
        prefix: begins the names of our collections; what begins with it and belongs to no index is dropped.
        database: where app processes that share it agree on who changes an index.
        ef_search: breadth of the vector search.
    """

    def __init__(self, server: MilvusServer, prefix: str, database: Database, *, ef_search: int = EF_SEARCH) -> None:
        self._server, self._prefix, self._database, self._ef_search = server, prefix, database, ef_search
        self._opened: defaultdict[IndexKey, weakref.WeakSet[MilvusVectors | MilvusWords]] = defaultdict(weakref.WeakSet)

    def vectors(self, key: IndexKey, version: str, dimension: int) -> MilvusVectors:
        """Open the vectors of an index."""
        half = MilvusVectors(
            self._server, self._name(key, _VECTORS), dimension=dimension, encoder=version, ef_search=self._ef_search
        )
        self._opened[key].add(half)
        return half

    def words(self, key: IndexKey) -> MilvusWords:
        """Open the words of an index."""
        half = MilvusWords(self._server, self._name(key, _WORDS))
        self._opened[key].add(half)
        return half

    @contextmanager
    def alone(self, key: IndexKey) -> Iterator[None]:
        """Keep other processes of this installation from changing an index, and see what they have done before."""
        if self._database.engine.dialect.name != "postgresql":
            # There is no other.
            yield
            return
        # Words or vectors may be in PostgreSQL, under a lock of their own.
        lock = IndexLock(self._database, IndexKey(key.collection_id, f"milvus {key.encoder}"))
        with lock.alone():
            for half in list(self._opened[key]):
                half.refresh()
            yield

    def kept(self) -> set[IndexKey]:
        """Return the indexes of which there is a collection in Milvus."""
        keys = (key_of(self._prefix, name) for name in self._server.call("list_collections"))
        return {key for key in keys if key is not None}

    def drop(self, key: IndexKey) -> None:
        """Drop both collections of an index."""
        self._opened.pop(key, None)
        for half in (_VECTORS, _WORDS):
            with suppress(CollectionMissing):
                self._server.call("drop_collection", self._name(key, half))

    def _name(self, key: IndexKey, half: str) -> str:
        return name_of(self._prefix, key, half)


def name_of(prefix: str, key: IndexKey, half: str) -> str:
    """Return the name of a collection of Milvus: letters, digits and underscores, of which `key_of` is the inverse."""
    return f"{prefix}__{_escaped(key.collection_id)}__{_escaped(key.encoder)}__{half}"


def key_of(prefix: str, name: str) -> IndexKey | None:
    """Return the index that a collection of Milvus belongs to; None for those that are not ours."""
    match name.split("__"):
        case [begin, collection_id, encoder, half] if begin == prefix and half in (_VECTORS, _WORDS):
            return IndexKey(_unescaped(collection_id), _unescaped(encoder))
    return None


def _escaped(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", lambda match: f"_{ord(match[0]):02x}", text)


def _unescaped(text: str) -> str:
    return re.sub(r"_([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), text)
