"""A record of an improvement as it might be at its end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from keepstone.training.data import DatasetCard, DatasetConfig
from keepstone.training.data.store import DataFile
from keepstone.training.improve.config import ImproveConfig
from keepstone.training.improve.record import Candidate, Improvement, Judgement, Measure, Stage

HOSTILE = "<script>alert(1)</script> | `x` [a](http://b) **c**\n# d"


def finished(name: str = "manuals", **changes: Any) -> Improvement:
    """Return the record of an improvement whose encoder was promoted."""
    at = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
    measures = (
        measure("ndcg@10", "primary", 0.61, 0.66, 0.05, 0.01, 0.09),
        measure("recall@10", "guarded", 0.8, 0.82, 0.02, -0.01, 0.05),
        measure("abstention", "guarded", 0.9, 0.9, 0.0, None, None),
        measure("tokens_per_second", "shown", 27.0, 38.0, 1.41, 1.38, 1.44),
    )
    candidate = Candidate(
        recipe="embedding",
        live="mini@0123",
        base="mini@0123",
        model="mini-tuned@4567",
        run="job_1.train",
        config={"epochs": 2.0, "seed": 42},
        metrics={"loss_first": 1.5, "loss_last": 0.4, "steps": 40.0, "seconds": 61.0},
        curve=tuple({"step": step, "of": 40, "loss": 1.5 / step, "seconds": 1.5 * step} for step in range(1, 41)),
        judgement=Judgement(
            verdict="ver_1", outcome="promote", reasons=("It is better: nDCG@10 0.610 → 0.660.",), measures=measures
        ),
        promoted=True,
    )
    made = Improvement(
        id="job_1",
        collection_id="col_1",
        collection=name,
        config=ImproveConfig(collection="col_1"),
        created_at=at,
        ended_at=at,
        dataset="manuals-01234567",
        card=card(name),
        stages=(Stage(name="dataset", state="done", seconds=12.0, said="310 questions"),),
        candidates=(candidate,),
    )
    return made.model_copy(update=changes)


def measure(name: str, role: Any, live: float, new: float, value: float, low: Any, high: Any) -> Measure:
    """Return a figure of fifty questions."""
    return Measure(
        name=name, role=role, live=live, candidate=new, value=value, low=low, high=high, questions=50, documents=9
    )


def card(name: str) -> DatasetCard:
    """Return the card of a dataset."""
    files = {
        f"retrieval/{side}.jsonl": DataFile(sha256="0", rows=rows) for side, rows in (("train", 250), ("test", 60))
    }
    return DatasetCard(
        name="manuals",
        collection_id="col_1",
        collection=name,
        change_sequence=3,
        encoder="mini@0123",
        model="tiny",
        model_version="1",
        question_source="sentences",
        prompts=(),
        settings=DatasetConfig(collection="col_1"),
        seed=0,
        documents={"train": 30, "test": 8},
        passages=200,
        kinds={},
        dropped={"passage_not_found_again": 12},
        files=files,
    )
