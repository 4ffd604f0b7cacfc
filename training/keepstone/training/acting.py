"""On whose behalf a job works: who ordered it, with what they may do now and no more than they ordered it with."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from keepstone.platform.access import Principal
from keepstone.platform.database.tables import PrincipalRow
from keepstone.platform.errors import Forbidden
from keepstone.platform.jobs import JobInfo


def scopes_of(principal: Principal) -> Sequence[str]:
    """Return what an order keeps of who gave it, as `args["scopes"]`."""
    return sorted(principal.scopes)


def acting_principal(session: Session, job: JobInfo) -> Principal:
    """Return who ordered a job.

    Raises:
        Forbidden: they are gone or disabled.
    """
    row = session.get(PrincipalRow, job.principal_id) if job.principal_id else None
    if row is None or row.disabled:
        raise Forbidden("Who ordered this job may do nothing here any more", fix="Order it again as somebody else")
    return Principal(row.id, row.name, is_admin=row.is_admin, scopes=frozenset(job.args["scopes"]))
