"""Retrieval as a library: a folder, and what is found in the documents that were put there.

with open_retrieval("notes") as notes:
    notes.add_files(Path("handbook").rglob("*.pdf"))
    for hit in notes.search("How long is the warranty?").hits:
        print(hit.document_name, hit.page, hit.text)

The folder is laid out like an app's home folder, and belongs to one process at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

import sqlalchemy as sa

from keepstone.platform.access import Principal, find_collection, readable_scope
from keepstone.platform.accounts import SCOPES, ensure_local_admin
from keepstone.platform.blobs import BlobStore
from keepstone.platform.database import Database
from keepstone.platform.database.tables import UNFINISHED, DocumentRow, new_id
from keepstone.platform.errors import KeepstoneError, NotFound
from keepstone.platform.jobs import JobInfo, Jobs
from keepstone.platform.locks import exclusive_lock
from keepstone.platform.model_settings import EncoderSettings
from keepstone.platform.models.registry import ModelRegistry
from keepstone.platform.settings import ChunkingSettings, IngestionSettings, SearchSettings
from keepstone.retrieval.documents import DocumentInfo
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.encoders import Encoders, open_encoder
from keepstone.retrieval.filters import Where
from keepstone.retrieval.indexes.catalog import IndexSet
from keepstone.retrieval.ingest import KIND, Ingestion
from keepstone.retrieval.library import Library
from keepstone.retrieval.loaders.base import LoadLimits
from keepstone.retrieval.loaders.worker import LoadPool
from keepstone.retrieval.reranking import Rerankers, open_reranker
from keepstone.retrieval.search import Searcher, SearchResult

DEFAULT_COLLECTION = "default"
_CHUNKING, _INGESTION, _SEARCH = ChunkingSettings(), IngestionSettings(), SearchSettings()
_ENCODER = EncoderSettings()


class Retrieval:
    """The collections of one folder; `open_retrieval` makes it. All methods may be called from several threads.

    Args:
        database: where documents and passages are.
        principal: on whose behalf everything is done.
        encoders: of the collections; new ones get the default.
        indexes: of the collections.
        library: for whatever this class does not offer.
        ingestion: turns documents into passages.
        searcher: finds them.
    """

    def __init__(
        self,
        *,
        database: Database,
        principal: Principal,
        encoders: Encoders,
        indexes: IndexSet,
        library: Library,
        ingestion: Ingestion,
        searcher: Searcher,
    ) -> None:
        self.database, self.principal = database, principal
        self.encoders, self.indexes = encoders, indexes
        self.library, self.searcher = library, searcher
        self._ingestion = ingestion
        self._ingesting = threading.Lock()

    def add_files(self, paths: Iterable[Path], *, collection: str = DEFAULT_COLLECTION) -> list[DocumentInfo]:
        """Read files into a collection, as `add` does, under their paths as they are given."""
        return self.add([(path.as_posix(), path.read_bytes()) for path in paths], collection=collection)

    def add(self, files: Sequence[tuple[str, bytes]], *, collection: str = DEFAULT_COLLECTION) -> list[DocumentInfo]:
        """Bring files into a collection, which is made if there is none, and make them findable.

        What has been there before is not read again; a file of the same name takes the other one's place.

        Args:
            files: name and bytes of each.
            collection: name or id.

        Returns:
            Each file's document, in their order. One that could not be read has the state `failed` and says why.

        Raises:
            KeepstoneError: a file could not even be stored: it is too large, or its name cannot be used.
        """
        collection_id = self._collection(collection)
        streams = [(name, BytesIO(data)) for name, data in files]
        added = self.library.add_documents(self.principal, collection_id, streams)
        self._ingest(collection_id)
        infos: list[DocumentInfo] = []
        for each in added:
            if isinstance(each, KeepstoneError):
                raise each
            infos.append(self.library.document(self.principal, each.document.id))
        return infos

    def search(
        self, query: str, *, k: int = 10, collections: Iterable[str] | None = None, where: Where | None = None
    ) -> SearchResult:
        """Find the passages that answer a question best, by meaning and by words.

        Args:
            query: in words.
            k: how many passages.
            collections: names or ids; all by default.
            where: only documents of which this is known, see `filters`.
        """
        with self.database.reading() as session:
            scope = readable_scope(session, self.principal, collections)
        return self.searcher.search(scope, query, k=k, where=where)

    def _collection(self, name: str) -> str:
        with self.database.reading() as session:
            try:
                return find_collection(session, self.principal, name, "write").id
            except NotFound:
                pass
        return self.library.create_collection(self.principal, name).id

    def _ingest(self, collection_id: str) -> None:
        """Read what waits in a collection, also what a process that died has left there."""
        with self._ingesting:
            waiting = sa.select(DocumentRow.id).where(
                DocumentRow.collection_id == collection_id, DocumentRow.state.in_(UNFINISHED)
            )
            with self.database.reading() as session:
                documents = list(session.scalars(waiting.order_by(DocumentRow.created_at, DocumentRow.id)))
            job = JobInfo(id=new_id("job"), kind=KIND, args={"documents": documents}, collection_id=collection_id)
            for unit in self._ingestion.plan(job):
                self._ingestion.run(job, unit)
            self._ingestion.finish(job, None)


@contextmanager
def open_retrieval(
    folder: Path | str,
    *,
    encoder: Encoder | str = _ENCODER.model,
    chunking: ChunkingSettings = _CHUNKING,
    ingestion: IngestionSettings = _INGESTION,
    search: SearchSettings = _SEARCH,
) -> Iterator[Retrieval]:
    """Open a folder of collections, which is made at the first use.

    Args:
        folder: where everything is kept; the home folder of an app that is not running will do.
        encoder: one that is installed in this folder, by its name, or any other; changing it encodes all anew.
        chunking: how documents are cut.
        ingestion: what reading a file may cost.
        search: how passages are found.

    Raises:
        Conflict: another process uses this folder.
        ModelMissing: the encoder is not installed.
    """
    home = Path(folder).expanduser().absolute()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as resources:
        fix = "Close it there, or name another folder"
        resources.enter_context(exclusive_lock(home / "app.lock", f"Another process uses {home}", fix=fix))
        database = Database(f"sqlite:///{home / 'keepstone.db'}")
        resources.callback(database.close)
        database.upgrade()
        with database.transaction() as session:
            admin = ensure_local_admin(session)
            principal = Principal(admin.id, admin.name, is_admin=True, scopes=frozenset(SCOPES))
        registry = ModelRegistry(database, home)
        encoders = _encoders(registry, encoder)
        indexes = resources.enter_context(IndexSet(database, home / "indexes", encoders, ef_search=search.ef_search))
        blobs = BlobStore((home / "blobs").as_uri())
        limits = LoadLimits(
            max_text_chars=ingestion.max_text_chars,
            timeout_s=ingestion.load_timeout_s,
            memory_mb=ingestion.load_memory_mb,
        )
        reading = Ingestion(
            database=database,
            blobs=blobs,
            pool=resources.enter_context(LoadPool(limits)),
            encoders=encoders,
            indexes=indexes,
            chunking=chunking,
            jobs=Jobs(database, f"sqlite:///{home / 'jobs.db'}"),
        )
        indexes.catch_up_all()
        indexes.prune_changes()

        def follow(collection_id: str) -> None:
            indexes.catch_up(collection_id)

        yield Retrieval(
            database=database,
            principal=principal,
            encoders=encoders,
            indexes=indexes,
            library=Library(
                database,
                blobs,
                encoder_version=encoders.default.version,
                chunking=chunking,
                max_file_bytes=ingestion.max_file_mb * 2**20,
                on_change=follow,
            ),
            ingestion=reading,
            searcher=Searcher(database, encoders, indexes, search, _rerankers(registry, encoders)),
        )


def _encoders(registry: ModelRegistry, chosen: Encoder | str) -> Encoders:
    def load(version: str) -> Encoder:
        return open_encoder(registry.get(version), _ENCODER)

    return Encoders(load(chosen) if isinstance(chosen, str) else chosen, load)


def _rerankers(registry: ModelRegistry, encoders: Encoders) -> Rerankers:
    return Rerankers(encoders.default, lambda name: open_reranker(registry.get(name), _ENCODER))
