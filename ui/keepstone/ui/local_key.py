"""The key with which commands on this machine act as its administrator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from keepstone.platform import accounts
from keepstone.platform.database import Database
from keepstone.platform.database.tables import CredentialRow, utc_now

_NAME = "commands on this machine"


@contextmanager
def local_key(database: Database) -> Iterator[str]:
    """Make a key for the local administrator, and revoke it when the block ends.

    Keys that a killed process left behind are revoked first: the home's lock lets only one process have one.
    """
    with database.transaction() as session:
        admin = accounts.ensure_local_admin(session)
        session.execute(
            sa.update(CredentialRow)
            .where(CredentialRow.principal_id == admin.id, CredentialRow.name == _NAME)
            .where(CredentialRow.kind == "api_key", CredentialRow.revoked_at.is_(None))
            .values(revoked_at=utc_now())
        )
        issued = accounts.issue_credential(session, admin.id, "api_key", name=_NAME)
    try:
        yield issued.secret
    finally:
        with database.transaction() as session:
            accounts.revoke_secret(session, issued.secret, "api_key")
