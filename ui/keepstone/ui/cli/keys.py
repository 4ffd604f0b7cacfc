"""`keepstone keys`: create, list, revoke."""

from __future__ import annotations

from typing import Annotated

import typer

from keepstone.ui.cli.client import connect
from keepstone.ui.cli.output import ago, console, emit, note, table

app = typer.Typer(help="API keys.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Option("--name", help="How you will recognise it.")] = "",
    owner: Annotated[
        str | None, typer.Option("--for", help="Whom it stands for; added if new. Administrators only.")
    ] = None,
    scopes: Annotated[str | None, typer.Option("--scopes", help="read, write, admin; separated by commas.")] = None,
    days: Annotated[int | None, typer.Option("--days", min=1, help="For how long. Default: until revoked.")] = None,
) -> None:
    """Make a key and show it, this once."""
    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()] if scopes else None
    with connect() as api:
        made = api.post("/v1/keys", {"name": name, "for": owner, "scopes": wanted, "days": days})

    def human() -> None:
        console().print(made["secret"], soft_wrap=True)
        note(f"For {made['owner']}, with {', '.join(made['scopes'])}. It is not shown again.", "dim")

    emit(made, human)


@app.command("list")
def list_(everybody: Annotated[bool, typer.Option("--all", help="Everybody's. Administrators only.")] = False) -> None:
    """List the keys that work."""
    with connect() as api:
        found = api.get("/v1/keys", everybody=everybody or None)["data"]
    rows = [
        (
            each["id"],
            each["name"],
            each["owner"],
            ", ".join(each["scopes"]),
            (each["expires_at"] or "never")[:10],
            ago(each["last_used_at"]) or "never",
        )
        for each in found
    ]
    emit(found, lambda: table(["Id", "Name", "For", "Scopes", "Expires", "Last used"], rows, empty="No keys."))


@app.command()
def revoke(key: Annotated[str, typer.Argument(metavar="ID", help="Id, as `keys list` shows it.")]) -> None:
    """Make a key worthless at once."""
    from urllib.parse import quote

    with connect() as api:
        api.delete(f"/v1/keys/{quote(key, safe='')}")
    emit({"revoked": key}, "Revoked.")
