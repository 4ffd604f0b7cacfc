"""What a tool is: a typed function that a language model may call.

    @tool
    def search(context: ToolContext, query: Annotated[str, Field(max_length=300)], k: int = 5) -> Observation:
        \"\"\"Find passages in the documents.\"\"\"

    observation = await search.call(context, {"query": "warranty"})

The first parameter is the context, which the model knows nothing of; the others, with their types, become the JSON
Schema under which the model's calls are decoded. `Tool.call` answers in every case with an observation: wrong
arguments, an error, a function that hangs and one that returns far too much all become a short text that the model can
act on.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_type_hints

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from keepstone.platform.access import Principal, Scope, readable_scope
from keepstone.platform.database import Database
from keepstone.platform.errors import KeepstoneError
from keepstone.retrieval.library import Library
from keepstone.retrieval.search import Searcher
from keepstone.retrieval.types import Hit

if TYPE_CHECKING:
    from langchain_core.tools import StructuredTool

TIMEOUT_S = 20.0
"""How long a tool may take unless it says otherwise."""
MAX_CHARS = 6000
"""How much text of a tool reaches the model unless it says otherwise."""
MAX_HITS = 20
DECODED_CHARS: Final = 128
"""Longest string that our own schemas let a model write. xgrammar takes twice as long to compile longer bounds, and
slows the engine down for every token near them: by 400 ms instead of 12 for one decision."""
DECODED: Final[dict[str, Any]] = {"maxLength": DECODED_CHARS}
"""`json_schema_extra` of arguments that may be longer when it is not a model that writes them."""
_SHOWN_FAULTS = 3
# Blocking tools that hang keep their thread; so many may do so before further ones are refused.
_THREADS = threading.BoundedSemaphore(32)

T = TypeVar("T")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Observation:
    """What a tool answered."""

    text: str
    """For the model. It is data, whoever wrote it."""
    hits: tuple[Hit, ...] = ()
    """Passages of documents that it found, from which the answer may be made."""
    error: bool = False
    """Whether the call came to nothing; `text` says why."""
    note: str = ""
    """A fact that the tool worked out and that stands in no document, such as `3 * 860 = 2580`."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """For whom a tool works, and the services that it may use."""

    principal: Principal
    collections: tuple[str, ...] | None
    """Names or ids of the collections to work in; None means all that the principal may read."""
    database: Database
    searcher: Searcher
    library: Library

    def scope(self) -> Scope:
        """Return what may be searched at this moment; a permission that was taken away counts at once.

        Raises:
            NotFound: one of the collections is not there for the principal.
        """
        with self.database.reading() as session:
            return readable_scope(session, self.principal, self.collections)


Check = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Returns arguments that are valid, with defaults filled in, or raises `ValueError` saying what is wrong."""
Run = Callable[[ToolContext, dict[str, Any]], Awaitable[Observation]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool, ready to be called. `@tool` makes one of a function; foreign tools are built by hand."""

    name: str
    description: str
    """What it does and when to use it, for the model."""
    parameters: Mapping[str, Any]
    """JSON Schema of the arguments, an object."""
    check: Check
    run: Run
    timeout_s: float = TIMEOUT_S
    max_chars: int = MAX_CHARS

    async def call(self, context: ToolContext, arguments: Mapping[str, Any]) -> Observation:
        """Do it, and answer with an observation whatever happens; only cancelling goes through."""
        try:
            checked = self.check(arguments)
        except ValueError as error:
            return Observation(f"Wrong arguments for {self.name}: {_cut(str(error), 500)}", error=True)
        try:
            async with asyncio.timeout(self.timeout_s):
                found = await self.run(context, checked)
        except TimeoutError:
            log.warning("tool.timed_out", tool=self.name, seconds=self.timeout_s)
            return Observation(f"{self.name} took longer than {self.timeout_s:g} seconds and was stopped", error=True)
        except KeepstoneError as error:
            return Observation(_cut(str(error), self.max_chars), error=True)
        except Exception as error:  # a foreign tool may raise anything; the run goes on without it
            log.warning("tool.failed", tool=self.name, error=type(error).__name__)
            return Observation(f"{self.name} failed ({type(error).__name__})", error=True)
        return replace(found, text=_cut(found.text, self.max_chars), hits=found.hits[:MAX_HITS])


def tool(
    function: Callable[..., Observation] | Callable[..., Awaitable[Observation]],
    *,
    timeout_s: float = TIMEOUT_S,
    max_chars: int = MAX_CHARS,
) -> Tool:
    """Make a tool of a function whose first parameter is the `ToolContext`.

    Its name and docstring are what the model reads; annotations, with `Annotated[..., Field(...)]`, bound the
    arguments. Blocking functions run in a thread of their own.
    """
    model = _arguments_model(function)

    def check(arguments: Mapping[str, Any]) -> dict[str, Any]:
        try:
            valid = model.model_validate(dict(arguments))
        except ValidationError as error:
            raise ValueError(_faults(error)) from error
        return {name: getattr(valid, name) for name in model.model_fields}

    async def run(context: ToolContext, arguments: dict[str, Any]) -> Observation:
        work: Callable[[], Any] = partial(function, context, **arguments)
        found: Observation = await (work() if inspect.iscoroutinefunction(function) else in_thread(work))
        return found

    return Tool(
        name=function.__name__,
        description=inspect.getdoc(function) or "",
        parameters=_plain_schema(model.model_json_schema()),
        check=check,
        run=run,
        timeout_s=timeout_s,
        max_chars=max_chars,
    )


def as_langchain(tool: Tool, context: ToolContext) -> StructuredTool:
    """Return the tool as langchain knows tools, bound to a context. Its artifact is the `Observation`."""
    from langchain_core.tools import StructuredTool

    async def run(**arguments: Any) -> tuple[str, Observation]:
        found = await tool.call(context, arguments)
        return found.text, found

    return StructuredTool(
        name=tool.name,
        description=tool.description,
        args_schema=dict(tool.parameters),
        coroutine=run,
        response_format="content_and_artifact",
    )


async def in_thread(function: Callable[[], T]) -> T:
    """Run a blocking function in a thread that may be given up: it keeps nobody waiting, not even the process's end.

    Raises:
        KeepstoneError: too many threads hang already.
    """
    if not _THREADS.acquire(blocking=False):
        raise KeepstoneError("Too many tools hang", fix="Try again later")
    done: Future[T] = Future()

    def work() -> None:
        try:
            result = function()
        except BaseException as error:  # handed over to the one who waits
            done.set_exception(error)
        else:
            done.set_result(result)
        finally:
            _THREADS.release()

    done.set_running_or_notify_cancel()
    threading.Thread(target=work, name="tool", daemon=True).start()
    return await asyncio.wrap_future(done)


def _arguments_model(function: Callable[..., Any]) -> type[BaseModel]:
    """Return the model of a function's parameters behind the first one."""
    hints = get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    fields: dict[str, Any] = {
        each.name: (hints[each.name], ... if each.default is inspect.Parameter.empty else each.default)
        for each in parameters
    }
    return create_model(function.__name__, __config__=ConfigDict(extra="forbid"), **fields)


def _plain_schema(schema: Any) -> Any:
    """Return a JSON Schema without titles, which only cost tokens; a property named `title` stays."""
    if isinstance(schema, dict):
        return {
            key: {name: _plain_schema(each) for name, each in value.items()}
            if key == "properties"
            else _plain_schema(value)
            for key, value in schema.items()
            if key != "title"
        }
    return [_plain_schema(each) for each in schema] if isinstance(schema, list) else schema


def _faults(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {each['msg']}" for each in found[:_SHOWN_FAULTS]]
    return "; ".join(shown)


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[:limit]} … ({len(text) - limit} more characters were cut off)"
