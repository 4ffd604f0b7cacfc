"""Keepstone beside Chroma, LanceDB, FAISS, Qdrant (local), txtai, and the usual pipelines of LangChain and LlamaIndex.

    python3 -m venv peers && peers/bin/pip install -r constraints/peers.txt
    .venv/bin/python -m benchmarks.peers --python peers/bin/python [--json] [--check] [--peer NAME ...]

The same documents, questions and encoder for all, in one run, one after the other: 1,500 abstracts of SciFact, among
them those that its 300 test claims are about. Each system is used as its introduction shows (benchmarks/others/run.py),
so of the others only txtai searches by words as well. Keepstone reads files, cuts and encodes them, keeps all of it
durably in a database and indexes it twice; the others are handed the texts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from benchmarks.app import prepared_app
from benchmarks.harness import Context, Figure, main
from benchmarks.parts.collections import Collection, claims
from benchmarks.parts.retrieval import administrator, ingest, open_runtime
from benchmarks.parts.tuning import ndcg
from keepstone.platform.access import readable_scope
from keepstone.platform.errors import KeepstoneError

_PEERS = ("chroma", "lancedb", "faiss", "qdrant", "txtai", "langchain", "llamaindex")
_DOCUMENTS = 1500
_AT = 10
_DEPTH = 30
_TIMEOUT_S = 3600
_SCRIPT = Path(__file__).parent / "others" / "run.py"


@dataclass(frozen=True, slots=True)
class Measured:
    """What one system did with the collection."""

    ingest_s: float
    search_s: float
    with_encoding: bool
    """Whether the time of searches has that of encoding the questions in it."""
    memory_mib: float
    found: dict[str, list[str]]


def measure(context: Context) -> Iterable[Figure]:
    """Yield the figures of every system, and the ratio of its time of ingestion to ours, measured first and last."""
    collection = _part(claims(context.dataset("scifact"), "test"))
    with TemporaryDirectory(prefix="keepstone-peers-", ignore_cleanup_errors=True) as scratch:
        ours, model = _keepstone(Path(scratch) / "first", collection)
        yield from _figures("keepstone", ours, collection)
        measured = {}
        for name in context.options.peer or _PEERS:
            context.say(name)
            folder = Path(scratch) / name
            folder.mkdir()
            try:
                measured[name] = _peer(context.options.python, name, folder, model, collection)
            except KeepstoneError as error:
                # The others are worth their figures, too; targets that are about this one count as not reached.
                context.say(str(error))
                context.details[f"failure_{name}"] = str(error)
                continue
            yield from _figures(name, measured[name], collection)
        again, _ = _keepstone(Path(scratch) / "last", collection)
        for name, theirs in measured.items():
            yield Figure(f"ingestion_ratio_{name}", [theirs.ingest_s / each.ingest_s for each in (ours, again)], "x")


def _keepstone(home: Path, collection: Collection) -> tuple[Measured, Path]:
    """Return what we did in a new home, and the folder of the encoder."""
    prepared_app(home, engine=False).run("models", "pull", "all-minilm-l6-v2")
    names = list(collection.passages)
    with open_runtime(home) as runtime:
        before = psutil.Process().memory_info().rss
        texts = collection.passages.values()
        seconds = ingest(runtime, {f"{at}.md": f"{text}\n".encode() for at, text in enumerate(texts)}, "peers")
        memory = (psutil.Process().memory_info().rss - before) / 2**20
        with runtime.database.reading() as session:
            scope = readable_scope(session, administrator(runtime), ["peers"])
        found, spent = {}, 0.0
        for question, text in collection.questions.items():
            result = runtime.searcher.search(scope, text, k=_DEPTH)
            spent += sum(ms for stage, ms in result.timings.items() if stage != "encode") / 1000
            ids = [names[int(Path(hit.document_name).stem)] for hit in result.hits]
            found[question] = list(dict.fromkeys(ids))[:_AT]
        folder = runtime.registry.get("all-minilm-l6-v2").path
    return Measured(seconds, spent, False, memory, found), folder


def _peer(python: Path, name: str, folder: Path, model: Path, collection: Collection) -> Measured:
    (folder / "model.txt").write_text(str(model), encoding="utf-8")
    for kind, texts in (("documents", collection.passages), ("questions", collection.questions)):
        lines = [json.dumps({"id": each, "text": text}) for each, text in texts.items()]
        (folder / f"{kind}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    began = time.monotonic()
    done = subprocess.run(
        [python, _SCRIPT, name, folder], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode:
        raise KeepstoneError(f"{name} failed after {time.monotonic() - began:.0f} s: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Measured(**result)


def _figures(name: str, measured: Measured, collection: Collection) -> Iterable[Figure]:
    scores = [
        ndcg(measured.found.get(question, [])[:_AT], collection.relevant[question]) for question in collection.questions
    ]
    encoded = ", encoding included" if measured.with_encoding else ""
    yield Figure(f"ndcg10_{name}", [fmean(scores)], "")
    yield Figure(f"ingestion_{name}", [len(collection.passages) / measured.ingest_s], "documents/s")
    yield Figure(f"queries_{name}", [len(collection.questions) / measured.search_s], f"queries/s{encoded}")
    yield Figure(f"memory_{name}", [measured.memory_mib], "MiB")


def _part(whole: Collection) -> Collection:
    """Return the documents that the questions are about, and others up to the number."""
    wanted = {name for marks in whole.relevant.values() for name in marks}
    others = [name for name in whole.passages if name not in wanted][: _DOCUMENTS - len(wanted)]
    kept = wanted.union(others)
    return Collection(
        {name: text for name, text in whole.passages.items() if name in kept}, whole.questions, whole.relevant
    )


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--python", type=Path, required=True, help="the Python that has the other systems")
    parser.add_argument("--peer", action="append", choices=_PEERS, help="one of them; all by default")


if __name__ == "__main__":
    raise SystemExit(main("peers", measure, options=_options))
