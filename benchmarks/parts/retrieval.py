"""Ingestion against the bare encoder, and search at 50,000 passages, in this process through the real services."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import sqlalchemy as sa
import torch
from sentence_transformers import SentenceTransformer

from benchmarks.app import prepared_app
from benchmarks.compare import interleaved
from benchmarks.harness import Context, Figure
from benchmarks.parts import scifact
from keepstone.platform import logs
from keepstone.platform.access import Principal, Scope
from keepstone.platform.accounts import SCOPES, ensure_local_admin
from keepstone.platform.database.tables import ChunkRow, JobState
from keepstone.platform.errors import KeepstoneError
from keepstone.platform.settings import load_settings
from keepstone.retrieval.adding import AddedDocument
from keepstone.retrieval.chunk_rows import INDEXED_TEXT
from keepstone.retrieval.embeddings import batched
from keepstone.ui.cli.files import BATCH_FILES
from keepstone.ui.runtime import Runtime

_JOB_TIMEOUT_S = 3600.0
_COLLECTION = "bench"
# As `keepstone ingest` hands files in: one portion is read while the next one comes.
_PORTION = BATCH_FILES
_RECALL_AT = 10


@contextmanager
def open_runtime(home: Path, *, max_tokens: int = 200) -> Iterator[Runtime]:
    """Open the services of an app without a language model on `home`."""
    settings = load_settings(home=home, engine={"mode": "off"}, chunking={"max_tokens": max_tokens})
    logs.configure(settings.logging.model_copy(update={"level": "warning"}))
    with Runtime.open(settings) as runtime:
        runtime.encoder.encode_query("warm up")
        yield runtime


def administrator(runtime: Runtime) -> Principal:
    """Return who owns all collections of benchmarks."""
    with runtime.database.transaction() as session:
        row = ensure_local_admin(session)
        return Principal(row.id, row.name, is_admin=True, scopes=frozenset(SCOPES))


def ingest(runtime: Runtime, files: Mapping[str, bytes], collection: str = _COLLECTION) -> float:
    """Ingest files into a new collection and return the seconds it took."""
    principal = administrator(runtime)
    runtime.library.create_collection(principal, collection)
    started = time.perf_counter()
    jobs = []
    for portion in batched(list(files.items()), _PORTION):
        named = [(name, io.BytesIO(data)) for name, data in portion]
        added = runtime.library.add_documents(principal, collection, named)
        ids = [each.document.id for each in added if isinstance(each, AddedDocument)]
        jobs.append(runtime.ingestion.submit(principal, collection, ids))
    for job_id in jobs:
        job = runtime.jobs.wait(job_id, _JOB_TIMEOUT_S)
        if job.state != JobState.SUCCEEDED:
            raise KeepstoneError(f"The ingestion job {job.state}: {job.error}")
    return time.perf_counter() - started


def ingestion(context: Context, documents: int = 600, name: str = "ingestion_ratio") -> Iterable[Figure]:
    """Yield chunks per second of the whole ingestion over those of `SentenceTransformer.encode` on the same texts."""
    files = scifact.documents(context.dataset("scifact"), documents)
    with tempfile.TemporaryDirectory(prefix="keepstone-ingest-", ignore_cleanup_errors=True) as scratch:
        source = Path(scratch) / "models-home"
        prepared_app(source, engine=False).run("models", "pull", "all-minilm-l6-v2")
        with open_runtime(source) as runtime:
            ingest(runtime, files)
            with runtime.database.reading() as session:
                texts = list(session.scalars(sa.select(INDEXED_TEXT)))
            folder = runtime.registry.get("all-minilm-l6-v2").path
        bare = SentenceTransformer(
            str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.bfloat16}
        )
        homes = iter(range(1000))

        def ours() -> float:
            home = Path(scratch) / f"home-{next(homes)}"
            prepared_app(home, engine=False).run("models", "pull", str(folder), "--name", "all-minilm-l6-v2")
            with open_runtime(home) as runtime:
                return len(texts) / ingest(runtime, files)

        def theirs() -> float:
            started = time.perf_counter()
            bare.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
            return len(texts) / (time.perf_counter() - started)

        compared = interleaved(ours, theirs, runs=context.runs, warmup=1)
    context.details["ingestion"] = {"documents": len(files), "chunks": len(texts)}
    yield compared.ratio(name)
    yield Figure("ingestion_chunks_per_s", compared.ours, "chunks/s")
    yield Figure("encoder_chunks_per_s", compared.theirs, "chunks/s")


def search(context: Context, chunks: int = 50_000) -> Iterable[Figure]:
    """Yield the milliseconds of a search without encoding the query, and the recall of HNSW against exact search."""
    folder = context.dataset("scifact")
    queries = scifact.claims(folder)
    with tempfile.TemporaryDirectory(prefix="keepstone-search-", ignore_cleanup_errors=True) as scratch:
        home = Path(scratch) / "home"
        prepared_app(home, engine=False).run("models", "pull", "all-minilm-l6-v2")
        # The shortest chunks that the settings allow: about a sentence each.
        with open_runtime(home, max_tokens=32) as runtime:
            seconds = ingest(runtime, scifact.documents(folder))
            with runtime.database.reading() as session:
                [collection_id] = session.scalars(sa.select(ChunkRow.collection_id).distinct())
                count = session.scalar(sa.select(sa.func.count()).select_from(ChunkRow)) or 0
            context.details["search"] = {"chunks": count, "ingest_s": round(seconds, 1), "queries": len(queries)}
            if count < chunks:
                context.say(f"the corpus gave {count} chunks, fewer than {chunks}")
            scope = Scope((collection_id,))
            yield Figure("search_ms", [_search_ms(runtime, scope, queries) for _ in range(context.runs)], "ms")
            yield Figure("hnsw_recall_at_10", [_recall(runtime, collection_id, queries)], "")


def _search_ms(runtime: Runtime, scope: Scope, queries: list[str]) -> float:
    times = []
    for query in queries:
        result = runtime.searcher.search(scope, query, k=10)
        times.append(sum(ms for stage, ms in result.timings.items() if stage != "encode"))
    return median(times)


def _recall(runtime: Runtime, collection_id: str, queries: list[str]) -> float:
    vectors = runtime.indexes.get(collection_id).vectors
    found = 0
    for query in queries:
        vector = runtime.encoder.encode_query(query)
        near = vectors.search(vector, _RECALL_AT).ids
        exact = vectors.search(vector, _RECALL_AT, exact=True).ids
        found += len(np.intersect1d(near, exact))
    return found / (_RECALL_AT * len(queries))
