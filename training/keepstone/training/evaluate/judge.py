"""The judge: puts held-out questions to the model in use and to a candidate, and passes the verdict.

    verdict = judge.judge_encoder(principal, dataset, candidate, key=job.id, report=job.progress)
    verdict = await judge.judge_model(principal, dataset, candidate, live=..., challenger=..., key=job.id, report=...)

Questions are put in batches, and every batch is kept when it is done: called again with the same key after a kill, the
judge goes on where it was, and once there is a verdict returns that.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from keepstone.agents.answering import Answerer
from keepstone.agents.prompts import write_prompt
from keepstone.agents.types import AnsweringModel
from keepstone.platform.access import Principal, Scope, find_collection, readable_scope
from keepstone.platform.database import Database
from keepstone.platform.errors import ModelMissing
from keepstone.platform.models.registry import InstalledModel, ModelRegistry
from keepstone.platform.serving.engine import Engine, Message
from keepstone.platform.settings import AnsweringSettings
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.search import Searcher
from keepstone.training.data import Dataset
from keepstone.training.evaluate.bootstrap import Pair
from keepstone.training.evaluate.gate import SPEED, Goal, Ruling, decide
from keepstone.training.evaluate.held_out import HeldOut, held_out
from keepstone.training.evaluate.kept import Kept
from keepstone.training.evaluate.parity import Conversation, Parity, compare, own_template
from keepstone.training.evaluate.speed import compare_speed
from keepstone.training.evaluate.trials import AnswerTrial, SearchTrial
from keepstone.training.evaluate.verdicts import Case, Verdict, Verdicts

MOST_SEARCHES = 1000
MOST_ANSWERS = 100
"""So many held-out questions are put at most: searching takes milliseconds, answering seconds."""
_BATCH = {"encoder": 50, "llm": 8}
# Enough to keep a small engine busy, few enough that those who chat meanwhile hardly wait.
_AT_ONCE = 4
_TIMED = 8
_READ = 8
Report = Callable[[int, int], None]
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Contender:
    """A language model that can be asked now."""

    engine: Engine
    """Used from the event loop that judges."""
    model: AnsweringModel
    """Its name, version and style."""

    @property
    def reference(self) -> str:
        """Name and version."""
        return f"{self.model.name}@{self.model.version}"


def goal_of(candidate: InstalledModel) -> Goal:
    """Return what a candidate was made for, by the recipe that made it."""
    if candidate.kind == "encoder":
        return "search"
    return "speed" if candidate.details.get("training", {}).get("recipe") == "quantize" else "answers"


class Judge:
    """Judges candidates on the held-out questions of a dataset.

    Args:
        database: where collections are.
        registry: the models.
        searcher: the real search.
        encoder: the one that answering weighs evidence with.
        answering: how answers are made.
        verdicts: where they are stored.
        folder: for what is measured meanwhile.
    """

    def __init__(
        self,
        *,
        database: Database,
        registry: ModelRegistry,
        searcher: Searcher,
        encoder: Encoder,
        answering: AnsweringSettings,
        verdicts: Verdicts,
        folder: Path,
    ) -> None:
        self._database, self._registry, self._searcher, self._encoder = database, registry, searcher, encoder
        self._answering, self._folder = answering, folder
        self.verdicts = verdicts

    def judge_encoder(
        self, principal: Principal, dataset: Dataset, candidate: InstalledModel, *, key: str, report: Report
    ) -> Verdict:
        """Compare the search of a collection under its encoder with that under a candidate.

        Args:
            principal: who judges; they must be able to read the collection.
            dataset: whose held-out questions are put, to the collection that it was made from.
            candidate: an encoder; the collection has an index under it.
            key: names this judging.
            report: called with the number of questions done and of all; what it raises ends the judging.

        Raises:
            NotFound: the collection is gone, or the principal may not read it.
            InvalidInput: the dataset was changed.
            Conflict: there is no index under the candidate yet.
        """
        if (known := self.verdicts.of(key)) is not None:
            return known
        scope = self._scope(principal, dataset)
        case = _case(dataset, self._live_encoder(principal, dataset), candidate)
        kept = self._kept(key, case)
        sides = [
            SearchTrial(self._searcher, scope, version, encoder=self._encoder, settings=self._answering)
            for version in (case.live, case.candidate)
        ]
        questions = held_out(self._database, dataset, most=MOST_SEARCHES)
        done: list[dict[str, Any]] = []
        for batch in _batches(questions, _BATCH["encoder"]):
            report(len(done), len(questions))
            measure = partial(_search_batch, sides, batch)
            done += kept.remember(measure, *(question.id for question in batch))
        report(len(questions), len(questions))
        ruling = decide(case.goal, _pairs(done))
        return self._pass(key, case, ruling)

    async def judge_model(
        self,
        principal: Principal,
        dataset: Dataset,
        candidate: InstalledModel,
        *,
        live: Contender,
        challenger: Contender,
        key: str,
        report: Report,
    ) -> Verdict:
        """Compare the answers of a language model with those of the one in use.

        Args:
            principal: who judges; they must be able to read the collection.
            dataset: whose held-out questions are put, to the collection that it was made from.
            candidate: an adapter or a language model.
            live: the model in use.
            challenger: the candidate, being served.
            key: names this judging.
            report: called with the number of questions done and of all; what it raises ends the judging.

        Raises:
            NotFound: the collection is gone, or the principal may not read it.
            InvalidInput: the dataset was changed.
            EngineUnavailable: one of the two does not answer.
        """
        if (known := self.verdicts.of(key)) is not None:
            return known
        [collection_id] = self._scope(principal, dataset).collection_ids
        case = _case(dataset, live.reference, candidate)
        kept, both = self._kept(key, case), (live, challenger)
        questions = held_out(self._database, dataset, most=MOST_ANSWERS)
        report(0, len(questions))
        parity = await self._parity(kept, both, dataset, candidate)
        speeds = await _speeds(kept, both, questions, check=partial(report, 0, len(questions)))
        sides = [AnswerTrial(self._answerer(each), principal, collection_id) for each in both]
        done: list[dict[str, Any]] = []
        for batch in _batches(questions, _BATCH["llm"]):
            report(len(done), len(questions))
            names = [question.id for question in batch]
            scores = kept.find(*names)
            done += kept.keep(await _answer_batch(sides, batch), *names) if scores is None else scores
        report(len(questions), len(questions))
        return self._pass(key, case, decide(case.goal, {**_pairs(done), SPEED: speeds}, parity))

    def forget(self, key: str) -> None:
        """Delete what was measured for a judging that is given up."""
        Kept(self._folder_of(key)).forget()

    def _kept(self, key: str, case: Case) -> Kept:
        return Kept(self._folder_of(key), case.dataset, case.live, case.candidate)

    def _pass(self, key: str, case: Case, ruling: Ruling) -> Verdict:
        verdict = self.verdicts.add(key, case, ruling)
        self.forget(key)
        log.info("model_judged", candidate=case.candidate, outcome=verdict.outcome, verdict=verdict.id)
        return verdict

    async def _parity(
        self, kept: Kept, both: tuple[Contender, Contender], dataset: Dataset, candidate: InstalledModel
    ) -> Parity | None:
        known = kept.find("parity")
        if known is None:
            live, challenger = both
            template = own_template(self._with_tokenizer(candidate))
            measured = await compare(live.engine, challenger.engine, _conversations(dataset), template)
            known = kept.keep({"parity": asdict(measured) if measured else None}, "parity")
        return Parity(**known["parity"]) if known["parity"] else None

    def _answerer(self, contender: Contender) -> Answerer:
        return Answerer(
            database=self._database,
            searcher=self._searcher,
            encoder=self._encoder,
            engine=contender.engine,
            model=contender.model,
            settings=self._answering,
        )

    def _with_tokenizer(self, candidate: InstalledModel) -> Path:
        """Return the folder of the tokenizer that a candidate was trained with; adapters may leave it to their base."""
        if (candidate.path / "tokenizer_config.json").is_file():
            return candidate.path
        base = self._registry.by_id(candidate.base_id) if candidate.base_id else None
        if base is None:
            raise ModelMissing(f"Nothing tells how {candidate.reference} reads text", fix="Train it again")
        return base.path

    def _scope(self, principal: Principal, dataset: Dataset) -> Scope:
        with self._database.reading() as session:
            return readable_scope(session, principal, [dataset.card.collection_id])

    def _live_encoder(self, principal: Principal, dataset: Dataset) -> str:
        with self._database.reading() as session:
            return find_collection(session, principal, dataset.card.collection_id).encoder

    def _folder_of(self, key: str) -> Path:
        return self._folder / hashlib.sha256(key.encode()).hexdigest()[:24]


def _case(dataset: Dataset, live: str, candidate: InstalledModel) -> Case:
    return Case(
        collection_id=dataset.card.collection_id,
        dataset=dataset.id,
        subject="encoder" if candidate.kind == "encoder" else "llm",
        live=live,
        candidate=candidate.reference,
        goal=goal_of(candidate),
    )


async def _speeds(
    kept: Kept, both: tuple[Contender, Contender], questions: Sequence[HeldOut], *, check: Callable[[], None]
) -> list[Pair]:
    known = kept.find("speed")
    if known is None:
        asked = [question.question for question in questions[:_TIMED]]
        live, challenger = both
        pairs = await compare_speed(live.engine, challenger.engine, asked, check=check)
        known = kept.keep([asdict(pair) for pair in pairs], "speed")
    return [Pair(**pair) for pair in known]


def _batches(questions: Sequence[HeldOut], size: int) -> Iterator[Sequence[HeldOut]]:
    return (questions[start : start + size] for start in range(0, len(questions), size))


def _search_batch(sides: Sequence[SearchTrial], questions: Sequence[HeldOut]) -> list[dict[str, Any]]:
    return [_row(question, [side.scores(question) for side in sides]) for question in questions]


async def _answer_batch(sides: Sequence[AnswerTrial], questions: Sequence[HeldOut]) -> list[dict[str, Any]]:
    # One model after the other, since a machine that serves both has no room for them at once.
    scores = [await _all_of(side, questions) for side in sides]
    return [_row(question, both) for question, *both in zip(questions, *scores, strict=True)]


async def _all_of(side: AnswerTrial, questions: Sequence[HeldOut]) -> Sequence[Mapping[str, float]]:
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(question: HeldOut) -> Mapping[str, float]:
        async with room:
            return await side.scores(question)

    return await asyncio.gather(*map(one, questions))


def _row(question: HeldOut, scores: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    live, candidate = scores
    return {"document": question.document, "live": dict(live), "candidate": dict(candidate)}


def _pairs(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Pair]]:
    """Return the pairs of each figure; a question for which it does not apply to one of the two has none."""
    found: defaultdict[str, list[Pair]] = defaultdict(list)
    for row in rows:
        for name, live in row["live"].items():
            if name in row["candidate"]:
                found[name].append(Pair(row["document"], live, row["candidate"][name]))
    return dict(found)


def _conversations(dataset: Dataset) -> list[Conversation]:
    """Return a few held-out exchanges under the prompt of answering, without passages, which would take minutes."""
    rows = [row for row, _ in zip(dataset.retrieval("test"), range(_READ), strict=False)]
    return [[*write_prompt(row.question, (), ()), Message("assistant", row.answer or row.positive)] for row in rows]
