"""API keys: make (the secret is shown once), list, revoke."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from keepstone.platform import accounts
from keepstone.platform.access import Principal
from keepstone.platform.database.tables import PrincipalRow
from keepstone.platform.errors import Forbidden
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.http.listings import Listing

router = APIRouter(prefix="/v1/keys", tags=["accounts"])


class NewKey(BaseModel, extra="forbid", populate_by_name=True):
    """An API key to make."""

    name: Annotated[str, Field(max_length=100)] = ""
    """How its owner recognises it."""
    scopes: tuple[str, ...] | None = None
    """What it may be used for; by default all that the caller's credential may."""
    days: Annotated[int | None, Field(ge=1, le=3650)] = None
    """For how long it works; null: until it is revoked. In no case longer than the key that makes it."""
    owner: Annotated[str | None, Field(alias="for", min_length=1, max_length=100)] = None
    """Whom it stands for, by default the caller. Administrators name others, who are added where they are new."""


class Key(BaseModel):
    """An API key, without its secret."""

    id: str
    name: str
    owner: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class IssuedKey(BaseModel):
    """A new key. `secret` is never shown again."""

    id: str
    secret: str
    owner: str
    scopes: list[str]
    expires_at: datetime | None


@router.get("")
def list_keys(principal: CurrentPrincipal, runtime: TheRuntime, everybody: bool = False) -> Listing[Key]:
    """List the caller's keys that work; with `everybody`, for administrators, those of all."""
    principal.needs_scope("read")
    if everybody:
        principal.needs_admin()
    with runtime.database.reading() as session:
        rows = accounts.list_api_keys(session, principal, everybody=everybody)
        people = session.execute(sa.select(PrincipalRow.id, PrincipalRow.name))
        names = {person.id: person.name for person in people}
    return Listing(
        data=[
            Key(
                id=row.id,
                name=row.name,
                owner=names.get(row.principal_id, "?"),
                scopes=[str(scope) for scope in row.scopes],
                created_at=row.created_at,
                expires_at=row.expires_at,
                last_used_at=row.last_used_at,
            )
            for row in rows
        ]
    )


@router.post("", status_code=201)
def create_key(new: NewKey, principal: CurrentPrincipal, runtime: TheRuntime) -> IssuedKey:
    """Make a key. It reaches no further than the credential that makes it."""
    principal.needs_scope("write")
    others = new.owner is not None and new.owner != principal.name
    if others:
        principal.needs_admin()
    scopes = list(new.scopes) if new.scopes is not None else _default_scopes(principal, others=others)
    if beyond := [scope for scope in scopes if scope in accounts.SCOPES and scope not in principal.scopes]:
        raise Forbidden(f"Your own credential lacks the scope {beyond[0]!r}", fix="Leave it out")
    lifetime = timedelta(days=new.days) if new.days else None
    with runtime.database.transaction() as session:
        owner_id = _named(session, new.owner) if others and new.owner else principal.id
        issued = accounts.issue_credential(
            session, owner_id, "api_key", scopes=scopes, lifetime=lifetime, until=principal.until, name=new.name
        )
    return IssuedKey(
        id=issued.id,
        secret=issued.secret,
        owner=new.owner or principal.name,
        scopes=scopes,
        expires_at=issued.expires_at,
    )


@router.delete("/{key_id}", status_code=204, response_class=Response)
def revoke_key(key_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> None:
    """Make a key worthless; administrators may revoke everybody's."""
    principal.needs_scope("write")
    acting = replace(principal, is_admin=principal.administers)
    with runtime.database.transaction() as session:
        accounts.revoke(session, acting, key_id)


def _default_scopes(principal: Principal, *, others: bool) -> list[str]:
    """Return the scopes of a key that names none: those of its maker; somebody else's key does not administrate."""
    return [scope for scope in accounts.SCOPES if scope in principal.scopes and not (others and scope == "admin")]


def _named(session: Session, name: str) -> str:
    row = session.scalar(sa.select(PrincipalRow).where(PrincipalRow.name == name))
    return (row or accounts.create_principal(session, name)).id
