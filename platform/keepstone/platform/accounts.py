"""Principals and their credentials; the one resolver for API keys, browser sessions and login tokens.

Secrets are 256 random bits, shown once and stored as a SHA-256 hash, which needs no salt or slow hash because nothing
shorter than the secret itself can be guessed.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.platform.access import Principal
from keepstone.platform.database.tables import CredentialRow, PrincipalRow, utc_now
from keepstone.platform.errors import Conflict, InvalidInput, NotFound, Unauthenticated

Kind = Literal["api_key", "session", "login"]
SCOPES = ("read", "write", "admin")
LOCAL_ADMIN = "admin"
_PREFIX: dict[Kind, str] = {"api_key": "ks_", "session": "kss_", "login": "ksl_"}
# Writing `last_used_at` on each request would make every read a write.
_TOUCH_EVERY = timedelta(minutes=5)
_BY_SECRET = (
    sa.select(
        CredentialRow.id,
        CredentialRow.kind,
        CredentialRow.scopes,
        CredentialRow.expires_at,
        CredentialRow.revoked_at,
        CredentialRow.principal_id,
        PrincipalRow.name,
        PrincipalRow.is_admin,
        PrincipalRow.disabled,
    )
    .join(PrincipalRow, PrincipalRow.id == CredentialRow.principal_id)
    .where(CredentialRow.secret_sha256 == sa.bindparam("secret_sha256"))
)


@dataclass(frozen=True, slots=True)
class IssuedCredential:
    """A new credential. `secret` is shown to the person now and never again."""

    id: str
    secret: str
    expires_at: datetime | None


def ensure_local_admin(session: Session) -> PrincipalRow:
    """Return the administrator of this installation, made at the first start."""
    row = session.scalar(sa.select(PrincipalRow).where(PrincipalRow.name == LOCAL_ADMIN))
    return row or create_principal(session, LOCAL_ADMIN, is_admin=True)


def create_principal(session: Session, name: str, *, is_admin: bool = False) -> PrincipalRow:
    """Add somebody.

    Raises:
        Conflict: the name is taken.
    """
    if session.scalar(sa.select(PrincipalRow).where(PrincipalRow.name == name)):
        raise Conflict(f"There is a principal {name!r} already", fix="Choose another name")
    row = PrincipalRow(name=name, is_admin=is_admin)
    session.add(row)
    session.flush()
    return row


def issue_credential(
    session: Session,
    principal_id: str,
    kind: Kind,
    *,
    scopes: Iterable[str] = SCOPES,
    lifetime: timedelta | None = None,
    until: datetime | None = None,
    name: str = "",
) -> IssuedCredential:
    """Make a credential.

    Args:
        session: a writing session.
        principal_id: whom it stands for.
        kind: what it is for; a `login` token works once.
        scopes: what it may be used for; `admin` has effect for administrators only.
        lifetime: for how long it works; None means until revoked.
        until: when it ends at the latest.
        name: how the person recognises it in a list.
    """
    wanted = list(dict.fromkeys(scopes))
    if unknown := set(wanted) - set(SCOPES):
        raise InvalidInput(f"Unknown scope {min(unknown)!r}", fix=f"Valid: {', '.join(SCOPES)}")
    ends = [moment for moment in (until, utc_now() + lifetime if lifetime is not None else None) if moment is not None]
    secret = _PREFIX[kind] + secrets.token_urlsafe(32)
    row = CredentialRow(
        principal_id=principal_id,
        kind=kind,
        name=name,
        secret_sha256=_hash(secret),
        scopes=wanted,
        expires_at=min(ends, default=None),
    )
    session.add(row)
    session.flush()
    return IssuedCredential(id=row.id, secret=secret, expires_at=row.expires_at)


def resolve(connection: sa.Connection, secret: str, *kinds: Kind) -> Principal:
    """Return whom a secret stands for, by one statement.

    Args:
        connection: to the database.
        secret: what the client presented.
        kinds: kinds of credential accepted here.

    Raises:
        Unauthenticated: unknown, of another kind, expired, revoked, or its principal was disabled.
    """
    row = _find(connection, secret, kinds)
    return Principal(
        id=row.principal_id,
        name=row.name,
        is_admin=row.is_admin,
        scopes=frozenset(map(str, row.scopes)),
        until=row.expires_at if row.kind == "api_key" else None,
    )


def touch(session: Session, secret: str) -> None:
    """Note that a credential was used, at most once in five minutes."""
    stale = utc_now() - _TOUCH_EVERY
    session.execute(
        sa.update(CredentialRow)
        .where(CredentialRow.secret_sha256 == _hash(secret))
        .where(sa.or_(CredentialRow.last_used_at.is_(None), CredentialRow.last_used_at < stale))
        .values(last_used_at=utc_now())
    )


def exchange_login(session: Session, secret: str, lifetime: timedelta) -> IssuedCredential:
    """Turn a one-time login token into a browser session; the token works no more.

    Raises:
        Unauthenticated: the token is unknown, expired or was used before.
    """
    row = _find(session.connection(), secret, ("login",))
    used = session.execute(
        sa.update(CredentialRow)
        .where(CredentialRow.id == row.id, CredentialRow.revoked_at.is_(None))
        .values(revoked_at=utc_now())
        .returning(CredentialRow.id)
    ).scalar()
    if used is None:
        raise _refused()
    return issue_credential(session, row.principal_id, "session", scopes=map(str, row.scopes), lifetime=lifetime)


def revoke(session: Session, principal: Principal, credential_id: str) -> None:
    """Make a credential worthless; administrators may revoke everybody's.

    Raises:
        NotFound: this principal has none of that id.
    """
    row = session.get(CredentialRow, credential_id)
    if row is None or (row.principal_id != principal.id and not principal.administers):
        raise NotFound(f"No key {credential_id!r}", fix="List them: `keepstone keys list`")
    row.revoked_at = row.revoked_at or utc_now()


def revoke_secret(session: Session, secret: str, kind: Kind) -> None:
    """Make the credential with this secret worthless, as when somebody signs out; does nothing if there is none."""
    session.execute(
        sa.update(CredentialRow)
        .where(CredentialRow.secret_sha256 == _hash(secret), CredentialRow.kind == kind)
        .where(CredentialRow.revoked_at.is_(None))
        .values(revoked_at=utc_now())
    )


def list_api_keys(session: Session, principal: Principal, *, everybody: bool = False) -> list[CredentialRow]:
    """Return the principal's API keys that were not revoked, newest first; with `everybody`, those of all."""
    query = sa.select(CredentialRow).where(CredentialRow.kind == "api_key", CredentialRow.revoked_at.is_(None))
    if not everybody:
        query = query.where(CredentialRow.principal_id == principal.id)
    return list(session.scalars(query.order_by(CredentialRow.created_at.desc(), CredentialRow.id)))


def _find(connection: sa.Connection, secret: str, kinds: Iterable[str]) -> sa.Row[Any]:
    # Every request comes by here: one statement, made once, past the ORM.
    row = connection.execute(_BY_SECRET, {"secret_sha256": _hash(secret)}).first()
    if row is None or row.kind not in tuple(kinds) or row.revoked_at is not None or row.disabled:
        raise _refused()
    if row.expires_at is not None and row.expires_at <= utc_now():
        raise _refused()
    return row


def _refused() -> Unauthenticated:
    return Unauthenticated(
        "This key or login link is unknown, expired or was used before",
        fix="Get a new one: `keepstone login` for the web pages, `keepstone keys create` for the API",
    )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
