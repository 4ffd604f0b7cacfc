"""Chunking: how much of what answers a question is found, and how much else is read with it, for every chunker.

    .venv/bin/python -m benchmarks.chunking [--json] [--check] [--only WORD] [--home DIR]

Questions, corpora and measures of Chroma's chunking evaluation (Smith and Troynikov, "Evaluating Chunking Strategies
for Retrieval", 2024), with the five best passages of all corpora together, and all-MiniLM-L6-v2. What counts is what is
read: a parent or a window in the place of the passage that was found. Figures are of search as it is; `details` has
those of meaning alone too, which is what the published table measured.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.app import prepared_app
from benchmarks.harness import Context, Figure, main
from keepstone.platform.access import readable_scope
from keepstone.platform.errors import KeepstoneError, NotFound
from keepstone.retrieval.local import Retrieval, open_retrieval
from keepstone.retrieval.types import Hit

_PASSAGES = 5
_ENCODER = "all-minilm-l6-v2"
_CHUNKINGS: Mapping[str, Mapping[str, Any]] = {
    "structure": {"chunker": "structure"},
    "structure_100": {"chunker": "structure", "max_tokens": 100},
    "structure_150": {"chunker": "structure", "max_tokens": 150},
    "structure_250_125": {"chunker": "structure", "max_tokens": 250, "overlap_tokens": 125},
    "late": {"chunker": "structure", "late": True},
    "late_100": {"chunker": "structure", "max_tokens": 100, "late": True},
    "tokens": {"chunker": "tokens"},
    "recursive": {"chunker": "recursive"},
    "recursive_150": {"chunker": "recursive", "max_tokens": 150},
    "sentence_window": {"chunker": "sentence-window"},
    "parent_child": {"chunker": "parent-child"},
    "semantic": {"chunker": "semantic"},
}
"""Those without further options are as the settings have them: 200 tokens, no overlap."""
_WAYS: Mapping[str, Mapping[str, Any]] = {
    "search": {},
    "meaning": {"dense_weight": 1.0, "exact": True, "options": {"regularisation": 0.0}},
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and the spans of one corpus that answer it."""

    text: str
    corpus: str
    answer: frozenset[int]
    """Positions in the corpus."""


@dataclass(frozen=True, slots=True)
class Score:
    """By characters, as the published code counts."""

    recall: float
    """Share of the answer that was read."""
    precision: float
    """Share of what was read that is the answer; what is read twice counts twice."""
    iou: float
    """The answer that was read, over what was read together with the answer that was not."""


def measure(context: Context) -> Iterable[Figure]:
    """Yield recall and IoU of each chunking that was asked for."""
    folder = context.dataset("chunking_evaluation")
    with TemporaryDirectory(prefix="keepstone-chunking-", ignore_cleanup_errors=True) as scratch:
        home = context.options.home or Path(scratch)
        prepared_app(home, engine=False).run("models", "pull", _ENCODER)
        with open_retrieval(home, encoder=_ENCODER) as retrieval:
            for name, chunking in _CHUNKINGS.items():
                if context.wants(f"recall_{name}") or context.wants(f"iou_{name}"):
                    context.say(name)
                    questions = _ingested(retrieval, name, chunking, folder)
                    found = {way: _scored(retrieval, name, questions, options) for way, options in _WAYS.items()}
                    context.details[name] = {way: asdict(score) for way, score in found.items()}
                    yield Figure(f"recall_{name}", [found["search"].recall], "")
                    yield Figure(f"iou_{name}", [found["search"].iou], "")


def score(read: Sequence[tuple[int, int]], elsewhere: int, answer: frozenset[int]) -> Score:
    """Measure what was read against the answer.

    Args:
        read: spans of the corpus that holds the answer.
        elsewhere: how many characters of other corpora were read.
        answer: positions that answer the question.
    """
    length = elsewhere + sum(end - start for start, end in read)
    both = len(answer & {at for span in read for at in range(*span)})
    return Score(both / len(answer), both / length if length else 0.0, both / (length + len(answer) - both))


def _ingested(retrieval: Retrieval, name: str, chunking: Mapping[str, Any], folder: Path) -> list[Asked]:
    """Put the corpora into a collection, if they are not there from a run before, and return the questions."""
    paths = sorted((folder / "corpora").glob("*.md"))
    try:
        with retrieval.database.reading() as session:
            readable_scope(session, retrieval.principal, [name])
    except NotFound:
        retrieval.library.create_collection(retrieval.principal, name, chunking=chunking)
    documents = retrieval.add([(path.name, path.read_bytes()) for path in paths], collection=name)
    shifts = {}
    for path, info in zip(paths, documents, strict=True):
        if info.error:
            raise KeepstoneError(f"{path.name} was not ingested: {info.error}")
        text = retrieval.library.document_text(retrieval.principal, info.id).text
        # Documents lose the blank lines at their beginning.
        shifts[path.stem] = path.read_text(encoding="utf-8").index(text)
    return [_asked(row, shifts[row["corpus_id"]]) for row in _rows(folder)]


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "questions_df.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _asked(row: Mapping[str, str], shift: int) -> Asked:
    spans = ((each["start_index"] - shift, each["end_index"] - shift) for each in json.loads(row["references"]))
    return Asked(row["question"], row["corpus_id"], frozenset(at for span in spans for at in range(*span)))


def _scored(retrieval: Retrieval, name: str, questions: Sequence[Asked], options: Mapping[str, Any]) -> Score:
    with retrieval.database.reading() as session:
        scope = readable_scope(session, retrieval.principal, [name])
    scores = []
    for asked in questions:
        hits = retrieval.searcher.search(scope, asked.text, k=_PASSAGES, **options).hits
        read = [(hit.start, hit.end) for hit in hits if _corpus(hit) == asked.corpus]
        elsewhere = sum(hit.end - hit.start for hit in hits if _corpus(hit) != asked.corpus)
        scores.append(score(read, elsewhere, asked.answer))
    return Score(*(fmean(values) for values in zip(*(asdict(each).values() for each in scores), strict=True)))


def _corpus(hit: Hit) -> str:
    return Path(hit.document_name).stem


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--home", type=Path, help="folder to ingest into and keep (default: a temporary one)")


if __name__ == "__main__":
    raise SystemExit(main("chunking", measure, options=_options, runs=1))
