"""The body of `POST /v1/responses`: what is taken of OpenAI's fields. Any other field is refused by its name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from keepstone.agents.mcp.schemas import fit_schema
from keepstone.agents.react.brief import Function
from keepstone.platform.errors import InvalidInput

_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


class FunctionTool(BaseModel, extra="forbid"):
    """A function of the caller's, which the model may call and the caller runs."""

    type: Literal["function"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: Annotated[str, Field(max_length=4000)] | None = None
    parameters: dict[str, Any] | None = None
    """JSON Schema of the arguments, an object; the model's calls are decoded under it."""
    strict: bool | None = None
    """Taken, and always so."""


class FileSearchTool(BaseModel, extra="forbid"):
    """Searching collections."""

    type: Literal["file_search"]
    vector_store_ids: Annotated[list[Annotated[str, Field(max_length=255)]], Field(min_length=1, max_length=100)]
    """Names or ids of collections."""


class TextFormat(BaseModel, extra="forbid"):
    """How the answer is written: as text."""

    type: Literal["text"]


class TextOptions(BaseModel, extra="forbid"):
    """What the answer looks like."""

    format: TextFormat | None = None
    verbosity: str | None = None
    """Taken, and without effect."""


Tool = Annotated[FunctionTool | FileSearchTool, Field(discriminator="type")]


class NewResponse(BaseModel, extra="forbid"):
    """What is asked of the agent."""

    model: Annotated[str, Field(min_length=1, max_length=255)]
    """A collection, `*` for all that the caller may read, or the language model."""
    input: str | Annotated[list[dict[str, Any]], Field(max_length=1000)]
    """A question, or items: messages in text, `function_call` and `function_call_output`."""
    instructions: Annotated[str, Field(max_length=20_000)] | None = None
    previous_response_id: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    """Longest answer."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    stream: bool | None = None
    background: bool | None = None
    """Whether to answer at once with the id; the work goes on without the client."""
    store: bool | None = None
    """False: it is forgotten as soon as it was told."""
    tools: Annotated[list[Tool], Field(max_length=64)] | None = None
    """With null the agent has all its own tools; with a list, only what is in it and the search of the `model`."""
    tool_choice: Literal["auto", "none"] | None = None
    metadata: Annotated[dict[str, Annotated[str, Field(max_length=512)]], Field(max_length=16)] | None = None
    include: list[Literal["file_search_call.results", "reasoning.encrypted_content"]] | None = None
    """Taken, and without effect: results are always told."""
    parallel_tool_calls: Literal[True] | None = None
    text: TextOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None
    """Taken, and always `auto`: of a long conversation the model reads the end."""
    stream_options: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    user: str | None = None
    """This and the five above say nothing to an engine of one's own: taken, and without effect."""

    @property
    def stores(self) -> list[str]:
        """The collections that are to be searched besides the model's."""
        searches = [tool for tool in self.tools or () if isinstance(tool, FileSearchTool)]
        return [name for tool in searches for name in tool.vector_store_ids]

    def functions(self) -> tuple[Function, ...]:
        """Return the caller's functions, their schemas fit to decode under.

        Raises:
            InvalidInput: a schema is not, or two have one name, or one has that of Keepstone's search.
        """
        if self.tool_choice == "none":
            return ()
        found: dict[str, Function] = {}
        for tool in self.tools or ():
            if isinstance(tool, FunctionTool):
                if tool.name in found or tool.name == "search":
                    raise InvalidInput(f"There is a tool {tool.name!r} already", fix="Give the function another name")
                found[tool.name] = _fit(tool)
        return tuple(found.values())

    def echo(self) -> dict[str, Any]:
        """Return the fields that a response repeats."""
        return {
            "model": self.model,
            "instructions": self.instructions,
            "previous_response_id": self.previous_response_id,
            "max_output_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "background": bool(self.background),
            "store": self.store is not False,
            "tools": [tool.model_dump(exclude_unset=True) | _strictness(tool) for tool in self.tools or ()],
            "tool_choice": self.tool_choice or "auto",
            "metadata": self.metadata or {},
        }


def _fit(tool: FunctionTool) -> Function:
    try:
        parameters = fit_schema(tool.parameters or _NO_ARGUMENTS)
    except InvalidInput as error:
        fix = "Describe the arguments by a JSON Schema of the type object, without references to elsewhere"
        raise InvalidInput(f"tools: {tool.name}: {error.message}", fix=fix) from error
    return Function(name=tool.name, description=tool.description or "", parameters=parameters)


def _strictness(tool: FunctionTool | FileSearchTool) -> dict[str, Any]:
    if isinstance(tool, FileSearchTool):
        return {}
    return {"parameters": tool.parameters, "strict": True, "description": tool.description}
