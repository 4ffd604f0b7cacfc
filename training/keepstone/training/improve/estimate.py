"""What an improvement would take, told before anything runs.

Where there is no dataset yet, a stand-in is made of the collection's own passages, in a temporary folder: it has the
right number of rows of about the right length, which is all that the recipes' own plans look at.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import sqlalchemy as sa

from keepstone.platform.database import Database
from keepstone.platform.database.tables import ChunkRow
from keepstone.platform.errors import InvalidInput
from keepstone.platform.machine import Machine
from keepstone.platform.models.registry import InstalledModel
from keepstone.retrieval.chunk_rows import INDEXED_TEXT
from keepstone.training.data import ChatMessage, ChatRow, Dataset, DatasetCard, DatasetConfig, Datasets, RetrievalRow
from keepstone.training.data.assemble import listed
from keepstone.training.data.rows import to_lines
from keepstone.training.evaluate.gate import MIN_QUESTIONS
from keepstone.training.improve.config import ImproveConfig, RecipeName
from keepstone.training.improve.stages import DATASET
from keepstone.training.recipes import cost, recipe
from keepstone.training.recipes.base import Paths, Plan

_SAMPLED = 256
_SHOWN = 5
"""Passages in a prompt, roughly."""
_PER_PASSAGE = {"sentences": 2.0, "written": 0.7, "auto": 1.0}
"""Questions that come of a passage, after all checks."""
_BUILD_S = 0.1
_JUDGE_S: Mapping[RecipeName, float] = {"embedding": 0.1, "sft": 4.0, "quantize": 4.0}
_MOST_ASKED: Mapping[RecipeName, int] = {"embedding": 1000, "sft": 100, "quantize": 100}
_PROMOTE_S: Mapping[RecipeName, float] = {"embedding": 1.0, "sft": 2.0, "quantize": 120.0}
"""A second engine starts for a quantized model; an adapter and an index are there at once."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one step would take."""

    name: str
    rows: int = 0
    """That it makes, learns from, or asks."""
    tokens: int = 0
    memory_gib: float = 0.0
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


def estimate(
    database: Database,
    config: ImproveConfig,
    wanted: DatasetConfig,
    starts: Mapping[RecipeName, InstalledModel],
    machine: Machine,
    *,
    given: Dataset | None,
) -> Sequence[Estimate]:
    """Return what each step would take.

    Args:
        database: where the collection is.
        config: the order, settled.
        wanted: the order for its dataset.
        starts: the model that each recipe starts from.
        machine: where it would run.
        given: the dataset, where there is one.

    Raises:
        InvalidInput: the collection is empty, or the dataset has too little for a recipe.
    """
    chunks, sample = _passages(database, config.collection)
    if not sample:
        raise InvalidInput("The collection has no passages", fix="Add documents: `keepstone ingest`")
    if given is not None:
        train, test = (given.card.files[f"retrieval/{side}.jsonl"].rows for side in ("train", "test"))
    else:
        asked = min(wanted.passages, chunks) * _PER_PASSAGE[wanted.source]
        train, test = int(asked * (1 - wanted.test_share)), int(asked * wanted.test_share)
    few = f"About {test} questions would be held out, and a verdict takes {MIN_QUESTIONS}"
    steps = [
        Estimate(
            DATASET,
            rows=train + test,
            seconds=0.0 if given else _BUILD_S * (train + test),
            warnings=(few,) if test < MIN_QUESTIONS else (),
        )
    ]
    with tempfile.TemporaryDirectory(prefix="keepstone-plan-") as scratch:
        folder, scale = (given.folder, 1.0) if given else _stand_in(Path(scratch), sample, wanted, train)
        for name in config.recipes:
            made = recipe(name)
            options = made.configure(config.options.get(name, {}))
            paths = Paths(base=starts[name].path, dataset=folder, work=Path(scratch) / "run")
            steps += _of_recipe(name, made.plan(options, paths, machine), scale, test)
            if name == "embedding":
                steps[-2] = _with_index(steps[-2], starts[name], sample, chunks, machine)
    return steps


