"""`keepstone models`: list, pull, recommend, verify, promote, rollback, history."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, cast

import typer

from keepstone.ui.cli import promotions
from keepstone.ui.cli.context import load_settings
from keepstone.ui.cli.output import emit, fields, mode, note, say, table

if TYPE_CHECKING:
    from keepstone.platform.models.catalog import Kind
    from keepstone.platform.models.registry import ModelRegistry

app = typer.Typer(
    help="The models on this machine, those it could run, and which of them are live.", no_args_is_help=True
)


@app.command("list")
def list_(known: Annotated[bool, typer.Option("--catalog", help="Those that `pull` knows by name.")] = False) -> None:
    """List the installed models, or the catalog."""
    if known:
        _list_catalog()
        return
    from keepstone.platform.serving.promoted import models_in_use

    with opened_registry() as registry:
        used = models_in_use(registry, load_settings())
        found = [
            {
                "name": model.name,
                "kind": model.kind,
                "version": model.version,
                "in_use": model.reference in used,
                "source": model.source,
                "path": str(model.path),
            }
            for model in registry.list()
        ]
    rows = [
        (each["name"], each["kind"], each["version"], "yes" if each["in_use"] else "", each["source"]) for each in found
    ]
    empty = "No models yet. Get the starter models: keepstone models pull starter"
    emit(found, lambda: table(["Name", "Kind", "Version", "In use", "Source"], rows, empty=empty))


@app.command()
def pull(
    what: Annotated[str, typer.Argument(help="`starter`, a name of the catalog, a hub id, or a path.")],
    name: Annotated[str | None, typer.Option("--name", help="Under which name to install it.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="llm, encoder or reranker; told from its files.")] = None,
) -> None:
    """Bring a model onto this machine."""
    from keepstone.platform.models.pull import pull as pull_models
    from keepstone.ui.cli.progress import progress_lines

    settings = load_settings()
    with opened_registry() as registry, progress_lines() as progress:
        installed = pull_models(
            what, home=settings.home, registry=registry, progress=progress, kind=cast("Kind | None", kind), name=name
        )
    shown = [
        {"name": each.name, "kind": each.kind, "version": each.version, "path": str(each.path)} for each in installed
    ]
    emit(shown, "\n".join(f"{each.name} ({each.kind}, {each.version}) is here." for each in installed))


@app.command()
def recommend() -> None:
    """Name the best models for this machine."""
    from keepstone.platform.machine import probe
    from keepstone.platform.models import catalog
    from keepstone.ui.recommendation import better_models

    settings = load_settings()
    machine = probe(settings.home)
    best = catalog.recommend(machine)
    better = better_models(settings, machine)

    def human() -> None:
        fields({"This machine": machine.summary()})
        rows = [(kind, entry.name, entry.title, f"{entry.memory_gib:g} GiB") for kind, entry in best.items()]
        table(["Kind", "Best", "What it is", ">Needs"], rows)
        for each in better:
            say(f"Better than the {each.kind} in use: {each.name}. To get it:")
            for command in each.commands:
                say(f"  {command}")

    emit(
        {
            "machine": machine.summary(),
            "best": {kind: entry.name for kind, entry in best.items()},
            "better": [{"kind": each.kind, "name": each.name, "commands": list(each.commands)} for each in better],
        },
        human,
    )


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which; all by default.")] = None,
) -> None:
    """Hash the files of installed models again."""
    with opened_registry() as registry:
        models = [registry.get(name) for name in names] if names else registry.list()
        faults = {model.reference: registry.verify(model) for model in models}

    def human() -> None:
        for reference, wrong in faults.items():
            say(f"{reference}: {'; '.join(wrong) if wrong else 'as installed'}", "red" if wrong else None)

    emit(faults, human)
    if any(faults.values()):
        if not mode.json:
            note("Install those again: keepstone models pull NAME")
        raise typer.Exit(1)


app.command()(promotions.promote)
app.command()(promotions.rollback)
app.command()(promotions.history)


def _list_catalog() -> None:
    from keepstone.platform.models.catalog import catalog

    entries = list(catalog().values())
    rows = [
        (each.name, each.kind, each.parameters, f"{each.memory_gib:g} GiB", ", ".join(each.machines))
        for each in entries
    ]
    shown = [each.model_dump(mode="json") for each in entries]
    emit(shown, lambda: table(["Name", "Kind", "Size", ">Needs", "For machines"], rows))


@contextmanager
def opened_registry() -> Iterator[ModelRegistry]:
    """Open the registry of the home folder, with its database at this version's schema."""
    from keepstone.platform.models.registry import ModelRegistry
    from keepstone.ui.cli.database import opened

    with opened() as database:
        database.upgrade()
        yield ModelRegistry(database, load_settings().home)
