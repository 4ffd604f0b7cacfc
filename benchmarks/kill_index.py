"""Kills a process with SIGKILL while it changes and searches an index, again and again, and checks what is left.

    .venv/bin/python -m benchmarks.kill_index [--kills 50] [--seed 0] [--only hnsw|pgvector|milvus] [--json] [--check]

For each store in turn: a process adds, replaces and deletes documents, follows the changes and searches, until it is
killed at a random moment; every fifth one while it still opens the indexes. After each kill the indexes are opened anew
and must equal the database (what `keepstone doctor --indexes` checks). At the end, what they find is compared with what
indexes find that are built anew: the ten nearest vectors, and all passages with the question's words. `reordered` tells
for how many questions the ten best by words differ: tantivy's statistics count removed passages until it merges them
away, so its scores may differ, and PostgreSQL's may not; milvus-lite keeps them by segment.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.harness import Context, Figure, main
from benchmarks.parts.index_worker import ENCODER, Place, new_collection, text, work
from benchmarks.parts.milvus_lite import MilvusLite
from benchmarks.parts.postgres_server import postgres_server
from keepstone.platform.database import Database
from keepstone.platform.settings import IndexSettings
from keepstone.retrieval.analysis import tokens
from keepstone.retrieval.indexes import CollectionIndex

STORES = {
    "hnsw": IndexSettings(),
    "pgvector": IndexSettings(vectors="pgvector", words="postgres"),
    "milvus": IndexSettings(vectors="milvus", words="milvus", milvus_timeout_s=120),
}
_LONGEST_LIFE_S = 3.0
_QUESTIONS = 100


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found after the kills."""

    kills: int
    index_faults: int
    """After how many of them an index differed from the database."""
    differing_results: int
    """For how many questions the indexes find other passages than indexes that are built anew."""
    reordered: int
    """For how many questions the ten best passages by words are others, or in another order."""
    passages: list[int]
    """How many there were after each kill."""


def kill_repeatedly(url: str, folder: Path, settings: IndexSettings, *, kills: int, seed: int) -> Outcome:
    """Work in an empty database until killed, again and again, and check what is left each time."""
    chance = random.Random(seed)
    database = Database(url)
    database.upgrade()
    place = Place(url, folder, settings, new_collection(database, chance))
    faults, passages = 0, []
    for number in range(kills):
        _live_and_die(place, chance, wait=number % 5 != 4)
        with place.open(database) as indexes:
            report = indexes.verify(place.collection_id)
        faults += not report.ok
        passages.append(report.chunks)
    with place.open(database) as indexes:
        index = indexes.get(place.collection_id)
        index.catch_up(database)
        questions = [text(chance) for _ in range(_QUESTIONS)]
        before = [_Found.by(index, question) for question in questions]
        index.rebuild(database)
        after = [_Found.by(index, question) for question in questions]
    database.close()
    pairs = list(zip(before, after, strict=True))
    return Outcome(
        kills,
        faults,
        sum((a.nearest, a.having) != (b.nearest, b.having) for a, b in pairs),
        sum(a.best != b.best for a, b in pairs),
        passages,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """The passages that an index finds for a question."""

    nearest: list[int]
    """The ten of highest cosine similarity."""
    having: list[int]
    """All that have any of its words, by id."""
    best: list[int]
    """The ten of highest BM25 score."""

    @classmethod
    def by(cls, index: CollectionIndex, question: str) -> _Found:
        nearest = index.vectors.search(ENCODER.encode_query(question), 10)
        ranked = index.words.search(tokens(question), index.words.count)
        return cls(nearest.ids.tolist(), sorted(ranked.ids.tolist()), ranked.ids[:10].tolist())


def _live_and_die(place: Place, chance: random.Random, *, wait: bool) -> None:
    # Forked from a server that has imported everything, so that a life is spent on work.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["__main__", "benchmarks.parts.index_worker"])
    here, there = processes.Pipe(duplex=False)
    process = processes.Process(target=work, args=(place, chance.randrange(2**32), there), daemon=True)
    process.start()
    there.close()
    if wait:
        here.recv()
    time.sleep(chance.uniform(0, _LONGEST_LIFE_S))
    process.kill()
    process.join()
    here.close()


@contextmanager
def _database(store: str, folder: Path) -> Iterator[str]:
    """Yield the URL of an empty database that suits a store."""
    if store != "pgvector":
        yield f"sqlite:///{folder / 'keepstone.db'}"
        return
    with postgres_server() as socket:
        with psycopg.connect(host=str(socket), user="postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE keepstone")
        yield f"postgresql+psycopg://postgres@/keepstone?host={socket}"


@contextmanager
def _server(settings: IndexSettings, folder: Path) -> Iterator[IndexSettings]:
    """Start milvus-lite where the settings want Milvus, and yield the settings with its address."""
    if settings.vectors != "milvus":
        yield settings
        return
    server = MilvusLite(folder / "milvus")
    try:
        yield settings.model_copy(update={"milvus_url": server.url})
    finally:
        server.kill()


def measure(context: Context) -> Iterable[Figure]:
    """Do as the options say, for each store that is wanted."""
    options = context.options
    for store, settings in STORES.items():
        if not context.wants(f"index_faults_{store}"):
            continue
        context.say(f"killing {options.kills} times with {settings.vectors} and {settings.words}")
        with (
            tempfile.TemporaryDirectory(prefix="keepstone-kill-", ignore_cleanup_errors=True) as scratch,
            _database(store, Path(scratch)) as url,
            _server(settings, Path(scratch)) as place,
        ):
            outcome = kill_repeatedly(url, Path(scratch) / "indexes", place, kills=options.kills, seed=options.seed)
        context.details[f"passages_after_each_kill_{store}"] = outcome.passages
        yield Figure(f"kills_{store}", [outcome.kills], "kills")
        yield Figure(f"index_faults_{store}", [outcome.index_faults], f"of {outcome.kills}")
        yield Figure(f"differing_results_{store}", [outcome.differing_results], f"of {_QUESTIONS}")
        yield Figure(f"reordered_{store}", [outcome.reordered], f"of {_QUESTIONS}")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kills", type=int, default=50, help="how often to kill, for each store (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="of the documents and of the moments (default: 0)")


if __name__ == "__main__":
    raise SystemExit(main("kill_index", measure, options=_options, runs=1))
