"""The small questions that stand before every request, answered where that is quickest.

A thread costs more than such a question to the embedded database, whose readers wait for nobody. So there the event
loop asks by itself, over a connection of its own that stays open; a database elsewhere is asked in threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool

from keepstone.platform.database import Database

T = TypeVar("T")


class Lookups:
    """Asks the database questions of well under a millisecond, of one statement each.

    Args:
        database: the installation's.
        url: its SQLAlchemy URL.
    """

    def __init__(self, database: Database, url: str) -> None:
        self._database = database
        self._own = Database(url) if database.is_sqlite else None
        self._connection: sa.Connection | None = None

    async def ask(self, question: Callable[[sa.Connection], T]) -> T:
        """Return what `question` returns for a connection; it must read its answer whole."""
        if self._own is not None:
            return self._asked_here(self._own, question)
        return await run_in_threadpool(self._asked_in_thread, question)

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
        if self._own is not None:
            self._own.close()

    def _asked_here(self, own: Database, question: Callable[[sa.Connection], T]) -> T:
        # To open a connection and a transaction costs several times what the question does.
        with own.worded_errors():
            if self._connection is None:
                self._connection = own.engine.connect()
            try:
                return question(self._connection)
            finally:
                self._connection.rollback()

    def _asked_in_thread(self, question: Callable[[sa.Connection], T]) -> T:
        with self._database.reading() as session:
            return question(session.connection())
