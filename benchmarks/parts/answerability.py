"""Questions with and without an answer in what was found, from public collections.

Every question is asked once as it is, and once with the passages that hold its answer left out: what remains is as
near to the question as passages without its answer get.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from keepstone.agents.evidence import HITS_NEEDED, SEARCHED_WITH, Signs, read_signs
from keepstone.agents.packing import pack
from keepstone.agents.quotes import read_sentences
from keepstone.platform.access import Principal, readable_scope
from keepstone.platform.accounts import SCOPES, ensure_local_admin
from keepstone.retrieval.types import Hit
from keepstone.training.questions import Evidence, Question, holds_passage
from keepstone.ui.runtime import Runtime

_DEPTH = 50
_QUESTIONS = 200
_INGEST_S = 1800.0
_PASSAGES = 5
_BUDGET = 3000
_EDGE = 60


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to a collection."""

    text: str
    holds: Callable[[Hit], bool] | None
    """Whether a passage holds the answer; None when nothing does."""


@dataclass(frozen=True, slots=True)
class Case:
    """The signs for one question, and whether the answer is in what was found."""

    answerable: bool
    found: bool
    """Whether the answer stands in the packed passages."""
    by_meaning: bool
    signs: Signs


def cases(runtime: Runtime, name: str, files: Mapping[str, bytes], questions: Iterator[Asked]) -> list[Case]:
    """Ingest `files` as the collection `name`, ask the questions, and return two cases of each, or one."""
    principal = ingest(runtime, name, files)
    found: list[Case] = []
    for asked in questions:
        with runtime.database.reading() as session:
            scope = readable_scope(session, principal, [name])
        result = runtime.searcher.search(scope, asked.text, k=_DEPTH, options=SEARCHED_WITH)
        holds = asked.holds
        found.append(_case(runtime, asked, result.hits[:HITS_NEEDED], result.dense_weight, answerable=bool(holds)))
        if holds:
            others = [hit for hit in result.hits if not holds(hit)][:HITS_NEEDED]
            found.append(_case(runtime, asked, others, result.dense_weight, answerable=False))
    return found


def _case(runtime: Runtime, asked: Asked, hits: Any, weight: float, *, answerable: bool) -> Case:
    passages = pack(hits, limit=_PASSAGES, budget=_BUDGET, count_tokens=runtime.encoder.count_tokens)
    signs = read_signs(hits, read_sentences(asked.text, passages, runtime.encoder, dense_weight=weight))
    found = asked.holds is not None and any(map(asked.holds, (passage.hit for passage in passages)))
    return Case(answerable, found, weight > 0, signs)


def ingest(runtime: Runtime, name: str, files: Mapping[str, bytes]) -> Principal:
    """Make a collection of `files`, wait until they are in, and return its owner."""
    with runtime.database.transaction() as session:
        row = ensure_local_admin(session)
        principal = Principal(row.id, row.name, is_admin=True, scopes=frozenset(SCOPES))
    runtime.library.create_collection(principal, name)
    added = [runtime.library.add_document(principal, name, file, io.BytesIO(data)) for file, data in files.items()]
    job = runtime.ingestion.submit(principal, name, [each.document.id for each in added if each.outcome == "queued"])
    runtime.jobs.wait(job, _INGEST_S)
    return principal


def examples(questions: list[Question]) -> Iterator[Asked]:
    """Yield the example questions, those without an answer among them."""
    for question in questions:
        yield Asked(question.question, _in_passage(question) if question.answerable else None)


def _in_passage(question: Question) -> Callable[[Hit], bool]:
    return lambda hit: holds_passage(question, Evidence(hit.document_name, hit.text))


def squad(path: Path) -> tuple[dict[str, bytes], Iterator[Asked]]:
    """Return the paragraphs of a file in the form of SQuAD as documents, and questions from all over it."""
    files: dict[str, bytes] = {}
    asked: list[Asked] = []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            name = f"{len(files)}.md"
            title = str(article.get("title", "")).replace("_", " ")
            files[name] = f"# {title}\n\n{paragraph['context']}".encode()
            asked += [Asked(qa["question"], _in_document(name)) for qa in paragraph["qas"]]
    return files, islice(asked, 0, None, max(1, len(asked) // _QUESTIONS))


def _in_document(name: str) -> Callable[[Hit], bool]:
    return lambda hit: hit.document_name == name


def chunking_evaluation(folder: Path) -> Iterator[tuple[str, dict[str, bytes], Iterator[Asked]]]:
    """Yield the corpora of Chroma's chunking evaluation, each with its questions."""
    with (folder / "questions_df.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for path in sorted((folder / "corpora").glob("*.md")):
        own = [row for row in rows if row["corpus_id"] == path.stem]
        asked = (Asked(row["question"], _in_references(row["references"])) for row in own)
        yield path.stem, {path.name: path.read_bytes()}, islice(asked, _QUESTIONS // 3)


def _in_references(field: str) -> Callable[[Hit], bool]:
    edges = [edge for each in json.loads(field) for edge in (each["content"][:_EDGE], each["content"][-_EDGE:])]
    bare = ["".join(edge.split()) for edge in edges]
    return lambda hit: any(edge in "".join(hit.text.split()) for edge in bare)
