"""The rows of agents' runs: begun, ended, found again. Each belongs to one principal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.agents.react.brief import Brief
from keepstone.agents.react.types import RUNNING, Budget, RunOutcome
from keepstone.platform.access import Action, Principal, authorize, find_collection
from keepstone.platform.database import Database
from keepstone.platform.database.tables import (
    AgentCheckpointRow,
    AgentRunRow,
    AnswerRow,
    FeedbackRow,
    PrincipalRow,
)
from keepstone.platform.errors import Forbidden, NotFound


@dataclass(frozen=True, slots=True)
class AgentRun:
    """A run in a list."""

    id: str
    question: str
    state: str
    """`running`, `finished`, `cancelled` or `failed`."""
    outcome: str | None
    """That of the answer, once there is one."""
    error: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class AgentRunDetails:
    """A run with what was done in it."""

    run: AgentRun
    steps: tuple[Mapping[str, Any], ...]
    """As `RunState.steps` has them."""
    carried: int
    """How many of them an earlier run did."""
    notes: tuple[str, ...]
    ended: str | None
    """Why it went on to its answer: see `types.Ended`."""
    tokens: int
    written: int
    """How many of the tokens the model wrote."""
    seconds: float
    answer_id: str | None
    """None until it is stored, and where there were no documents."""
    answer: str | None
    record: Mapping[str, Any]
    """The answer's provenance; empty without one."""
    cut: bool
    """Whether the answer was cut by its token budget."""
    brief: Brief


@dataclass(frozen=True, slots=True)
class StoredRun:
    """All that a run needs to begin or to go on."""

    id: str
    principal: Principal
    collections: tuple[str, ...] | None
    question: str
    budget: Budget
    brief: Brief
    answer_id: str
    outcome: RunOutcome | None = None
    """That of its answer, when it is over already."""


class RunRecords:
    """The runs of an installation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self,
        principal: Principal,
        question: str,
        collections: Sequence[str] | None,
        budget: Budget,
        brief: Brief | None = None,
        *,
        worker: str | None = None,
    ) -> StoredRun:
        """Store a new run, which the process of that name has.

        Raises:
            NotFound: there is no such collection.
        """
        principal.needs_scope("read")
        with self._database.transaction() as session:
            ids = (
                None if collections is None else [find_collection(session, principal, each).id for each in collections]
            )
            row = AgentRunRow(
                principal_id=principal.id,
                scopes=sorted(principal.scopes),
                collections=ids,
                question=question,
                budget=asdict(budget),
                brief=brief.to_json() if brief else None,
                worker=worker,
            )
            session.add(row)
            session.flush()
            return _stored(row, principal)

    def reopen(self, run_id: str) -> StoredRun:
        """Return an interrupted run, to go on with; one whose answer was stored already has its outcome, and is over.

        Raises:
            Forbidden: whoever began it may not do so any more.
        """
        with self._database.transaction() as session:
            row = session.get_one(AgentRunRow, run_id)
            answer = session.get(AnswerRow, row.answer_id)
            if answer is not None and answer.outcome in ("answered", "declined"):
                row.state, row.outcome = "finished", answer.outcome
            elif answer is not None:  # it broke off in the middle, and will be written again
                session.delete(answer)
            owner = session.get_one(PrincipalRow, row.principal_id)
            if owner.disabled:
                raise Forbidden(f"{owner.name} may not use this any more", fix="Ask an administrator")
            principal = Principal(owner.id, owner.name, is_admin=owner.is_admin, scopes=frozenset(row.scopes))
            return replace(_stored(row, principal), outcome=outcome_of(_info(row)) if row.outcome else None)

    def end(self, run_id: str, state: str, *, outcome: str | None = None, error: str | None = None) -> None:
        """Store how a run ended."""
        with self._database.transaction() as session:
            row = session.get(AgentRunRow, run_id)
            if row is not None and row.state == RUNNING:
                row.state, row.outcome, row.error = state, outcome, error

    def get(self, principal: Principal, run_id: str) -> AgentRunDetails:
        """Return a run with its steps.

        Raises:
            NotFound: there is none of theirs with this id.
        """
        with self._database.reading() as session:
            row = _find(session, principal, run_id, "read")
            kept = session.get(AgentCheckpointRow, row.id)
            values: dict[str, Any] = kept.checkpoint["channel_values"] if kept else {}
            answer = session.get(AnswerRow, row.answer_id)
            return AgentRunDetails(
                run=_info(row),
                steps=tuple(values.get("steps", ())),
                carried=values.get("carried", 0),
                notes=tuple(values.get("notes", ())),
                ended=values.get("ended"),
                tokens=values.get("tokens", 0),
                written=values.get("written", 0),
                seconds=round(values.get("seconds", 0.0), 3),
                answer_id=answer.id if answer else None,
                answer=answer.content if answer else values.get("text") or None,
                record=answer.record if answer else {},
                cut=answer.record.get("finish_reason") == "length" if answer else values.get("cut", False),
                brief=Brief.of_json(row.brief),
            )

    def recent(self, principal: Principal, limit: int) -> list[AgentRun]:
        """Return the principal's runs, the latest first."""
        principal.needs_scope("read")
        query = (
            sa.select(AgentRunRow)
            .where(AgentRunRow.principal_id == principal.id)
            .order_by(AgentRunRow.created_at.desc(), AgentRunRow.id)
            .limit(limit)
        )
        with self._database.reading() as session:
            return [_info(row) for row in session.scalars(query)]

    def authorize(self, principal: Principal, run_id: str, action: Action) -> AgentRun:
        """Return a run of the principal's, or raise `NotFound`."""
        with self._database.reading() as session:
            return _info(_find(session, principal, run_id, action))

    def delete(self, principal: Principal, run_id: str) -> None:
        """Remove a run with its steps, its answer and what was thought of it."""
        with self._database.transaction() as session:
            row = _find(session, principal, run_id, "write")
            session.execute(sa.delete(FeedbackRow).where(FeedbackRow.answer_id == row.answer_id))
            session.execute(sa.delete(AnswerRow).where(AnswerRow.id == row.answer_id))
            session.execute(sa.delete(AgentCheckpointRow).where(AgentCheckpointRow.run_id == row.id))
            session.delete(row)


def outcome_of(run: AgentRun) -> RunOutcome:
    """Return how a run ended; `stopped` for one that has not."""
    known: tuple[RunOutcome, ...] = ("answered", "declined", "waiting", "cancelled")
    return "stopped" if run.state == RUNNING else next((each for each in known if each == run.outcome), "failed")


def _find(session: Session, principal: Principal, run_id: str, action: Action) -> AgentRunRow:
    row = session.get(AgentRunRow, run_id)
    if row is None or row.principal_id != principal.id:
        raise NotFound(f"No run {run_id!r}", fix="`keepstone agent list` shows yours")
    authorize(session, principal, action, row)
    return row


def _stored(row: AgentRunRow, principal: Principal) -> StoredRun:
    return StoredRun(
        id=row.id,
        principal=principal,
        collections=None if row.collections is None else tuple(row.collections),
        question=row.question,
        budget=Budget(**row.budget),
        brief=Brief.of_json(row.brief),
        answer_id=row.answer_id,
    )


def _info(row: AgentRunRow) -> AgentRun:
    return AgentRun(
        id=row.id,
        question=row.question,
        state=row.state,
        outcome=row.outcome,
        error=row.error,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
