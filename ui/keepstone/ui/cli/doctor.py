"""`keepstone doctor`: looks at all that Keepstone needs, and says what to mend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keepstone.platform.errors import KeepstoneError, SettingsError
from keepstone.ui.cli.checks import CHECKS, Check
from keepstone.ui.cli.client import connect
from keepstone.ui.cli.context import hush, load_settings
from keepstone.ui.cli.group import worded
from keepstone.ui.cli.output import clean, console, emit

if TYPE_CHECKING:
    from keepstone.platform.settings import Settings

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    indexes: Annotated[bool, typer.Option("--indexes", help="Compare both indexes with the database, too.")] = False,
) -> None:
    """Check this machine and this installation. Exits 1 when something must be mended."""
    checks = list(_run_all(indexes=indexes))
    failed = any(check.state == "fail" for check in checks)
    emit({"ok": not failed, "checks": [asdict(check) for check in checks]}, lambda: _show(checks))
    if failed:
        raise typer.Exit(1)


def _run_all(*, indexes: bool) -> Iterator[Check]:
    from keepstone.platform.settings import config_file

    try:
        settings = load_settings()
    except SettingsError as error:
        yield Check("settings", "fail", error.message, error.fix)
        return
    hush(settings)
    there = f"from {config_file()}" if config_file().exists() else f"all as delivered ({config_file()} does not exist)"
    yield Check("settings", "ok", there)
    for name, look in CHECKS.items():
        yield _looked(name, settings, look)
    if indexes:
        yield from _check_indexes()


def _looked(name: str, settings: Settings, look: object) -> Check:
    assert callable(look)
    try:
        state, message, fix = look(settings)
    except (KeepstoneError, OSError) as raised:
        error = worded(raised) if isinstance(raised, OSError) else raised
        return Check(name, "fail", error.message, error.fix)
    return Check(name, state, message, fix)


def _check_indexes() -> Iterator[Check]:
    try:
        with connect() as api:
            found = api.get("/v1/indexes")["collections"]
    except KeepstoneError as error:
        yield Check("indexes", "fail", error.message, error.fix)
        return
    for name, report in found.items():
        if report["ok"]:
            yield Check(f"indexes of {name}", "ok", f"equal to the database ({report['chunks']} passages)")
            continue
        fix = (
            "Stop Keepstone, delete the folder `indexes` in the home folder (in PostgreSQL, the tables `derived_*`), "
            "start it: it builds them anew"
        )
        yield Check(f"indexes of {name}", "fail", _differences(report), fix)
    if not found:
        yield Check("indexes", "ok", "no collections yet")


def _differences(report: Mapping[str, Any]) -> str:
    told = []
    for half in ("vectors", "words"):
        missing, extra = report[half]["missing"], report[half]["extra"]
        if missing or extra:
            told.append(f"{half}: {missing} missing, {extra} too many")
    if report["wrong_vectors"]:
        told.append(f"{len(report['wrong_vectors'])} vectors of a sample are wrong")
    return "; ".join(told)


def _show(checks: list[Check]) -> None:
    from rich.table import Table
    from rich.text import Text

    shown = Table.grid(padding=(0, 2))
    shown.add_column(no_wrap=True)
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for check in checks:
        told = Text(clean(check.message))
        if check.fix and check.state != "ok":
            told.append(f"\n{clean(check.fix)}", style="italic")
        shown.add_row(Text(check.state, style=_STYLES[check.state]), check.name, told)
    console().print(shown)
