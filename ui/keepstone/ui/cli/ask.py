"""`search`, `ask` and `chat`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from keepstone.platform.errors import KeepstoneError
from keepstone.ui.cli.client import Api, connect
from keepstone.ui.cli.output import clean, console, emit, indented, mode, note, say, show_error

# Characters of a passage that `search` prints.
_SHOWN = 400

# What `model` means all collections by.
_ALL = "*"

Collection = Annotated[
    str | None,
    typer.Option("--collection", "-c", help="Name of the collection; all that you may read if none is given."),
]
Collections = Annotated[
    list[str] | None, typer.Option("--collection", "-c", help="Name of a collection; all if none is given.")
]


def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    collection: Collections = None,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="How many passages.")] = 5,
) -> None:
    """Find passages, without the language model."""
    with connect() as api:
        found = api.post("/v1/search", {"query": query, "collections": collection, "k": k})
    emit(found, lambda: _show_hits(found["hits"]))


def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    collection: Collection = None,
) -> None:
    """Ask your documents; the answer names its sources."""
    with connect(engine=True) as api:
        body = {"model": collection or _ALL, "messages": [{"role": "user", "content": question}]}
        if mode.json:
            answer = api.post("/v1/chat/completions", body)
            emit({"content": answer["choices"][0]["message"]["content"], **answer["keepstone"]}, lambda: None)
            return
        _, evidence = _stream(api, body)
        show_sources(evidence)


def chat(collection: Collection = None) -> None:
    """Talk with your documents. /sources shows the last answer's passages, /new starts afresh, /quit ends."""
    import readline  # noqa: F401 - importing it gives input() line editing and history

    with connect(engine=True) as api:
        if collection is not None:
            api.get(f"/v1/collections/{_quoted(collection)}")
        note(f"Talking with {collection or 'all collections'}. /sources, /new, /quit", "dim")
        history: list[dict[str, str]] = []
        evidence: dict[str, Any] = {}
        while (line := _read_line()) is not None:
            if line == "/quit":
                break
            if line == "/new":
                history, evidence = [], {}
                note("A new conversation.", "dim")
            elif line == "/sources":
                show_sources(evidence, everything=True)
            elif line.startswith("/"):
                note("Commands: /sources, /new, /quit", "dim")
            elif line:
                history, evidence = _turn(api, collection or _ALL, history, line)


def _turn(
    api: Api, model: str, history: list[dict[str, str]], question: str
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Ask one question of a conversation; return the longer history and the evidence. Ctrl-C stops the answer."""
    asked = [*history, {"role": "user", "content": question}]
    try:
        text, evidence = _stream(api, {"model": model, "messages": asked})
    except KeyboardInterrupt:
        say("")
        note("Stopped.", "dim")
        return history, {}
    except KeepstoneError as error:
        show_error(error)
        return history, {}
    show_sources(evidence)
    return [*asked, {"role": "assistant", "content": text}], evidence


def _read_line() -> str | None:
    try:
        return console().input("[bold]› [/bold]", markup=True).strip()
    except EOFError:
        say("")
        return None


def _stream(api: Api, body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Print an answer as it comes; return its text and evidence."""
    terminal = console()
    text, evidence = "", dict[str, Any]()
    for event in api.events("/v1/chat/completions", {**body, "stream": True}):
        piece = "".join(choice["delta"].get("content") or "" for choice in event["choices"])
        text += piece
        terminal.print(clean(piece), end="", soft_wrap=True)
        evidence = event.get("keepstone", evidence)
    terminal.print()
    return text, evidence


def show_sources(evidence: Mapping[str, Any], *, everything: bool = False) -> None:
    """Print the sources that the answer cites, or all passages that the model was shown."""
    from rich.text import Text

    if evidence.get("outcome") == "declined":
        note("The documents say too little about this.", "dim")
    sources = [source for source in evidence.get("sources", ()) if everything or source["cited"]]
    if everything and not sources:
        note("The last answer has no sources.", "dim")
        return
    terminal = console()
    for source in sources:
        terminal.print()
        terminal.print(Text(f"[{source['number']}] {clean(_place(source))}", style="bold"), soft_wrap=True)
        quote = source["quote"]
        if quote:
            indented(quote["text"], style="italic")


def _show_hits(hits: Sequence[Mapping[str, Any]]) -> None:
    from rich.text import Text

    if not hits:
        say("Nothing found.", "dim")
    terminal = console()
    for number, hit in enumerate(hits, 1):
        head = Text(f"{number}. {clean(_place({**hit, 'document': hit['document_name']}))}", style="bold")
        head.append(f"  {hit['score']:.3f}", style="dim")
        terminal.print(head, soft_wrap=True)
        shown = " ".join(hit["text"].split())
        indented(shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…")
        terminal.print()


def _place(source: Mapping[str, Any]) -> str:
    parts = [source["document"]]
    if source["page"] is not None:
        parts.append(f"page {source['page']}")
    if source["context"]:
        parts.append(str(source["context"]).replace("\n", " "))
    return " · ".join(parts)


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")
