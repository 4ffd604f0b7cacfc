"""DBOS, reduced to what jobs need: functions made of steps, of which none that was done runs again after a crash.

DBOS is one per process, so only one `Durable` may be open at a time.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Protocol

import sqlalchemy as sa

from keepstone.platform.errors import Conflict

# The shape of the workflow in `runner.py`: which steps it takes in which order. Raise it with the shape; the jobs under
# way then begin anew. It must not follow the release, or an update would strand them.
_SHAPE = "1"
_ACTIVE = ("PENDING", "ENQUEUED", "DELAYED")
_FINISHED = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_opened: list[Durable] = []


class Step(Protocol):
    """Runs an action once and for all: when the workflow is run again, its recorded result is returned instead."""

    def __call__(self, name: str, action: Callable[[], Any]) -> Any:
        """Return what `action` returns or once returned, which JSON must be able to hold."""
        ...


class Durable:
    """The durable steps of one function, which takes the id of the workflow and a `Step`.

    Args:
        url: SQLAlchemy URL of the database that keeps the steps; in PostgreSQL they have the schema `dbos`.
        worker: name of this process, the same after a restart and used by no other.
        body: the function. It may raise `Abandoned` to be run again at the next start.
    """

    def __init__(self, url: str, worker: str, body: Callable[[str, Step], None]) -> None:
        self._url = url
        self._worker = worker
        self._body = body
        self._workflow: Callable[[str], None] | None = None

    def open(self) -> None:
        """Start DBOS, which at once runs again what this worker had not finished.

        Raises:
            Conflict: another one is open in this process.
        """
        if _opened:
            raise Conflict("This process runs jobs already", fix="Close the other `Jobs` first")
        _opened.append(self)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        # With a handler present, DBOS does not write to the console; records reach the root logger.
        logger = logging.getLogger("dbos")
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
        from dbos import DBOS
        from dbos._serialization import DBOSPortableJSON

        _forbid_pickle()
        _prepare_sqlite(self._url)
        DBOS(
            config={
                "name": "keepstone",
                "system_database_url": self._url,
                "sys_db_pool_size": 5,
                "application_version": _SHAPE,
                "executor_id": self._worker,
                "serializer": DBOSPortableJSON,
                "log_level": "WARNING",
                # Jobs use no notifications; closing waits for one round of this poll.
                "use_listen_notify": False,
                "notification_listener_polling_interval_sec": 0.2,
            }
        )
        body = self._body

        def job(workflow_id: str) -> None:
            def step(name: str, action: Callable[[], Any]) -> Any:
                return DBOS.run_step({"name": name}, action)

            body(workflow_id, step)

        # How often a job may be tried is counted by step, in the jobs table.
        self._workflow = DBOS.workflow(name="job", max_recovery_attempts=None)(job)
        DBOS.launch()

    def start(self, workflow_id: str) -> bool:
        """Run the function under this id, from its beginning; False when it is running or waiting to run again."""
        from dbos import DBOS, SetWorkflowID

        assert self._workflow is not None, "open() comes first"
        status = DBOS.get_workflow_status(workflow_id)
        if status is not None:
            if status.status in _ACTIVE and status.app_version == _SHAPE:
                return False
            DBOS.delete_workflow(workflow_id)
        with SetWorkflowID(workflow_id):
            DBOS.start_workflow(self._workflow, workflow_id)
        return True

    def is_active(self, workflow_id: str) -> bool:
        """Tell whether the function runs under this id, or will run again by itself."""
        from dbos import DBOS

        status = DBOS.get_workflow_status(workflow_id)
        return status is not None and status.status in _ACTIVE and status.app_version == _SHAPE

    def adopt(self, workflow_id: str) -> bool:
        """Let a workflow of a worker that is gone go on; False when there is nothing left of it to go on with."""
        from dbos import DBOS

        if not self.is_active(workflow_id):
            return False
        DBOS.resume_workflow(workflow_id)
        return True

    def forget_finished(self) -> None:
        """Delete the records of workflows that have ended, a hundred at a time."""
        from dbos import DBOS

        finished = DBOS.list_workflows(status=_FINISHED, limit=100, load_input=False, load_output=False)
        if finished:
            DBOS.delete_workflows([each.workflow_id for each in finished])

    def close(self) -> None:
        """Stop DBOS. What runs still is abandoned: none of its later steps is recorded."""
        from dbos import DBOS

        DBOS.destroy(destroy_registry=True)
        self._workflow = None
        if self in _opened:
            _opened.remove(self)


def _prepare_sqlite(url: str) -> None:
    """Let readers and the writer work side by side; the file remembers it."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(parsed.database, timeout=30)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()


def _forbid_pickle() -> None:
    """Keep DBOS from unpickling: who can write its tables must not thereby run code here."""
    from dbos._serialization import DefaultSerializer

    def refuse(_self: object, _data: object) -> NoReturn:
        raise TypeError("Keepstone stores JSON only")

    patch = partial(setattr, DefaultSerializer)
    patch("serialize", refuse)
    patch("deserialize", refuse)
