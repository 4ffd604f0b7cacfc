"""How well search ranks the documents of public collections, ingested and asked as a person would.

nDCG@10 over documents: passages are what search returns, a document stands where its best passage does. Nothing is
trained on the collections, and nothing is chosen by them one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from benchmarks.app import prepared_app
from benchmarks.harness import Context, Figure
from benchmarks.parts.collections import COLLECTIONS, Collection
from benchmarks.parts.retrieval import administrator, ingest, open_runtime
from benchmarks.parts.tuning import ndcg
from keepstone.platform.access import Scope, readable_scope
from keepstone.platform.errors import NotFound
from keepstone.ui.runtime import Runtime

_AT = 10
# So many passages are asked for, since several may be of one document.
_DEPTH = 60
_WAYS: Mapping[str, Mapping[str, float]] = {
    "search": {},
    "fused": {"regularisation": 0.0},
    "words": {"dense_weight": 0.0, "regularisation": 0.0},
    "meaning": {"dense_weight": 1.0, "regularisation": 0.0},
}


def quality(context: Context) -> Iterable[Figure]:
    """Yield nDCG@10 of every collection asked for; those of other ways stand in the details."""
    wanted = context.options.dataset or list(COLLECTIONS)
    with TemporaryDirectory(prefix="keepstone-ranking-", ignore_cleanup_errors=True) as scratch:
        home = context.options.home or Path(scratch)
        prepared_app(home, engine=False).run("models", "pull", "all-minilm-l6-v2")
        with open_runtime(home) as runtime:
            for name in wanted:
                if context.wants(f"ndcg10_{name}"):
                    context.say(name)
                    yield Figure(f"ndcg10_{name}", [_measured(context, runtime, name)], "")


def _measured(context: Context, runtime: Runtime, name: str) -> float:
    collection = COLLECTIONS[name](context)
    scope = collection_scope(runtime, name, collection)
    found = {way: _ndcg(runtime, scope, collection, options) for way, options in _WAYS.items()}
    context.details.setdefault("ndcg10", {})[name] = found
    return found["search"]


def collection_scope(runtime: Runtime, name: str, collection: Collection) -> Scope:
    """Return where the collection is, after ingesting it if it is not there from a run before."""
    principal = administrator(runtime)
    with runtime.database.reading() as session:
        try:
            return readable_scope(session, principal, [name])
        except NotFound:
            pass
    # By number, since names of passages may be no names of files.
    files = {f"{number}.md": _page(text) for number, text in enumerate(collection.passages.values())}
    ingest(runtime, files, name)
    with runtime.database.reading() as session:
        return readable_scope(session, principal, [name])


def _ndcg(runtime: Runtime, scope: Scope, collection: Collection, options: Mapping[str, float]) -> float:
    names = list(collection.passages)
    scores = []
    for question, text in collection.questions.items():
        hits = runtime.searcher.search(scope, text, k=_DEPTH, options=options).hits
        ranking = list(dict.fromkeys(names[int(Path(hit.document_name).stem)] for hit in hits))
        scores.append(ndcg(ranking[:_AT], collection.relevant[question]))
    return fmean(scores)


def _page(text: str) -> bytes:
    title, newline, rest = text.partition("\n")
    return (f"# {title}\n\n{rest}\n" if newline else f"{text}\n").encode()
