"""The recipe `embedding` on SciFact: tuned on its train claims, judged on its test claims and on other collections.

    .venv/bin/python -m benchmarks.parts.tuning [--json] [--holdout] [--set KEY=VALUE]

Each document is one passage. The negatives are what our own lexical index finds best among the passages that are not
right. `--holdout` judges on a quarter of the train claims instead, which are then left out of the training: that is
where options are chosen (`--set`), never on the test claims.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.app import prepared_app
from benchmarks.harness import Context, Figure, main
from benchmarks.parts.collections import Collection, claims, paragraphs, pool
from keepstone.platform.database import Database
from keepstone.platform.errors import KeepstoneError
from keepstone.platform.models.registry import ModelRegistry
from keepstone.retrieval import fusion
from keepstone.retrieval.analysis import tokens
from keepstone.retrieval.indexes.base import UNBUILT
from keepstone.retrieval.indexes.bm25 import Bm25Index
from keepstone.retrieval.sentence_encoder import SentenceEncoder
from keepstone.training.data import DatasetCard, DatasetConfig, Datasets, RetrievalRow
from keepstone.training.data.assemble import listed
from keepstone.training.data.rows import to_lines
from keepstone.training.recipes import recipe
from keepstone.training.runs.child import run_guarded
from keepstone.training.runs.folder import RunFolder, Spec

_POOLS = ("fiqa", "arguana", "trec-covid", "msmarco", "fever")
_CANDIDATES, _AT = 100, 10
_DENSE_WEIGHT = 0.5
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Scores:
    """nDCG@10 of each question."""

    dense: NDArray[np.float64]
    hybrid: NDArray[np.float64]


def embedding(context: Context) -> Iterable[Figure]:
    """Tune all-MiniLM-L6-v2, and yield what it gained on SciFact and lost elsewhere."""
    folder = context.dataset("scifact")
    train, test = claims(folder, "train"), claims(folder, "test")
    if context.options.holdout:
        train, test = _split(train)
    others = {f"pool_{name}": pool(context, name) for name in _POOLS} | {
        "xquad_en": paragraphs(context.dataset("xquad") / "xquad.en.json")
    }
    with tempfile.TemporaryDirectory(prefix="keepstone-tuning-", ignore_cleanup_errors=True) as scratch:
        home = Path(scratch)
        prepared_app(home, engine=False).run("models", "pull", "all-minilm-l6-v2")
        base = _installed(home, "all-minilm-l6-v2")
        with_words = {name: (each, _words(each, home / name)) for name, each in {"scifact": test, **others}.items()}
        dataset = _write_dataset(train, with_words["scifact"][1], home / "datasets")
        before = {name: judge(base, *each) for name, each in with_words.items()}
        context.say(f"before: dense {before['scifact'].dense.mean():.4f}, hybrid {before['scifact'].hybrid.mean():.4f}")
        started = time.monotonic()
        tuned = _train(context, base, dataset, home)
        minutes = (time.monotonic() - started) / 60
        after = {name: judge(tuned, *each) for name, each in with_words.items()}
    losses = {name: 100 * (1 - after[name].dense.mean() / before[name].dense.mean()) for name in others}
    context.details["tuning"] = {
        "questions": len(test.questions),
        "dense_gain": interval(after["scifact"].dense - before["scifact"].dense),
        "hybrid_gain": interval(after["scifact"].hybrid - before["scifact"].hybrid),
        "dense": {name: [before[name].dense.mean(), after[name].dense.mean()] for name in before},
        "hybrid": {name: [before[name].hybrid.mean(), after[name].hybrid.mean()] for name in before},
    }
    yield Figure("scifact_dense_ndcg10", [after["scifact"].dense.mean()], "")
    yield Figure("scifact_hybrid_ndcg10", [after["scifact"].hybrid.mean()], "")
    yield Figure("scifact_training_minutes", [minutes], "min")
    yield Figure("other_collections_worst_loss_percent", [max(losses.values())], "%")


def judge(encoder_folder: Path, collection: Collection, words: Bm25Index) -> Scores:
    """Return the nDCG@10 of every question, by meaning alone and fused with words as search fuses them."""
    encoder = SentenceEncoder(encoder_folder, version="judged")
    names = list(collection.passages)
    vectors = encoder.encode_documents(list(collection.passages.values()))
    dense, hybrid = [], []
    for name, text in collection.questions.items():
        similar = vectors @ encoder.encode_query(text)
        best = np.argsort(-similar, kind="stable")[:_CANDIDATES]
        terms = tokens(text)
        ids = np.union1d(best, words.search(terms, _CANDIDATES).ids)
        fused = fusion.fuse(
            similar[ids].astype(np.float64), words.scores(terms, ids.tolist()), dense_weight=_DENSE_WEIGHT
        )
        relevant = collection.relevant[name]
        dense.append(ndcg([names[place] for place in best[:_AT]], relevant))
        hybrid.append(ndcg([names[ids[place]] for place in fusion.order(fused, ids)[:_AT]], relevant))
    return Scores(np.array(dense), np.array(hybrid))


def ndcg(ranking: list[str], relevant: Mapping[str, int]) -> float:
    """Return the discounted gain of a ranking over that of the best one (Järvelin and Kekäläinen, 2002)."""
    gains = [relevant.get(name, 0) for name in ranking]
    ideal = sorted(relevant.values(), reverse=True)[:_AT]
    return _discounted(gains) / _discounted(ideal)


def interval(differences: NDArray[np.float64]) -> list[float]:
    """Return the mean and its 95% interval by bootstrap over the questions."""
    draws = np.random.default_rng(0).integers(len(differences), size=(_RESAMPLES, len(differences)))
    means = differences[draws].mean(axis=1)
    return [float(differences.mean()), *(float(each) for each in np.quantile(means, (0.025, 0.975)))]


def _discounted(gains: list[int]) -> float:
    return float(sum(gain / np.log2(place + 2) for place, gain in enumerate(gains)))


def _split(train: Collection) -> tuple[Collection, Collection]:
    """Return three quarters of the questions, and the rest. They share passages, as BEIR's two parts do."""
    names = sorted(train.questions)
    held = set(np.random.default_rng(0).permutation(names)[: len(names) // 4].tolist())
    kept = {name: text for name, text in train.questions.items() if name not in held}
    asked = {name: text for name, text in train.questions.items() if name in held}
    return Collection(train.passages, kept, train.relevant), Collection(train.passages, asked, train.relevant)


def _words(collection: Collection, folder: Path) -> Bm25Index:
    index = Bm25Index(folder)
    index.apply([], {place: tokens(text) for place, text in enumerate(collection.passages.values())}, UNBUILT)
    return index


def _write_dataset(train: Collection, words: Bm25Index, folder: Path) -> Path:
    """Write a row for each question and passage that answers it, with the best wrong passages by BM25."""
    names = list(train.passages)
    places = {name: place for place, name in enumerate(names)}
    rows = []
    for name, question in train.questions.items():
        right = train.relevant[name]
        found = [names[place] for place in words.search(tokens(question), 20).ids]
        wrong = tuple(train.passages[each] for each in found if each not in right)[:5]
        rows += [
            RetrievalRow(
                id=f"{name}-{passage}",
                question=question,
                answer="",
                positive=train.passages[passage],
                negatives=wrong,
                positive_chunk=places[passage],
                document=passage,
                language="en",
                source="generated",
                kind="asked",
            )
            for passage in right
        ]
    files = {"retrieval/train.jsonl": to_lines(rows)}
    card = DatasetCard(
        name="scifact",
        collection_id="scifact",
        collection="scifact",
        change_sequence=0,
        encoder="none",
        model="none",
        model_version="none",
        question_source="sentences",
        prompts=(),
        settings=DatasetConfig(collection="scifact"),
        seed=0,
        documents={"train": len(names), "test": 0},
        passages=len(names),
        kinds={"asked": len(rows)},
        dropped={},
        files=listed(files),
    )
    return Datasets(folder).add(card.name, files, card, "benchmark").folder


def _train(context: Context, base: Path, dataset: Path, home: Path) -> Path:
    made = recipe("embedding")
    values = dict(each.split("=", 1) for each in context.options.set)
    config = made.configure(values).model_dump(mode="json")
    context.details["config"] = config
    work = home / "runs" / "run"
    folder = RunFolder(work)
    spec = Spec(recipe=made.name, config=config, base=base, dataset=dataset, work=work)
    run_guarded(folder.create(spec), folder, lambda: None)
    ending = folder.ending()
    if ending is None or ending.error:
        raise KeepstoneError(f"The training failed: {ending.error if ending else folder.tail()}")
    context.details["training"] = ending.metrics
    return spec.paths.output


def _installed(home: Path, name: str) -> Path:
    database = Database(f"sqlite:///{home / 'keepstone.db'}")
    path = ModelRegistry(database, home).get(name).path
    database.close()
    return path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the tuning can be told."""
    parser.add_argument(
        "--holdout", action="store_true", help="judge on train claims that are left out of the training"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the recipe")


if __name__ == "__main__":
    raise SystemExit(main("loop", embedding, options=add_options, runs=1))
