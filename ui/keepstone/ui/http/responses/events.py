"""A response as it comes: the events of a run in the events, and the order, of OpenAI's stream."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from starlette.concurrency import run_in_threadpool

from keepstone.agents.react.types import Called, Observed, RunEvent, RunFinished, RunStarted, Thought
from keepstone.agents.record import passage_record
from keepstone.agents.types import Claim, Finished, Found, TextDelta
from keepstone.platform.access import Principal
from keepstone.ui.http.responses import items
from keepstone.ui.http.responses.items import Item
from keepstone.ui.http.responses.whole import response_of, results_of, run_of
from keepstone.ui.runtime import Runtime

Event = dict[str, Any]
_ENDS = {"completed": "response.completed", "failed": "response.failed"}


class ResponseStream:
    """Tells one run. The items that it tells are those that the whole response has in the end.

    Args:
        runtime: the services.
        principal: whose run it is.
        response: the response as it begins (`whole.opened`).
    """

    def __init__(self, runtime: Runtime, principal: Principal, response: dict[str, Any]) -> None:
        self._runtime = runtime
        self._principal = principal
        self._response = response
        self._run_id: str = response["keepstone"]["run_id"]
        self._sequence = 0
        self._places: dict[str, int] = {}
        """Where in the output each item stands, by its id."""
        self._queries: dict[tuple[int, int], Called] = {}
        self._passages: dict[int, dict[str, Any]] = {}
        self._text = ""
        self._cited: list[dict[str, Any]] = []
        self._checked = 0
        self._writing = False

    async def tell(self, run: AsyncGenerator[RunEvent, None]) -> AsyncGenerator[bytes, None]:
        """Yield the server-sent events of a run until its end."""
        async with aclosing(run) as events:
            async for event in events:
                for told in await self._told(event):
                    yield self._encoded(told)

    async def _told(self, event: RunEvent) -> Iterable[Event]:
        told: Iterable[Event] = ()
        match event:
            case RunStarted():
                told = ({"type": f"response.{each}", "response": self._response} for each in ("created", "in_progress"))
            case Thought():
                told = self._thought(event)
            case Called():
                told = self._called(event)
            case Observed():
                told = await self._observed(event)
            case Found():
                self._passages = {each.number: passage_record(each) for each in event.passages}
            case TextDelta():
                told = self._more(event.text, event.claims)
            case Finished():
                told = self._cite(event.answer.claims)
            case RunFinished():
                told = await self._end()
        return told

    def _thought(self, event: Thought) -> Iterator[Event]:
        if not event.text:
            return
        item = items.reasoning(self._run_id, event.step, event.text)
        at = {"item_id": item["id"], "summary_index": 0}
        yield self._added(item | {"summary": [], "status": "in_progress"})
        part = item["summary"][0]
        name = "response.reasoning_summary"
        yield {"type": f"{name}_part.added", **at, "part": part | {"text": ""}}
        yield {"type": f"{name}_text.delta", **at, "delta": event.text}
        yield {"type": f"{name}_text.done", **at, "text": event.text}
        yield {"type": f"{name}_part.done", **at, "part": part}
        yield _done(item)

    def _called(self, event: Called) -> Iterator[Event]:
        if event.tool == "search":
            self._queries[event.step, event.call] = event
            item = items.search_call(self._run_id, event.step, event.call, event.arguments, None)
            yield self._added(item)
            yield {"type": "response.file_search_call.in_progress", "item_id": item["id"]}
            yield {"type": "response.file_search_call.searching", "item_id": item["id"]}
            return
        item = items.function_call(self._run_id, event.step, event.call, event.tool, event.arguments)
        at = {"item_id": item["id"]}
        yield self._added(item | {"arguments": "", "status": "in_progress"})
        yield {"type": "response.function_call_arguments.delta", **at, "delta": item["arguments"]}
        done = {"name": item["name"], "arguments": item["arguments"]}
        yield {"type": "response.function_call_arguments.done", **at, **done}
        yield _done(item)

    async def _observed(self, event: Observed) -> Iterable[Event]:
        if event.tool != "search":
            item = items.function_output(self._run_id, event.step, event.call, event.text)
            return [self._added(item), _done(item)]
        results = await run_in_threadpool(results_of, self._runtime, self._principal, event.found)
        asked = self._queries[event.step, event.call]
        item = items.search_call(self._run_id, event.step, event.call, asked.arguments, results)
        return [{"type": "response.file_search_call.completed", "item_id": item["id"]}, _done(item)]

    def _more(self, text: str, claims: tuple[Claim, ...]) -> Iterator[Event]:
        if not self._writing:
            self._writing = True
            yield self._added(items.message(self._run_id, [], "in_progress"))
            yield {"type": "response.content_part.added", **self._part(), "part": items.output_text("", [])}
        self._text += text
        yield {"type": "response.output_text.delta", **self._part(), "delta": text, "logprobs": []}
        yield from self._cite(claims)

    def _cite(self, claims: tuple[Claim, ...]) -> Iterator[Event]:
        """Tell the citations of the sentences that were checked since."""
        for claim in claims[self._checked :]:
            passage = self._passages.get(claim.citation) if claim.citation is not None else None
            if passage is not None and self._writing:
                self._cited.append(items.citation(asdict(claim), passage))
                yield {
                    "type": "response.output_text.annotation.added",
                    **self._part(),
                    "annotation_index": len(self._cited) - 1,
                    "annotation": self._cited[-1],
                }
        self._checked = max(self._checked, len(claims))

    async def _end(self) -> Iterable[Event]:
        """Close what is open, and tell the whole response."""
        run = await run_in_threadpool(run_of, self._runtime, self._principal, self._response["id"])
        response = await run_in_threadpool(response_of, self._runtime, self._principal, run)
        closing: list[Event] = []
        item = next((each for each in response["output"] if each["type"] == "message"), None)
        if item is not None and not self._writing:  # it was written before this stream began
            closing += self._more(item["content"][0]["text"], ())
        if self._writing:
            closing += self._closed(item or self._broken())
        closing.append({"type": _ENDS.get(response["status"], "response.incomplete"), "response": response})
        return closing

    def _closed(self, item: Item) -> Iterator[Event]:
        part = item["content"][0]
        yield {"type": "response.output_text.done", **self._part(), "text": part["text"], "logprobs": []}
        yield {"type": "response.content_part.done", **self._part(), "part": part}
        yield _done(item)

    def _broken(self) -> Item:
        """Return the answer as far as it came, where it was not stored."""
        return items.message(self._run_id, [items.output_text(self._text, self._cited)], "incomplete")

    def _part(self) -> dict[str, Any]:
        return {"item_id": items.message_id(self._run_id), "content_index": 0}

    def _added(self, item: Item) -> Event:
        self._places[item["id"]] = len(self._places)
        return {"type": "response.output_item.added", "item": item}

    def _encoded(self, event: Event) -> bytes:
        """Return an event numbered, and with the place of its item."""
        name = event.get("item_id") or event.get("item", {}).get("id")
        place = {"output_index": self._places[name]} if name else {}
        data = {"sequence_number": self._sequence, **place, **event}
        self._sequence += 1
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        return f"event: {event['type']}\ndata: {text}\n\n".encode()


def _done(item: Item) -> Event:
    return {"type": "response.output_item.done", "item": item}
