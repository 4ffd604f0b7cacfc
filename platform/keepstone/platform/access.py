"""Who may do what: the one place that decides. Denied unless something here allows it.

A principal that may not read an object gets `NotFound`, as if it did not exist; one that may read it but not do more
gets `Forbidden`. Search takes a `Scope`, which only `readable_scope` makes, so nothing can be searched that was not
authorized first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.platform.database.tables import (
    AgentRunRow,
    AnswerRow,
    CollectionRow,
    ConversationRow,
    GrantRow,
    JobRow,
)
from keepstone.platform.errors import Forbidden, NotFound, did_you_mean

Action = Literal["read", "write", "own"]
_CredentialScope = Literal["read", "write", "admin"]
Owned = ConversationRow | AnswerRow | JobRow | AgentRunRow

ROLES: dict[str, frozenset[Action]] = {
    "reader": frozenset({"read"}),
    "writer": frozenset({"read", "write"}),
    "owner": frozenset({"read", "write", "own"}),
}
_NEEDED_SCOPE: dict[Action, _CredentialScope] = {"read": "read", "write": "write", "own": "write"}


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who was recognised by a credential.

    `scopes` are those of the credential: a key made for reading cannot write, whoever owns it.
    """

    id: str
    name: str
    is_admin: bool
    scopes: frozenset[str]
    until: datetime | None = None
    """When the API key ends that it was recognised by; None: never, or it was recognised by something else."""

    def needs_scope(self, scope: str) -> None:
        """Raise `Forbidden` unless the credential reaches this far."""
        if scope not in self.scopes:
            raise Forbidden(
                f"This credential lacks the scope {scope!r}", fix="Make a key with it: `keepstone keys create`"
            )

    @property
    def administers(self) -> bool:
        """Whether this is an administrator with a credential for administrating; one for reading is not."""
        return self.is_admin and "admin" in self.scopes

    def needs_admin(self) -> None:
        """Raise `Forbidden` unless this is an administrator with an administrator's credential."""
        if not self.administers:
            raise Forbidden("Only an administrator may do this", fix="Use a key with the scope 'admin'")


@dataclass(frozen=True, slots=True)
class Scope:
    """The collections that one search may look into. Made by `readable_scope` only."""

    collection_ids: tuple[str, ...]


def authorize(session: Session, principal: Principal, action: Action, obj: CollectionRow | Owned) -> None:
    """Let `principal` do `action` to `obj`, or raise.

    Collections: the owner, grants and administrators. Conversations, answers, agents' runs and jobs: their own
    principal (jobs also administrators, and whoever may read the collection may watch its jobs). Who may write in the
    collection may stop and repeat its jobs, but none that acts for the one who ordered it.

    Raises:
        NotFound: the principal may not even read it.
        Forbidden: it may read it, but not do this, or the credential's scopes do not reach.
    """
    allowed = allowed_actions(session, principal, obj)
    if "read" not in allowed:
        raise NotFound(f"No such {_kind(obj)}")
    if action not in allowed:
        raise Forbidden(f"You may read this {_kind(obj)} but not change it", fix="Ask its owner for the role 'writer'")
    # Talking is what a reading key is for, so one's own conversations and runs need no more than `read`.
    principal.needs_scope("read" if isinstance(obj, ConversationRow | AgentRunRow) else _NEEDED_SCOPE[action])


def find_collection(session: Session, principal: Principal, name_or_id: str, action: Action = "read") -> CollectionRow:
    """Return the collection of that name or id, authorized for `action`.

    Raises:
        NotFound: there is none that this principal may read; the message suggests the nearest readable name.
    """
    row = session.scalar(
        sa.select(CollectionRow)
        .where((CollectionRow.name == name_or_id) | (CollectionRow.id == name_or_id))
        # Nobody can take another collection's place by giving theirs its id as a name.
        .order_by((CollectionRow.id == name_or_id).desc())
        .limit(1)
    )
    if row is not None and "read" in allowed_actions(session, principal, row):
        authorize(session, principal, action, row)
        return row
    names = [each.name for each in readable_collections(session, principal)]
    fix = did_you_mean(name_or_id, names) if names else "Create it: `keepstone ingest PATH --collection NAME`"
    raise NotFound(f"No collection {name_or_id!r}", fix=fix)


def readable_collections(session: Session, principal: Principal) -> list[CollectionRow]:
    """Return every collection that this principal may read, by name."""
    query = sa.select(CollectionRow).order_by(CollectionRow.name)
    if "read" not in principal.scopes:
        return []
    if not principal.administers:
        granted = sa.select(GrantRow.collection_id).where(
            GrantRow.principal_id == principal.id, GrantRow.role.in_(ROLES)
        )
        query = query.where((CollectionRow.owner_id == principal.id) | CollectionRow.id.in_(granted))
    return list(session.scalars(query))


def readable_scope(session: Session, principal: Principal, names: Iterable[str] | None = None) -> Scope:
    """Return the scope of a search: the named collections, or all that the principal may read."""
    if names is None:
        return Scope(tuple(row.id for row in readable_collections(session, principal)))
    return Scope(tuple(find_collection(session, principal, name).id for name in names))


def allowed_actions(session: Session, principal: Principal, obj: CollectionRow | Owned) -> frozenset[Action]:
    """Return all that `principal` may do to `obj`, whatever its credential's scopes; empty when it may not see it."""
    if isinstance(obj, CollectionRow):
        return _actions_in_collection(session, principal, obj)
    if obj.principal_id == principal.id:
        return ROLES["owner"]
    if isinstance(obj, JobRow):
        if principal.administers:
            return ROLES["owner"]
        collection = session.get(CollectionRow, obj.collection_id) if obj.collection_id else None
        if collection:
            allowed = _actions_in_collection(session, principal, collection)
            # With `scopes`, a job does what its owner may do, which others must not order by repeating it.
            return allowed & {"read"} if "scopes" in obj.args else allowed
    return frozenset()


def _actions_in_collection(session: Session, principal: Principal, collection: CollectionRow) -> frozenset[Action]:
    if principal.administers or collection.owner_id == principal.id:
        return ROLES["owner"]
    grant = session.get(GrantRow, (collection.id, principal.id))
    return ROLES.get(grant.role, frozenset()) if grant else frozenset()


def _kind(obj: CollectionRow | Owned) -> str:
    return type(obj).__name__.removesuffix("Row").lower()
