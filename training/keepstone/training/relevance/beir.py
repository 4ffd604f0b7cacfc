"""Public collections in the format of BEIR (Thakur et al., 2021): what search is worth there, with the usual measures.

    with open_retrieval("scratch") as store:
        run = run_beir(Path("scifact"), store)
        print(run.figures)
        run.write_trec(Path("scifact.run"))

The folder holds `corpus.jsonl` (`_id`, `title`, `text`), `queries.jsonl` (`_id`, `text`) and `qrels/SPLIT.tsv`.
Documents are ingested as files are, and stand in the ranking where their best passages do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keepstone.platform.access import readable_scope
from keepstone.platform.errors import InvalidInput
from keepstone.retrieval.embeddings import batched
from keepstone.retrieval.indexes.files import write_atomically
from keepstone.retrieval.local import Retrieval
from keepstone.training.evaluate.bootstrap import Pair, difference
from keepstone.training.evaluate.metrics import average_precision, graded_ndcg, recall, reciprocal_rank
from keepstone.training.relevance.measure import Figure

DEPTH: Final = 20
"""Documents of a ranking, unless more are asked for."""
_AT: Final = 10
# Passages asked for with each document, since several may be of one.
_PASSAGES: Final = 3
_INGESTED_AT_ONCE: Final = 500
_FIX: Final = "See the format of BEIR: corpus.jsonl, queries.jsonl, qrels/test.tsv"

Ranking = tuple[tuple[str, float], ...]
"""Ids of documents with their scores, best first."""


@dataclass(frozen=True, slots=True)
class BeirRun:
    """What a run came to."""

    documents: int
    queries: int
    """Those of the split that have anything relevant."""
    depth: int
    figures: tuple[Figure, ...]
    """nDCG (by grades, as trec_eval has it), MRR and recall at 10, recall and MAP at the depth."""
    rankings: Mapping[str, Ranking]
    """By the ids of the queries."""

    def write_trec(self, path: Path, tag: str = "keepstone") -> None:
        """Write the rankings in the run format of TREC: query, Q0, document, rank, score, tag."""
        lines: list[str] = []
        for query, ranking in self.rankings.items():
            before = math.inf
            for rank, (document, score) in enumerate(ranking, start=1):
                # Evaluators sort by score, and equal ones by name.
                before = min(score, math.nextafter(before, -math.inf))
                lines.append(f"{query} Q0 {document} {rank} {before!r} {tag}\n")
        write_atomically(path, "".join(lines).encode())


def run_beir(
    folder: Path,
    store: Retrieval,
    *,
    split: str = "test",
    depth: int = DEPTH,
    progress: Callable[[str], None] = lambda _: None,
) -> BeirRun:
    """Ingest a collection and search for each of its queries.

    Args:
        folder: of the collection.
        store: where it is ingested, as a collection under the folder's name; what is there already is not read again.
        split: which qrels, such as `test`.
        depth: how many documents are ranked for each query. Beyond 33, more passages are fused than search does by
            default.
        progress: told what is going on.

    Raises:
        InvalidInput: a file is not in the format, or no query has anything relevant.
    """
    corpus = {str(row["_id"]): page(row) for row in _rows(folder / "corpus.jsonl", "text")}
    grades = _qrels(folder / "qrels" / f"{split}.tsv")
    queries = {
        str(row["_id"]): str(row["text"])
        for row in _rows(folder / "queries.jsonl", "text")
        if any(grade > 0 for grade in grades.get(str(row["_id"]), {}).values())
    }
    if not queries:
        raise InvalidInput(f"No query of {folder} has anything relevant in {split!r}", fix=_FIX)
    names = list(corpus)
    collection = folder.resolve().name
    add_pages(store, collection, list(corpus.values()), progress)
    rankings: dict[str, Ranking] = {}
    for number, (query, text) in enumerate(queries.items(), start=1):
        rankings[query] = tuple(ranked(store, collection, text, names, without=query, depth=depth))
        progress(f"  Searched for {number} of {len(queries)}")
    return BeirRun(len(corpus), len(queries), depth, _figures(rankings, grades, depth), rankings)


def add_pages(
    store: Retrieval, collection: str, pages: Sequence[bytes], progress: Callable[[str], None] = lambda _: None
) -> None:
    """Ingest documents by their numbers, since their ids may be no names of files."""
    files = [(f"{number}.md", each) for number, each in enumerate(pages)]
    for some in batched(files, _INGESTED_AT_ONCE):
        store.add(some, collection=collection)
        progress(f"  Ingested {some[-1][0].removesuffix('.md')} of {len(files)}")


def ranked(
    store: Retrieval, collection: str, text: str, names: Sequence[str], *, without: str, depth: int
) -> Iterator[tuple[str, float]]:
    """Yield the best documents; a query that is itself a document does not find itself, as in BEIR.

    Args:
        store: where the documents were added by their numbers.
        collection: they are in.
        text: of the query.
        names: ids of the documents, by number.
        without: id of the query.
        depth: how many.
    """
    with store.database.reading() as session:
        scope = readable_scope(session, store.principal, [collection])
    if not text.strip():
        return
    best: dict[str, float] = {}
    for hit in store.searcher.search(scope, text, k=depth * _PASSAGES, widened=False).hits:
        best.setdefault(names[int(Path(hit.document_name).stem)], hit.score)
    best.pop(without, None)
    yield from list(best.items())[:depth]


def _figures(
    rankings: Mapping[str, Ranking], grades: Mapping[str, Mapping[str, int]], depth: int
) -> tuple[Figure, ...]:
    measured: dict[str, list[Pair]] = {}
    for query, ranking in rankings.items():
        found = [document for document, _ in ranking]
        relevant = {document for document, grade in grades[query].items() if grade > 0}
        values = {
            f"ndcg@{_AT}": graded_ndcg(found, grades[query], _AT),
            f"mrr@{_AT}": reciprocal_rank(found, relevant, _AT),
            f"recall@{_AT}": recall(found, relevant, _AT),
            f"recall@{depth}": recall(found, relevant, depth),
            f"map@{depth}": average_precision(found, relevant, depth),
        }
        for name, value in values.items():
            measured.setdefault(name, []).append(Pair(query, 0.0, value))
    effects = {name: difference(pairs) for name, pairs in measured.items()}
    return tuple(Figure(name, effect.candidate, effect.low, effect.high) for name, effect in effects.items())


def _rows(path: Path, *fields: str) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict) or any(name not in row for name in ("_id", *fields)):
                    raise InvalidInput(f"{path.name}, line {number}: no object with _id and text", fix=_FIX)
                yield row
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", fix=_FIX) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path.name} is not JSON, one object a line, in UTF-8", fix=_FIX) from error


def _qrels(path: Path) -> dict[str, dict[str, int]]:
    grades: dict[str, dict[str, int]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read", fix=_FIX) from error
    for number, line in enumerate(lines, start=1):
        query, *rest = line.split("\t")
        if len(rest) != 2 or not _is_number(rest[1]):
            if number == 1:  # the names of the columns
                continue
            raise InvalidInput(f"{path.name}, line {number}: not query, document and grade between tabs", fix=_FIX)
        grades.setdefault(query, {})[rest[0]] = int(rest[1])
    return grades


def _is_number(text: str) -> bool:
    return text.strip().removeprefix("-").isdecimal()


def page(row: Mapping[str, Any]) -> bytes:
    """Return a document as a file: its title as heading, and its text."""
    title, text = str(row.get("title") or "").strip(), str(row["text"])
    return (f"# {title}\n\n{text}\n" if title else f"{text}\n").encode("utf-8", "replace")
