"""What the handlers ask for: the runtime, and the principal whom the gate recognised."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from keepstone.platform.access import Principal
from keepstone.platform.errors import Unauthenticated
from keepstone.ui.http.lookups import Lookups
from keepstone.ui.runtime import Runtime


def current_runtime(connection: HTTPConnection) -> Runtime:
    """Return the runtime that this app serves."""
    runtime: Runtime = connection.app.state.runtime
    return runtime


def current_principal(connection: HTTPConnection) -> Principal:
    """Return who asks.

    Raises:
        Unauthenticated: nobody that is known.
    """
    principal = getattr(connection.state, "principal", None)
    if isinstance(principal, Principal):
        return principal
    raise Unauthenticated("This path needs a credential", fix="Sign in, or send `Authorization: Bearer ks_...`")


# FastAPI calls dependencies that are no coroutines in a thread each, which costs more than all they do.
async def _runtime(connection: HTTPConnection) -> Runtime:
    return current_runtime(connection)


async def _principal(connection: HTTPConnection) -> Principal:
    return current_principal(connection)


async def _lookups(connection: HTTPConnection) -> Lookups:
    lookups: Lookups = connection.app.state.lookups
    return lookups


TheLookups = Annotated[Lookups, Depends(_lookups)]
TheRuntime = Annotated[Runtime, Depends(_runtime)]
CurrentPrincipal = Annotated[Principal, Depends(_principal)]
