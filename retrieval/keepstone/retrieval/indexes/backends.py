"""Where indexes are kept: each half of them, vectors and words, in the backend that the settings name.

store = open_store(settings.indexes, database, home / "indexes", ef_search=settings.search.ef_search)
index = store.open(collection_id, encoder.version, encoder.dimension)

To plug in another backend, write a class like `FolderBackend`, and name it in `_backend`, `_SAME_BACKEND` and
`IndexSettings`.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from keepstone.platform.database import Database
from keepstone.platform.settings import IndexSettings
from keepstone.retrieval.indexes.base import EF_SEARCH, LexicalIndex, VectorIndex
from keepstone.retrieval.indexes.bm25 import Bm25Index
from keepstone.retrieval.indexes.codes import BinaryCodes, Codes, Int8Codes
from keepstone.retrieval.indexes.collection import CollectionIndex
from keepstone.retrieval.indexes.hnsw import HnswIndex
from keepstone.retrieval.indexes.scan import ScanIndex

_CODES: Final[Mapping[str, Callable[[int], Codes]]] = {"int8": Int8Codes, "binary": BinaryCodes}
# For each choice of `indexes.vectors` that of `indexes.words` which names the same backend.
_SAME_BACKEND = {
    "hnsw": "tantivy",
    "int8": "tantivy",
    "binary": "tantivy",
    "pgvector": "postgres",
    "milvus": "milvus",
}


@dataclass(frozen=True, slots=True)
class IndexKey:
    """Names the index of a collection under an encoder, in a form that may stand in paths."""

    collection_id: str
    encoder: str
    """The encoder's version made short: readable, and different for different versions."""

    @classmethod
    def of(cls, collection_id: str, version: str) -> IndexKey:
        """Return the key of the index under an encoder's version."""
        if not re.fullmatch(r"[A-Za-z0-9_-]+", collection_id):
            raise ValueError(f"not a collection id: {collection_id!r}")
        readable = re.sub(r"[^A-Za-z0-9.-]+", "-", version)[:40].strip(".-")
        return cls(collection_id, f"{readable}-{hashlib.sha256(version.encode()).hexdigest()[:8]}")


class Backend(Protocol):
    """One technology, with room for the indexes of many collections. An index is made when it is first written."""

    def vectors(self, key: IndexKey, version: str, dimension: int) -> VectorIndex:
        """Open the vectors of an index; `version` is the encoder's, whose vectors have this dimension."""

    def words(self, key: IndexKey) -> LexicalIndex:
        """Open the words of an index."""

    def alone(self, key: IndexKey) -> AbstractContextManager[None]:
        """Keep other processes from changing an index; where none can, this does nothing."""

    def kept(self) -> set[IndexKey]:
        """Return the indexes that there are, opened or not."""

    def drop(self, key: IndexKey) -> None:
        """Delete both halves of an index, where it has them; who still searches in it finds nothing more."""


class FolderBackend:
    """Files of one process: hnswlib, or codes in memory, and tantivy.

    Args:
        folder: where they are, `COLLECTION/ENCODER/`.
        ef_search: breadth of the vector search.
        codes: what is kept of vectors in memory to look through; None: whole vectors in a graph.
    """

    def __init__(
        self, folder: Path, *, ef_search: int = EF_SEARCH, codes: Callable[[int], Codes] | None = None
    ) -> None:
        self._folder, self._ef_search, self._codes = folder, ef_search, codes

    def vectors(self, key: IndexKey, version: str, dimension: int) -> VectorIndex:
        """Open the vectors of an index."""
        if self._codes is not None:
            codes = self._codes(dimension)
            return ScanIndex(self._path(key), dimension=dimension, encoder=version, codes=codes)
        return HnswIndex(self._path(key), dimension=dimension, encoder=version, ef_search=self._ef_search)

    def words(self, key: IndexKey) -> Bm25Index:
        """Open the words of an index."""
        return Bm25Index(self._path(key) / "words")

    def alone(self, key: IndexKey) -> AbstractContextManager[None]:
        """Do nothing: the folder belongs to one process."""
        del key
        return nullcontext()

    def kept(self) -> set[IndexKey]:
        """Return the indexes that have a folder."""
        collections = [path for path in self._folder.iterdir() if path.is_dir()]
        return {IndexKey(path.name, each.name) for path in collections for each in path.iterdir()}

    def drop(self, key: IndexKey) -> None:
        """Delete an index's folder, and that of its collection with the last one."""
        path = self._path(key)
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            path.parent.rmdir()

    def _path(self, key: IndexKey) -> Path:
        return self._folder / key.collection_id / key.encoder


class IndexStore:
    """The indexes of all collections, whose halves may be kept in different backends.

    Args:
        vectors: where the vectors are.
        words: where the words are; the same object where one backend keeps both.
    """

    def __init__(self, vectors: Backend, words: Backend) -> None:
        self._vectors, self._words = vectors, words
        self._backends = tuple(dict.fromkeys((vectors, words)))

    def open(self, collection_id: str, version: str, dimension: int) -> CollectionIndex:
        """Open the index of a collection under an encoder, or an empty one that is kept once it is written."""
        key = IndexKey.of(collection_id, version)
        return CollectionIndex(
            collection_id,
            self._vectors.vectors(key, version, dimension),
            self._words.words(key),
            encoder_version=version,
            dimension=dimension,
            alone=lambda: self._alone(key),
        )

    def kept(self) -> set[IndexKey]:
        """Return the indexes of which there is a half."""
        return set().union(*(backend.kept() for backend in self._backends))

    def drop(self, key: IndexKey) -> None:
        """Delete both halves of an index."""
        for backend in self._backends:
            backend.drop(key)

    @contextmanager
    def _alone(self, key: IndexKey) -> Iterator[None]:
        with ExitStack() as held:
            for backend in self._backends:
                held.enter_context(backend.alone(key))
            yield


def open_store(settings: IndexSettings, database: Database, folder: Path, *, ef_search: int = EF_SEARCH) -> IndexStore:
    """Return the store that the settings name.

    Args:
        settings: names the backends.
        database: the truth; on PostgreSQL it may keep indexes, too.
        folder: for indexes in files.
        ef_search: breadth of the vector search.

    Raises:
        SettingsError: the indexes are to be in PostgreSQL, and the database is not.
    """
    vectors = _backend(settings.vectors, settings, database, folder, ef_search)
    if settings.words == _SAME_BACKEND[settings.vectors]:
        return IndexStore(vectors, vectors)
    return IndexStore(vectors, _backend(settings.words, settings, database, folder, ef_search))


def _backend(name: str, settings: IndexSettings, database: Database, folder: Path, ef_search: int) -> Backend:
    if name in ("hnsw", "tantivy"):
        return FolderBackend(folder, ef_search=ef_search)
    if name in _CODES:
        return FolderBackend(folder, codes=_CODES[name])
    if name in ("pgvector", "postgres"):
        from keepstone.retrieval.indexes.postgres_backend import PostgresBackend

        return PostgresBackend(database, ef_search=ef_search)
    if name == "milvus":
        from keepstone.retrieval.indexes.milvus import MilvusBackend
        from keepstone.retrieval.indexes.milvus_server import MilvusServer

        token = settings.milvus_token.get_secret_value() if settings.milvus_token else None
        server = MilvusServer(settings.milvus_url, token=token, timeout_s=settings.milvus_timeout_s)
        return MilvusBackend(server, settings.milvus_prefix, database, ef_search=ef_search)
    raise ValueError(f"no backend is called {name!r}")
