"""The FastAPI app: routers, and the layers around them.

    app = create_app(runtime)

From outside in: `Shield` (limits, headers, last errors), CORS, `Gate` (host, origin, credential), routes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from keepstone.platform.access import Principal
from keepstone.platform.accounts import SCOPES, ensure_local_admin
from keepstone.platform.database import Database
from keepstone.ui.http import (
    agent,
    chat,
    collections,
    conversations,
    datasets,
    documents,
    embeddings,
    health,
    improvements,
    jobs,
    keys,
    login,
    models,
    promotions,
    registry,
    relevance,
    rerank,
    runs,
    search,
    sources,
    status,
    verdicts,
)
from keepstone.ui.http.auth import Authenticator
from keepstone.ui.http.errors import install_error_handlers
from keepstone.ui.http.gate import Gate
from keepstone.ui.http.lookups import Lookups
from keepstone.ui.http.mcp import McpEndpoint
from keepstone.ui.http.origins import OriginGuard, normal_origins
from keepstone.ui.http.responses import routes as responses
from keepstone.ui.http.shield import Shield
from keepstone.ui.version import version

if TYPE_CHECKING:
    from keepstone.ui.runtime import Runtime

_SUBJECTS = (
    agent, chat, responses, promotions, models, embeddings, collections, documents, sources, jobs, search, rerank,
    relevance, conversations, datasets, keys, registry, runs, improvements, status, verdicts, health, login,
)  # fmt: skip

_MCP_HEADERS = ("mcp-protocol-version", "mcp-method", "mcp-name")


def create_app(runtime: Runtime, *, web: bool = True) -> FastAPI:
    """Return the app that serves `runtime`.

    Args:
        runtime: the services.
        web: whether the web pages are served too.
    """
    settings = runtime.settings.app
    lookups = Lookups(runtime.database, runtime.settings.database_url)
    authenticator = Authenticator(
        runtime.database,
        lookups,
        cookie=f"keepstone_{settings.port}",
        local_admin=None if settings.require_sign_in else _local_admin(runtime.database),
    )

    mcp = McpEndpoint(runtime)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        foreign = runtime.foreign_tools
        async with mcp.serving(), foreign.kept_fresh() if foreign else nullcontext():
            await runtime.agent.resume()
            yield
            await runtime.agent.close()
        lookups.close()
        await runtime.engine.close()

    app = FastAPI(title="Keepstone", version=version(), docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.runtime = runtime
    app.state.lookups = lookups
    app.state.authenticator = authenticator
    install_error_handlers(app)
    for subject in _SUBJECTS:
        app.include_router(subject.router)
    app.include_router(login.links)
    app.router.routes.append(mcp.route)
    # Middleware is added from the inside out.
    app.add_middleware(Gate, authenticator=authenticator, guard=OriginGuard(settings))
    app.add_middleware(
        CORSMiddleware,
        allow_origins=normal_origins(settings.trusted_origins),
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["authorization", "content-type", "x-api-key", *_MCP_HEADERS],
    )
    app.add_middleware(Shield, max_body_bytes=settings.max_body_mb * 2**20)
    if web:
        from keepstone.ui.web import mount

        mount(app, runtime)
    return app


def _local_admin(database: Database) -> Principal:
    with database.transaction() as session:
        row = ensure_local_admin(session)
        return Principal(id=row.id, name=row.name, is_admin=True, scopes=frozenset(SCOPES))