def _of_recipe(name: RecipeName, plan: Plan, scale: float, test: int) -> list[Estimate]:
    asked = min(test, _MOST_ASKED[name])
    return [
        Estimate(
            f"train {name}",
            rows=round(plan.rows * scale),
            tokens=round(plan.tokens * scale),
            memory_gib=plan.memory_gib,
            seconds=plan.seconds * scale,
            warnings=plan.warnings,
        ),
        Estimate(f"judge {name}", rows=asked, seconds=_JUDGE_S[name] * asked),
        Estimate(f"promote {name}", seconds=_PROMOTE_S[name]),
    ]


def _with_index(step: Estimate, base: InstalledModel, sample: Sequence[str], chunks: int, machine: Machine) -> Estimate:
    """Return a judging with the index that is built for it: every passage is encoded once more."""
    counted = cost.count_tokens(base.path, sample, int(base.details.get("max_tokens") or 512))
    tokens = sum(counted) * chunks // len(sample)
    seconds = cost.training_seconds(cost.working_parameters(base.path), tokens, machine, factor=2.0)
    return Estimate(step.name, rows=step.rows, tokens=tokens, seconds=step.seconds + seconds)


def _passages(database: Database, collection_id: str) -> tuple[int, list[str]]:
    """Return how many passages a collection has, and a few of them as they are encoded."""
    here = ChunkRow.collection_id == collection_id
    with database.reading() as session:
        count = session.scalar(sa.select(sa.func.count()).select_from(ChunkRow).where(here)) or 0
        every = max(1, count // _SAMPLED)
        query = sa.select(INDEXED_TEXT).where(here, ChunkRow.id % every == 0)
        found = list(session.scalars(query.order_by(ChunkRow.id).limit(_SAMPLED)))
        if not found:
            found = list(session.scalars(sa.select(INDEXED_TEXT).where(here).limit(_SAMPLED)))
    return count, found


def _stand_in(folder: Path, sample: Sequence[str], wanted: DatasetConfig, rows: int) -> tuple[Path, float]:
    """Write a dataset of at most `_SAMPLED` rows; return its folder, and how many times as many there would be."""
    count = max(8, min(rows, _SAMPLED))
    texts = list(islice(cycle(sample), count + _SHOWN))
    retrieval = [
        RetrievalRow(
            id=str(number),
            question=f"{number} {' '.join(texts[number].split()[:12])[:120]}",
            answer="",
            positive=f"{number} {texts[number]}",
            negatives=tuple(f"{other} {texts[other]}" for other in range(number + 1, number + _SHOWN))[
                : wanted.negatives
            ],
            positive_chunk=number,
            document=str(number),
            language=None,
            source="generated",
            kind="sentence",
        )
        for number in range(count)
    ]
    chat = [
        ChatRow(
            id=row.id,
            messages=(
                ChatMessage(role="user", content="\n\n".join([*texts[place : place + _SHOWN], row.question])),
                ChatMessage(role="assistant", content=row.question),
            ),
            document=row.document,
            source="generated",
        )
        for place, row in enumerate(retrieval)
    ]
    files = {"retrieval/train.jsonl": to_lines(retrieval), "chat/train.jsonl": to_lines(chat)}
    card = DatasetCard(
        name="plan",
        collection_id=wanted.collection,
        collection="plan",
        change_sequence=0,
        encoder="none",
        model="none",
        model_version="none",
        question_source="sentences",
        prompts=(),
        settings=wanted,
        seed=wanted.seed,
        documents={"train": count, "test": 0},
        passages=len(sample),
        kinds={},
        dropped={},
        files=listed(files),
    )
    return Datasets(folder).add("plan", files, card, "plan").folder, max(1.0, rows / count)
