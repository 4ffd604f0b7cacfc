"""Which process has which run, where several share a database.

Each shows signs of life, and one that gives none loses its runs to the others. On SQLite there is one process only, and
whatever runs at its start is its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import sqlalchemy as sa
import structlog
from anyio.to_thread import run_sync

from keepstone.agents.react.live import LiveRun
from keepstone.agents.react.types import RUNNING
from keepstone.platform.database import Database
from keepstone.platform.database.tables import AgentRunRow, utc_now
from keepstone.platform.errors import KeepstoneError

_CARE_EVERY_S = 10.0
_ORPHANED_AFTER = timedelta(minutes=2)

log = structlog.get_logger(__name__)


class RunLeases:
    """The runs that one process has.

    Args:
        database: where they are.
        worker: name of the process, the same after a restart; two that run at the same time have two names.
    """

    def __init__(self, database: Database, worker: str) -> None:
        self._database = database
        self.worker = worker

    @property
    def shared(self) -> bool:
        """Whether other processes may work on the same database."""
        return not self._database.is_sqlite

    def claim(self) -> list[str]:
        """Make what this process left undone, and what nobody has, its own; return the ids of the runs."""
        free = (AgentRunRow.worker == self.worker) | AgentRunRow.worker.is_(None) | self._orphaned()
        return self._take(free if self.shared else sa.true())

    def adopt(self) -> list[str]:
        """Make the runs of processes that gave no sign of life its own, and return their ids."""
        return self._take(self._orphaned() & (AgentRunRow.worker != self.worker))

    def renew(self, run_ids: Sequence[str]) -> set[str]:
        """Show that runs are being worked on here; return those that still run, and are still this process's."""
        mine = (AgentRunRow.id.in_(run_ids), AgentRunRow.state == RUNNING, AgentRunRow.worker == self.worker)
        with self._database.transaction() as session:
            query = sa.update(AgentRunRow).where(*mine).values(updated_at=utc_now()).returning(AgentRunRow.id)
            return set(session.scalars(query))

    def _orphaned(self) -> sa.ColumnElement[bool]:
        return AgentRunRow.updated_at < utc_now() - _ORPHANED_AFTER

    def _take(self, free: sa.ColumnElement[bool]) -> list[str]:
        with self._database.transaction() as session:
            query = (
                sa.update(AgentRunRow)
                .where(AgentRunRow.state == RUNNING, free)
                .values(worker=self.worker, updated_at=utc_now())
                .returning(AgentRunRow.id, AgentRunRow.created_at)
            )
            taken = session.execute(query).all()
        return [run_id for run_id, _ in sorted(taken, key=lambda row: row[1])]


async def keep_leases(leases: RunLeases, live: Mapping[str, LiveRun], take_up: Callable[[Sequence[str]], None]) -> None:
    """Renew the leases of the runs of this process and adopt orphans, until cancelled.

    Args:
        leases: those of this process.
        live: the runs that it works on now.
        take_up: is given the runs that it has to go on with.
    """
    missing: set[str] = set()
    while True:
        await asyncio.sleep(_CARE_EVERY_S)
        try:
            here = list(live)
            gone = set(here) - await run_sync(leases.renew, here)
            # A run that is just ending here is gone from the table a moment before it is gone from `live`.
            for run_id in gone & missing & live.keys():
                task = live[run_id].task
                if task is not None:
                    log.info("agent.given_up", run=run_id)
                    task.cancel()
            missing = gone
            take_up(await run_sync(leases.adopt))
        except KeepstoneError as error:
            log.warning("agent.leases_not_renewed", code=error.code)
