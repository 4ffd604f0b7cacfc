"""What a further passage costs as a collection grows: processor time of the whole ingestion, from file to indexes."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from benchmarks.app import prepared_app
from benchmarks.harness import Context, Figure
from benchmarks.parts.collections import COLLECTIONS
from benchmarks.parts.retrieval import administrator, open_runtime
from keepstone.platform.database.tables import ChunkRow
from keepstone.retrieval.adding import AddedDocument
from keepstone.retrieval.embeddings import batched
from keepstone.ui.runtime import Runtime

_PORTION = 256
_FROM, _TO = 1_000, 100_000
_WINDOW = 10_000
_MAX_TOKENS = 32
_WAIT_S = 600.0


def cost_growth(context: Context) -> Iterable[Figure]:
    """Yield by how many per cent the last passages cost more than the first, those of a thousand before them apart."""
    files = _documents(context)
    with TemporaryDirectory(prefix="keepstone-growth-", ignore_cleanup_errors=True) as scratch:
        home = Path(scratch)
        prepared_app(home, engine=False).run("models", "pull", "all-minilm-l6-v2")
        with open_runtime(home, max_tokens=_MAX_TOKENS) as runtime:
            moments = list(_ingested(runtime, files))
    early = [each for each in moments if _FROM <= each[0] <= _FROM + _WINDOW]
    late = [each for each in moments if moments[-1][0] - _WINDOW <= each[0]]
    first, last = _ms(early), _ms(late)
    context.details["growth"] = {"chunks": moments[-1][0], "ms_per_chunk": [first, last]}
    yield Figure("added_chunk_cost_growth_percent", [100 * (last / first - 1)], "%")


def _ingested(runtime: Runtime, files: dict[str, bytes]) -> Iterator[tuple[int, float]]:
    """Ingest portion by portion; yield how many chunks there are then, and the processor's seconds up to then."""
    me = administrator(runtime)
    collection = runtime.library.create_collection(me, "growing").id
    for portion in batched(list(files.items()), _PORTION):
        added = runtime.library.add_documents(me, collection, [(name, io.BytesIO(data)) for name, data in portion])
        ids = [each.document.id for each in added if isinstance(each, AddedDocument)]
        runtime.jobs.wait(runtime.ingestion.submit(me, collection, ids), _WAIT_S)
        with runtime.database.reading() as session:
            count = session.scalar(sa.select(sa.func.count()).select_from(ChunkRow)) or 0
        yield count, time.process_time()
        if count >= _TO:
            return


def _ms(moments: list[tuple[int, float]]) -> float:
    (first, begun), *_, (last, ended) = moments
    return 1000 * (ended - begun) / (last - first)


def _documents(context: Context) -> dict[str, bytes]:
    """Return the passages of all English collections in a random order, so that early ones are like late ones."""
    texts = [
        text
        for name, collection in COLLECTIONS.items()
        if name not in ("xquad_zh", "cmrc2018")
        for text in collection(context).passages.values()
    ]
    unique = list(dict.fromkeys(texts))
    random.Random(0).shuffle(unique)
    return {f"{number}.md": f"{text}\n".encode() for number, text in enumerate(unique)}
