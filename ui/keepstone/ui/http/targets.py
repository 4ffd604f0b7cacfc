"""What `model` names in a request of OpenAI's format: a collection, all of them, or the language model itself.

Where a collection and the model have the same name the collection answers, and `llm/NAME` is the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool

from keepstone.platform.access import Principal
from keepstone.platform.database.tables import CollectionRow
from keepstone.platform.errors import InvalidInput, NotFound, did_you_mean
from keepstone.ui.http.lookups import Lookups
from keepstone.ui.runtime import Runtime

LLM_PREFIX: Final = "llm/"
EVERYWHERE: Final = "*"
"""The name for all collections that the caller may read; none of them can have it."""
_WITH_NAME = sa.select(CollectionRow.id).where(CollectionRow.name == sa.bindparam("name"))

Target = tuple[str, ...] | None
"""Ids of the collections to answer from, as `readable_scope` takes them: none for the bare model, None for all."""


def model_name(body: Mapping[str, Any]) -> str:
    """Return the `model` of a request.

    Raises:
        InvalidInput: it is missing.
    """
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise InvalidInput("model is missing", fix="Name a collection or the model; GET /v1/models lists them")
    return name


async def target_of(runtime: Runtime, lookups: Lookups, principal: Principal, name: str) -> Target:
    """Return what a name means to a principal.

    Raises:
        NotFound: nothing; the nearest name is told.
    """
    if name == EVERYWHERE:
        return None
    if await _means_the_model(runtime, lookups, name):
        return ()
    return await run_in_threadpool(_collection_named, runtime, principal, name)


async def _means_the_model(runtime: Runtime, lookups: Lookups, name: str) -> bool:
    """Tell, quickly, whether a name means the bare model: it does not where there is a collection of that name."""
    bare = runtime.engine.model
    if name != bare:
        return name == f"{LLM_PREFIX}{bare}"
    taken = await lookups.ask(lambda connection: connection.execute(_WITH_NAME, {"name": name}).first())
    return taken is None


def _collection_named(runtime: Runtime, principal: Principal, name: str) -> Target:
    """Return the collection of that name; the bare model where it has that name and the caller may read no such one."""
    try:
        return (runtime.library.collection(principal, name).id,)
    except NotFound as error:
        if name == runtime.engine.model:
            return ()
        known = {info.name for info in runtime.library.collections(principal)}
        fix = did_you_mean(name, sorted(known | {runtime.engine.model}))
        raise NotFound(f"No model or collection {name!r}", fix=fix) from error
