"""A public collection gets the figures that trec_eval gives its run, and a bad file is named."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import ir_measures
import pytest
from ir_measures import AP, RR, R, nDCG

from keepstone.platform.errors import InvalidInput
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.local import Retrieval, open_retrieval
from keepstone.training.relevance.beir import BeirRun, run_beir

_WORDS = ["lamp", "fuse", "pump", "valve", "rotor", "sieve", "winch", "piston", "burner", "nozzle"]
_MEASURES = {"ndcg@10": nDCG @ 10, "mrr@10": RR @ 10, "recall@10": R @ 10, "recall@20": R @ 20, "map@20": AP @ 20}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a collection with grades, empty titles, ids that are no names of files, and a query that is a document."""
    root = Path(tmp_path_factory.mktemp("beir")) / "machines"
    (root / "qrels").mkdir(parents=True)
    draw = random.Random(7)
    corpus = [
        {"_id": f"a/{number}", "title": draw.choice(["", "Care"]), "text": " ".join(draw.choices(_WORDS, k=12))}
        for number in range(40)
    ]
    queries = [{"_id": f"q{number}", "text": " ".join(draw.sample(_WORDS, 2))} for number in range(12)]
    queries.append({"_id": "a/3", "text": str(corpus[3]["text"])})
    queries.append({"_id": "unjudged", "text": "lamp"})
    lines = ["query-id\tcorpus-id\tscore"]
    for query in queries[:-1]:
        grades = {f"a/{each}": draw.choice([0, 1, 1, 2, 3]) for each in draw.sample(range(40), 8)}
        grades |= {"a/3" if query["_id"] != "a/3" else "a/4": 1, "a/5": 1}
        lines += [f"{query['_id']}\t{document}\t{grade}" for document, grade in grades.items()]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (root / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (root / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retrieval]:
    with open_retrieval(Path(tmp_path_factory.mktemp("store")), encoder=HashEncoder()) as opened:
        yield opened


@pytest.fixture(scope="module")
def run(folder: Path, store: Retrieval) -> BeirRun:
    return run_beir(folder, store)


def test_the_figures_are_those_of_trec_eval(run: BeirRun, folder: Path, tmp_path: Path) -> None:
    run.write_trec(tmp_path / "machines.run")
    qrels = [
        ir_measures.Qrel(query, document, int(grade))
        for query, document, grade in (
            line.split("\t") for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]
        )
    ]
    written = list(ir_measures.read_trec_run(str(tmp_path / "machines.run")))
    reference = ir_measures.calc_aggregate(_MEASURES.values(), qrels, written)
    assert {each.name: each.mean for each in run.figures} == {
        name: pytest.approx(reference[measure]) for name, measure in _MEASURES.items()
    }
    assert (run.documents, run.queries) == (40, 13)
    assert all(each.low is not None and each.low <= each.mean for each in run.figures)


def test_a_query_that_is_a_document_does_not_find_itself(run: BeirRun) -> None:
    assert "a/3" not in dict(run.rankings["a/3"])
    assert all(len(ranking) <= 20 for ranking in run.rankings.values())


def test_what_was_ingested_is_not_read_again(run: BeirRun, folder: Path, store: Retrieval) -> None:
    [before] = store.library.collections(store.principal)
    assert run_beir(folder, store).figures == run.figures
    assert store.library.collections(store.principal) == [before]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("corpus.jsonl", '{"_id": "1"}\n'),
        ("corpus.jsonl", "no json\n"),
        ("queries.jsonl", "[]\n"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\ta/1\n"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\ta/1\t0\n"),
    ],
)
def test_what_is_not_in_the_format_is_named(
    folder: Path, store: Retrieval, tmp_path: Path, name: str, content: str
) -> None:
    other = tmp_path / "other"
    (other / "qrels").mkdir(parents=True)
    for each in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        (other / each).write_text(content if each == name else (folder / each).read_text())
    with pytest.raises(InvalidInput) as refused:
        run_beir(other, store)
    assert "corpus.jsonl" in str(refused.value.fix)
    with pytest.raises(InvalidInput, match=r"dev\.tsv"):
        run_beir(folder, store, split="dev")
