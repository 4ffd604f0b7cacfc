"""`/v1/responses`: ask the agent in OpenAI's format, look at a response again, stop it, delete it.

A response is a run of the agent (`agents.react`): its thoughts are `reasoning` items, its searches `file_search_call`
items with their results, its other tools `function_call` items, each followed by its `function_call_output`. A
`function_call` without one is for the caller to run: a further response goes on once it brings the output. The answer
is a `message` with `file_citation` annotations.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import anyio
import structlog
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from keepstone.platform.access import Principal
from keepstone.platform.errors import EngineUnavailable, InvalidInput, NotFound
from keepstone.ui.http.dependencies import CurrentPrincipal, TheLookups, TheRuntime
from keepstone.ui.http.responses.asked import NewResponse
from keepstone.ui.http.responses.events import ResponseStream
from keepstone.ui.http.responses.task import ABOUT, task_of
from keepstone.ui.http.responses.whole import id_of, opened, response_of, run_of
from keepstone.ui.http.streams import EventResponse, unless_disconnected
from keepstone.ui.http.targets import Target, target_of
from keepstone.ui.runtime import Runtime

router = APIRouter(prefix="/v1/responses", tags=["openai"])
log = structlog.get_logger(__name__)


@router.post("", response_model=None)
async def create_response(
    asked: NewResponse, request: Request, principal: CurrentPrincipal, runtime: TheRuntime, lookups: TheLookups
) -> Response:
    """Let the agent answer, from a collection or as the bare model; a client that leaves stops it."""
    if asked.background and (asked.stream or asked.store is False):
        raise InvalidInput("background goes with neither stream nor store=false", fix="Leave one of them out")
    principal.needs_scope("read")
    target = _with_stores(await target_of(runtime, lookups, principal, asked.model), asked.stores)
    previous = None
    if asked.previous_response_id:
        previous = await run_in_threadpool(run_of, runtime, principal, asked.previous_response_id)
    question, brief = task_of(asked, previous)
    if not await runtime.engine.ready():
        raise EngineUnavailable("The language model does not answer", fix="Run `keepstone status`")
    run_id = await runtime.agent.start(principal, question, collections=target, brief=brief)
    work = _Work(runtime, principal, run_id, kept=asked.store is not False)
    if asked.background:
        return JSONResponse(await run_in_threadpool(work.response))
    if asked.stream:
        return EventResponse(work.events(opened(run_id, time.time(), brief.about[ABOUT])))
    return JSONResponse(await unless_disconnected(request.receive, work.whole()))


@router.get("/{response_id}", response_model=None)
async def get_response(
    response_id: str,
    principal: CurrentPrincipal,
    runtime: TheRuntime,
    stream: bool = False,
    starting_after: Annotated[int | None, Query(ge=0)] = None,
) -> Response:
    """Return a response as it is now; with `stream`, tell it from its first event on."""
    if starting_after is not None:
        raise InvalidInput("starting_after is not taken", fix="Leave it out: the stream begins at its first event")
    run = await run_in_threadpool(run_of, runtime, principal, response_id)
    if not stream:
        return JSONResponse(await run_in_threadpool(response_of, runtime, principal, run))
    begun = opened(run.run.id, run.run.created_at.timestamp(), run.brief.about[ABOUT])
    told = ResponseStream(runtime, principal, begun)
    return EventResponse(told.tell(runtime.agent.stream(principal, run.run.id)))


@router.post("/{response_id}/cancel")
async def cancel_response(response_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> dict[str, Any]:
    """Stop a response; one that is over stays as it is."""
    run = await run_in_threadpool(run_of, runtime, principal, response_id)
    await runtime.agent.cancel(principal, run.run.id)
    return await run_in_threadpool(_response, runtime, principal, response_id)


@router.delete("/{response_id}")
async def delete_response(response_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> dict[str, Any]:
    """Stop a response and delete it, with its answer."""
    run = await run_in_threadpool(run_of, runtime, principal, response_id)
    await runtime.agent.delete(principal, run.run.id)
    return {"id": response_id, "object": "response", "deleted": True}


def _with_stores(target: Target, stores: list[str]) -> Target:
    return target if target is None else tuple(dict.fromkeys((*target, *stores)))


def _response(runtime: Runtime, principal: Principal, response_id: str) -> dict[str, Any]:
    return response_of(runtime, principal, run_of(runtime, principal, response_id))


class _Work:
    """A response that its client waits for: it is stopped when the client leaves, and forgotten if that was asked.

    Args:
        runtime: the services.
        principal: whose it is.
        run_id: its run, which has begun.
        kept: whether it is stored.
    """

    def __init__(self, runtime: Runtime, principal: Principal, run_id: str, *, kept: bool) -> None:
        self._runtime = runtime
        self._principal = principal
        self._run_id = run_id
        self._kept = kept

    def response(self) -> dict[str, Any]:
        """Return it as it is now."""
        return _response(self._runtime, self._principal, id_of(self._run_id))

    async def whole(self) -> dict[str, Any]:
        """Wait for its end and return it."""
        try:
            async with aclosing(self._runtime.agent.stream(self._principal, self._run_id)) as events:
                async for _ in events:
                    pass
            return await run_in_threadpool(self.response)
        finally:
            await self._leave()

    async def events(self, begun: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """Tell it as it comes."""
        told = ResponseStream(self._runtime, self._principal, begun)
        try:
            async with aclosing(told.tell(self._runtime.agent.stream(self._principal, self._run_id))) as events:
                async for event in events:
                    yield event
        finally:
            await self._leave()

    async def _leave(self) -> None:
        with anyio.CancelScope(shield=True):
            try:
                if self._kept:
                    await self._runtime.agent.cancel(self._principal, self._run_id)
                else:
                    await self._runtime.agent.delete(self._principal, self._run_id)
            except NotFound:  # it was deleted meanwhile
                log.debug("response.gone", run=self._run_id)
