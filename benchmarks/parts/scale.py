"""The vector index at 100,000 vectors and at a million, against bare hnswlib with the same graph in the same run.

The vectors are synthetic, since real ones would take hours to encode: points of a space of 32 dimensions, spread over
topics, in a random position within the 384 of the usual small encoder, with a little noise. Nearest neighbours among
them are about as hard to find as among passages; vectors of independent numbers would have none.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.compare import interleaved
from benchmarks.harness import Context, Figure
from keepstone.retrieval.embeddings import batched
from keepstone.retrieval.indexes.base import EF_SEARCH, Position
from keepstone.retrieval.indexes.hnsw import EF_CONSTRUCTION, HnswIndex, M, breadth

_DIMENSION, _LATENT, _TOPICS, _NOISE = 384, 32, 1000, 0.02
_BATCH = 1000
_QUERIES = 1000
_EXACT_QUERIES = 300
_AT = 10
_SELECTIVITY = 0.01

FIGURES = (
    "ann_qps_ratio",
    "ann_qps",
    "ann_recall_at_10",
    "bare_recall_at_10",
    "filtered_latency_ratio",
    "filtered_recall",
    "memory_ratio",
    "startup_s",
)
"""Each with the size behind it, such as `ann_qps_100k`."""

Vectors = NDArray[np.float32]


def at_scale(context: Context, count: int, label: str) -> Iterable[Figure]:
    """Yield speed, recall, memory and start-up of an index of so many vectors.

    Args:
        context: of the benchmark.
        count: how many vectors.
        label: what the figures are named after, such as `100k`.
    """
    with tempfile.TemporaryDirectory(prefix="keepstone-scale-", ignore_cleanup_errors=True) as scratch:
        context.say(f"{count:,} vectors: building")
        questions = _vectors(count, _QUERIES, of=-1)
        bare = _bare(count)
        # Whatever the process took before, the index is charged with what it adds.
        before, before_files = _resident()
        index = HnswIndex(Path(scratch), dimension=_DIMENSION, encoder="synthetic", ef_search=EF_SEARCH)
        added = list(_fill(index, count))
        yield from _speed(context, index, bare, questions, label)
        yield from _filtered(context, index, questions, count, label)
        resident, files = _resident()
        yield Figure(f"memory_ratio_{label}", [(resident - before) / _needed(count)], "x")
        index.save()
        index.close()
        started = time.perf_counter()
        HnswIndex(Path(scratch), dimension=_DIMENSION, encoder="synthetic", ef_search=EF_SEARCH).close()
        yield Figure(f"startup_s_{label}", [(time.perf_counter() - started) / (count / 100_000)], "s per 100,000")
    context.details[f"scale_{label}"] = {
        "vectors": count,
        "ef_search": breadth(EF_SEARCH, count),
        "resident_mib": resident - before >> 20,
        "resident_file_mib": files - before_files >> 20,
        "own_account_mib": _needed(count) >> 20,
        "add_ms": {str(size): round(1000 * seconds, 4) for size, seconds in added},
    }


def _speed(context: Context, index: HnswIndex, bare: Any, questions: Vectors, label: str) -> Iterable[Figure]:
    def ours() -> float:
        started = time.perf_counter()
        for question in questions:
            index.search(question, _AT)
        return len(questions) / (time.perf_counter() - started)

    def theirs() -> float:
        started = time.perf_counter()
        for question in questions:
            bare.knn_query(question, k=_AT, num_threads=1)
        return len(questions) / (time.perf_counter() - started)

    compared = interleaved(ours, theirs, runs=context.runs)
    some = questions[:_EXACT_QUERIES]
    exact = [index.search(question, _AT, exact=True).ids for question in some]
    yield compared.ratio(f"ann_qps_ratio_{label}")
    yield Figure(f"ann_qps_{label}", compared.ours, "queries/s")
    found = [index.search(question, _AT).ids for question in some]
    yield Figure(f"ann_recall_at_10_{label}", [_recall(found, exact)], "")
    found = [bare.knn_query(question, k=_AT, num_threads=1)[0][0] for question in some]
    yield Figure(f"bare_recall_at_10_{label}", [_recall(found, exact)], "")


def _filtered(context: Context, index: HnswIndex, questions: Vectors, count: int, label: str) -> Iterable[Figure]:
    chance = np.random.default_rng(7)
    allowed = np.sort(chance.choice(count, int(count * _SELECTIVITY), replace=False)).tolist()
    some = questions[:_EXACT_QUERIES]

    def filtered() -> float:
        started = time.perf_counter()
        for question in some:
            index.search(question, _AT, allowed=allowed)
        return time.perf_counter() - started

    def free() -> float:
        started = time.perf_counter()
        for question in some:
            index.search(question, _AT)
        return time.perf_counter() - started

    yield interleaved(filtered, free, runs=context.runs).ratio(f"filtered_latency_ratio_{label}")
    exact = [index.search(question, _AT, allowed=allowed, exact=True).ids for question in some]
    found = [index.search(question, _AT, allowed=allowed).ids for question in some]
    yield Figure(f"filtered_recall_{label}", [_recall(found, exact)], "")


def _fill(index: HnswIndex, count: int) -> Iterator[tuple[int, float]]:
    """Fill the index; yield its size at some moments, and the seconds that each of the last vectors took."""
    for number, ids in enumerate(batched(range(count), _BATCH)):
        vectors = _vectors(count, len(ids), of=number)
        started = time.perf_counter()
        index.apply([], dict(zip(ids, vectors, strict=True)), Position(number + 1))
        if (number + 1) * _BATCH in (_BATCH, 10 * _BATCH, count):
            yield (number + 1) * _BATCH, (time.perf_counter() - started) / len(ids)


def _bare(count: int) -> Any:
    graph = hnswlib.Index(space="ip", dim=_DIMENSION)
    graph.init_index(max_elements=count, M=M, ef_construction=EF_CONSTRUCTION, random_seed=1)
    graph.set_ef(breadth(EF_SEARCH, count))
    for number, ids in enumerate(batched(range(count), _BATCH)):
        graph.add_items(_vectors(count, len(ids), of=number), np.array(ids))
    return graph


def _vectors(count: int, rows: int, of: int) -> Vectors:
    """Return the batch number `of` of an index of so many vectors, unit length; -1 is that of the questions."""
    world = np.random.default_rng(0)
    spread = world.standard_normal((_LATENT, _DIMENSION), dtype=np.float32) / np.float32(np.sqrt(_LATENT))
    topics = world.standard_normal((_TOPICS, _LATENT), dtype=np.float32)
    chance = np.random.default_rng([count, of + 1])
    points = topics[chance.integers(_TOPICS, size=rows)] + chance.standard_normal((rows, _LATENT), dtype=np.float32)
    vectors = points @ spread + _NOISE * chance.standard_normal((rows, _DIMENSION), dtype=np.float32)
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _recall(found: Iterable[Any], exact: Iterable[Any]) -> float:
    pairs = list(zip(found, exact, strict=True))
    return sum(len(np.intersect1d(one, other)) for one, other in pairs) / sum(len(other) for _, other in pairs)


def _needed(count: int) -> int:
    """Return the bytes of so many vectors and their links, as hnswlib keeps them: float32, 2 M links of 4 bytes."""
    return count * (_DIMENSION * 4 + 2 * M * 4 + 4 + 8)


def _resident() -> tuple[int, int]:
    """Return the bytes of memory of the process's own, and those of files, which the system takes back at need."""
    memory = psutil.Process().memory_info()
    return memory.rss - memory.shared, memory.shared
