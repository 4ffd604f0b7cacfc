"""Whether the app lives and can work, and its figures: for load balancers, supervisors and Prometheus."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from keepstone.platform import metrics
from keepstone.platform.database import Database
from keepstone.platform.database.tables import CollectionRow
from keepstone.platform.errors import KeepstoneError
from keepstone.platform.serving.absent import AbsentEngine
from keepstone.ui.http.dependencies import TheRuntime
from keepstone.ui.http.origins import is_local_client
from keepstone.ui.runtime import Runtime

router = APIRouter(tags=["health"])


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must work."""

    ready: bool
    reason: str | None = None
    fix: str | None = None


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Tell that the process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request, runtime: TheRuntime) -> JSONResponse:
    """Tell whether questions can be answered: 200, or 503 with what is missing.

    Reasons are shown to callers on this machine and to those with a credential.
    """
    checks = await readiness(runtime)
    ready = all(check.ready for check in checks.values())
    trusted = is_local_client(request) or request.state.principal is not None
    shown = {
        name: {"ready": check.ready} | ({"reason": check.reason, "fix": check.fix} if trusted and check.reason else {})
        for name, check in checks.items()
    }
    return JSONResponse({"status": "ready" if ready else "not ready", "checks": shown}, 200 if ready else 503)


@router.get("/metrics", response_class=Response)
async def show_metrics() -> Response:
    """Return all figures in Prometheus' format. Callers on this machine need no credential."""
    return Response(await run_in_threadpool(metrics.render), media_type=metrics.CONTENT_TYPE)


async def readiness(runtime: Runtime) -> dict[str, Check]:
    """Look at all that an answer needs."""
    checks = {
        "database": await run_in_threadpool(_database, runtime.database),
        "indexes": await run_in_threadpool(_indexes, runtime),
    }
    if runtime.settings.engine.mode != "off":
        checks["engine"] = await _engine(runtime)
    return checks


def _database(database: Database) -> Check:
    try:
        with database.reading() as session:
            session.execute(sa.text("SELECT 1"))
    except (KeepstoneError, SQLAlchemyError) as error:
        return Check(False, str(error) if isinstance(error, KeepstoneError) else "The database fails", None)
    return Check(True)


def _indexes(runtime: Runtime) -> Check:
    """Open every index. One that is behind its collection for a moment, as during ingestion, is ready all the same."""
    try:
        with runtime.database.reading() as session:
            ids = list(session.scalars(sa.select(CollectionRow.id)))
        for each in ids:
            runtime.indexes.get(each)
    except (KeepstoneError, SQLAlchemyError, OSError) as error:
        reason = error.message if isinstance(error, KeepstoneError) else "The indexes cannot be opened"
        return Check(False, reason, "Run `keepstone doctor --indexes`")
    return Check(True)


async def _engine(runtime: Runtime) -> Check:
    if await runtime.engine.ready():
        return Check(True)
    if isinstance(runtime.engine, AbsentEngine):
        return Check(False, runtime.engine.reason.message, runtime.engine.reason.fix)
    reason = runtime.supervisor.explain() if runtime.supervisor else None
    return Check(False, reason or "The engine does not answer", "Run `keepstone status`")
