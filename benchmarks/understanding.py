"""Query understanding: what each technique adds to the ranking of collections where it should help.

    .venv/bin/python -m benchmarks.understanding [--json] [--only WORD] [--model FOLDER] [--questions N] [--home DIR]

nDCG@10 over documents, of the same questions with the technique and without. Those that need no language model are
measured on all questions that they apply to; the others, with the model in the folder `--model`, on the first so many.
What the sample is worth stands in the details: the mean difference with its 95% interval by bootstrap.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from anyio.to_thread import run_sync

from benchmarks.app import prepared_app
from benchmarks.harness import Context, Figure, main
from benchmarks.parts.collections import COLLECTIONS, Collection
from benchmarks.parts.ranking import collection_scope
from benchmarks.parts.retrieval import administrator, open_runtime
from benchmarks.parts.serving import bare_engine, launch_for
from benchmarks.parts.tuning import interval, ndcg
from keepstone.agents.types import AnsweringModel
from keepstone.agents.understanding.base import Documents
from keepstone.agents.understanding.comparison import sides
from keepstone.agents.understanding.understanding import Understanding, Understood
from keepstone.platform.serving.engine import Engine
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.platform.understanding_settings import UnderstandingSettings
from keepstone.retrieval.several import Query, search_several
from keepstone.ui.runtime import Runtime

_AT, _DEPTH = 10, 60
_AT_ONCE = 4
_QUESTIONS = 40
_PATIENCE_S = 300.0
_TYPO_EVERY = 3
_MODEL = "writer"


@dataclass(frozen=True, slots=True)
class Trial:
    """A technique on a collection."""

    technique: str
    collection: str
    """Of the documents."""
    questions: Callable[[Context, Collection], Mapping[str, str]]
    """By their names in the collection."""
    needs_model: bool = True


def _own(_: Context, collection: Collection) -> Mapping[str, str]:
    return collection.questions


def _compared(_: Context, collection: Collection) -> Mapping[str, str]:
    return {name: text for name, text in collection.questions.items() if sides(text)}


def _in(language: str) -> Callable[[Context, Collection], Mapping[str, str]]:
    """Return the same questions in the other language of XQuAD, where they have the same names."""
    return lambda context, _: COLLECTIONS[f"xquad_{language}"](context).questions


def _misspelt(_: Context, collection: Collection) -> Mapping[str, str]:
    dice = random.Random(0)
    return {name: _with_typos(text, dice) for name, text in collection.questions.items()}


_TRIALS = (
    Trial("comparison", "hotpotqa", _compared, needs_model=False),
    Trial("dictionary", "xquad_en", _in("zh"), needs_model=False),
    Trial("rewriting", "xquad_en", _misspelt),
    Trial("multi_query", "fiqa", _own),
    Trial("hyde", "fiqa", _own),
    Trial("multi_query", "scifact", _own),
    Trial("hyde", "scifact", _own),
    Trial("decomposition", "hotpotqa", _own),
    Trial("translation", "xquad_en", _in("zh")),
    Trial("translation", "xquad_zh", _in("en")),
)


def measure(context: Context) -> Iterable[Figure]:
    """Measure what was asked for."""
    with_model = context.options.model is not None
    chosen = [trial for trial in _TRIALS if context.wants(_name(trial)) and (with_model or not trial.needs_model)]
    with TemporaryDirectory(prefix="keepstone-understanding-", ignore_cleanup_errors=True) as scratch:
        home = context.options.home or Path(scratch)
        app = prepared_app(home, engine=with_model)
        app.run("models", "pull", "all-minilm-l6-v2")
        for trial in (each for each in chosen if not each.needs_model):
            with open_runtime(home) as runtime:
                yield from asyncio.run(_measured(context, runtime, ScriptedEngine(), trial))
        if with_model:
            app.run("models", "pull", str(context.options.model), "--name", _MODEL)
            launch = launch_for(home, app.environment["KEEPSTONE_ENGINE__PYTHON"], _MODEL)
            with bare_engine(launch), open_runtime(home) as runtime:
                for trial in (each for each in chosen if each.needs_model):
                    yield from asyncio.run(_measured(context, runtime, launch.client(), trial))


async def _measured(context: Context, runtime: Runtime, engine: Engine, trial: Trial) -> list[Figure]:
    collection = COLLECTIONS[trial.collection](context)
    await run_sync(collection_scope, runtime, trial.collection, collection)
    limit = context.options.questions or (_QUESTIONS if trial.needs_model else None)
    questions = dict(islice(trial.questions(context, collection).items(), limit))
    context.say(f"{trial.technique} on {trial.collection}: {len(questions)} questions")
    documents = Documents(runtime.database, runtime.searcher, administrator(runtime), [trial.collection])
    settings = UnderstandingSettings(max_seconds=_PATIENCE_S)
    # However small, it is asked here.
    model = AnsweringModel(engine.model, "measured", "write")
    understanding = Understanding(engine, lambda: model, runtime.encoder, settings)
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(text: str) -> Understood:
        async with slots:
            return await understanding.understand(text, documents, [trial.technique])

    understood = await asyncio.gather(*map(one, questions.values()))
    names = list(collection.passages)

    def score(question: str, queries: tuple[Query, ...]) -> float:
        hits = search_several(runtime.searcher, documents.scope(), queries, k=_DEPTH).hits
        ranking = list(dict.fromkeys(names[int(Path(hit.document_name).stem)] for hit in hits))
        return ndcg(ranking[:_AT], collection.relevant[question])

    plain = np.array([score(name, (Query(text),)) for name, text in questions.items()])
    helped = np.array([score(name, each.queries) for name, each in zip(questions, understood, strict=True)])
    context.details[_name(trial)] = {
        "questions": len(questions),
        "gain": interval(helped - plain),
        "outcomes": Counter(each.outcomes[trial.technique] for each in understood),
        "tokens": float(np.mean([each.tokens.get(trial.technique, 0) for each in understood])),
        "milliseconds": float(np.median([each.timings[trial.technique] for each in understood])),
        "examples": [each.record()["queries"] for each in understood[:5]],
    }
    await engine.close()
    return [Figure(_name(trial), [helped.mean()], ""), Figure(f"{_name(trial)}_plain", [plain.mean()], "")]


def _name(trial: Trial) -> str:
    return f"{trial.technique}_{trial.collection}"


def _with_typos(text: str, dice: random.Random) -> str:
    """Return a text in every third longer word of which two neighbouring letters are swapped."""
    words = text.split()
    for at in range(0, len(words), _TYPO_EVERY):
        if len(words[at]) > _TYPO_EVERY:
            place = dice.randrange(1, len(words[at]) - 1)
            word = words[at]
            words[at] = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    return " ".join(words)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, help="folder of a language model; without it, techniques that need none")
    parser.add_argument("--questions", type=int, help=f"of each trial (default: {_QUESTIONS} with the model, else all)")
    parser.add_argument("--home", type=Path, help="folder to ingest into and keep (default: a temporary one)")


if __name__ == "__main__":
    raise SystemExit(main("understanding", measure, options=_options, runs=1))
