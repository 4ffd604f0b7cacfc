"""The small questions that stand before every request, answered where that is quickest.

A thread costs more than such a question to the embedded database, whose readers wait for nobody. So there the event
loop asks by itself, over a connection that nobody else can hold; a database elsewhere is asked in threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from keepstone.platform.database import Database

T = TypeVar("T")


class Lookups:
    """Asks the database questions of well under a millisecond.

    Args:
        database: the installation's.
        url: its SQLAlchemy URL.
    """

    def __init__(self, database: Database, url: str) -> None:
        self._own = Database(url) if database.is_sqlite else None
        self._database = self._own or database

    async def ask(self, question: Callable[[Session], T]) -> T:
        """Return what `question` returns for a reading session."""
        if self._own is not None:
            return self._asked(question)
        return await run_in_threadpool(self._asked, question)

    def close(self) -> None:
        """Let go of the connection."""
        if self._own is not None:
            self._own.close()

    def _asked(self, question: Callable[[Session], T]) -> T:
        with self._database.reading() as session:
            return question(session)
