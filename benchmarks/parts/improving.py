"""`keepstone improve` on the examples, from a fresh home: how long it takes, and what comes of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.app import App, running_app
from benchmarks.harness import Context, Figure
from benchmarks.smoke import COLLECTION, EXAMPLES
from keepstone.platform.errors import KeepstoneError

_QUESTION = "Is it OK to wipe the balance with acetone?"
_POLL_S = 2.0


def examples(context: Context) -> Iterable[Figure]:
    """Yield the minutes from the order to the report; verdict, figures and provenance stand in the details."""
    with (
        tempfile.TemporaryDirectory(prefix="keepstone-improve-", ignore_cleanup_errors=True) as scratch,
        running_app(Path(scratch)) as app,
    ):
        app.run("ingest", str(EXAMPLES / "documents"), "--collection", COLLECTION)
        before = _encoders(app)
        started = time.monotonic()
        begun = app.json("improve", "--collection", COLLECTION, "--detach")
        ended = _wait(app, begun["id"])
        minutes = (time.monotonic() - started) / 60
        context.details["improve"] = {
            "summary": ended["summary"],
            "stages": {stage["name"]: stage["seconds"] for stage in ended["record"]["stages"]},
            "judgements": [made["judgement"] for made in ended["record"]["candidates"]],
            "versions_before": before,
            "versions_after": _encoders(app),
        }
        if context.options.reports is not None:
            _keep(app, begun["id"], context.options.reports)
    yield Figure("improve_minutes", [minutes], "min")


def _wait(app: App, improvement: str) -> Any:
    with app.client() as http:
        while True:
            now = http.get(f"/v1/improvements/{improvement}").raise_for_status().json()
            if now["state"] not in ("queued", "running"):
                break
            time.sleep(_POLL_S)
    if now["state"] != "succeeded":
        raise KeepstoneError(f"The improvement was {now['state']}: {now['error']}")
    return now


def _encoders(app: App) -> Any:
    """Return the versions that a new answer records."""
    answer = app.json("ask", _QUESTION, "--collection", COLLECTION)
    with app.client() as http:
        return http.get(f"/v1/answers/{answer['answer_id']}").raise_for_status().json()["versions"]


def _keep(app: App, improvement: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for form in ("md", "html"):
        content = (app.home / "reports" / f"{improvement}.{form}").read_bytes()
        (folder / f"improve-examples.{form}").write_bytes(content)
