"""`GET /v1/status`: everything that `keepstone status` shows; and what administrators do to engine and indexes."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from keepstone.platform.access import Principal
from keepstone.platform.database.tables import OPEN_JOBS
from keepstone.platform.errors import Conflict
from keepstone.platform.jobs.records import readable_jobs
from keepstone.platform.serving.absent import AbsentEngine
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.http.jobs import collection_names, view
from keepstone.ui.recommendation import better_models
from keepstone.ui.runtime import Runtime
from keepstone.ui.version import version

router = APIRouter(prefix="/v1", tags=["status"])


@router.get("/status")
async def get_status(principal: CurrentPrincipal, runtime: TheRuntime) -> dict[str, Any]:
    """Describe this installation. Paths and process ids are for administrators."""
    principal.needs_scope("read")
    ready = await runtime.engine.ready()
    return await run_in_threadpool(_status, runtime, principal, engine_ready=ready)


@router.post("/engine/restart", status_code=202)
def restart_engine(principal: CurrentPrincipal, runtime: TheRuntime) -> dict[str, str]:
    """Let the engine finish what it is doing, and start it again. Administrators only."""
    principal.needs_admin()
    if isinstance(runtime.engine, AbsentEngine):
        raise Conflict("There is no engine to restart", fix=runtime.engine.reason.fix)
    if runtime.engines is None:
        raise Conflict(
            "The engine is not Keepstone's to restart", fix="engine.mode is 'external': restart it where it runs"
        )
    runtime.engines.restart()
    return {"state": runtime.engines.supervisor.status().state}


@router.get("/indexes")
def verify_indexes(principal: CurrentPrincipal, runtime: TheRuntime) -> dict[str, Any]:
    """Compare both indexes of each collection with the database, and tell the differences. Administrators only."""
    principal.needs_admin()
    reports: dict[str, dict[str, Any]] = {}
    for info in runtime.library.collections(principal):
        runtime.indexes.catch_up(info.id)
        report = runtime.indexes.verify(info.id)
        reports[info.name] = {"ok": report.ok, **asdict(report)}
    return {"collections": reports}


def _status(runtime: Runtime, principal: Principal, *, engine_ready: bool) -> dict[str, Any]:
    settings = runtime.settings
    admin = principal.administers
    with runtime.database.reading() as session:
        jobs = [row for row in readable_jobs(session, principal, limit=500) if row.state in OPEN_JOBS]
        names = collection_names(session, jobs)
    collections = runtime.library.collections(principal)
    status: dict[str, Any] = {
        "version": version(),
        "url": settings.app_url,
        "principal": principal.name,
        "engine": _engine(runtime, ready=engine_ready, admin=admin),
        "encoder": {
            "model": settings.encoder.model,
            "version": runtime.encoder.version,
            "message": runtime.encoder_trouble(),
        },
        "database": "sqlite" if runtime.database.is_sqlite else "postgresql",
        "collections": [
            {"name": info.name, "documents": info.documents, "chunks": info.chunks, "encoder": info.encoder}
            for info in collections
        ],
        "jobs": [view(runtime, row, names).model_dump(mode="json") for row in jobs],
        "better": [asdict(each) for each in better_models(settings, runtime.machine)],
    }
    if admin:
        status |= {"home": str(settings.home), "pid": os.getpid(), "machine": runtime.machine.summary()}
    return status


def _engine(runtime: Runtime, *, ready: bool, admin: bool) -> dict[str, Any]:
    mode = runtime.settings.engine.mode
    names = {"model": runtime.engine.model, "serves": runtime.language_model}
    about: dict[str, Any] = {"mode": mode, **names, "ready": ready}
    if runtime.engines is None:
        state = "ready" if ready else "off" if mode == "off" else "down"
        missing = str(runtime.engine.reason) if isinstance(runtime.engine, AbsentEngine) else None
        return about | {"state": state, "message": missing}
    supervisor = runtime.engines.supervisor
    status = supervisor.status()
    about |= {
        "state": status.state,
        "message": supervisor.explain() or status.message,
        "since": status.since.isoformat(),
        "restarts": status.restarts,
    }
    return about | ({"pid": status.pid, "log": str(status.log_path)} if admin else {})
