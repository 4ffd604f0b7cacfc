"""The history of promotions: what became live when, instead of what, and what was taken back.

A promotion is written down before anything changes and again once it is live, so that after a kill at any line it is
known whether it happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.platform.database import Database
from keepstone.platform.database.tables import CollectionRow, PromotionRow, utc_now

Subject = Literal["encoder", "llm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """A model that became live, or was to."""

    id: str
    subject: Subject
    collection_id: str | None
    """Whose encoder it is; None for the language model, which answers for all."""
    collection: str | None
    """The collection's name."""
    model: str
    """Name and version of what became live."""
    previous: str
    """Name and version of what was live before."""
    setting: str
    """The model that the settings named at that time; under another one a promoted language model means nothing."""
    verdict_id: str | None
    """The verdict that it rests on; None where a person insisted."""
    principal_id: str | None
    created_at: datetime
    live_at: datetime | None
    """When it became live; None: not yet, or never."""
    undone_at: datetime | None
    """When it was rolled back, or given up before it was live."""


class PromotionRecords:
    """The table of promotions.

    Args:
        database: where it is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self,
        *,
        subject: Subject,
        collection_id: str | None,
        model: str,
        previous: str,
        setting: str,
        verdict_id: str | None,
        principal_id: str | None,
    ) -> str:
        """Write down what is about to happen; return its id."""
        row = PromotionRow(
            subject=subject,
            collection_id=collection_id,
            model=model,
            previous=previous,
            setting=setting,
            verdict_id=verdict_id,
            principal_id=principal_id,
        )
        with self._database.transaction() as session:
            session.add(row)
            session.flush()
            return row.id

    def made_live(self, promotion_id: str) -> None:
        """Write down that it has happened."""
        with self._database.transaction() as session:
            row = session.get_one(PromotionRow, promotion_id)
            row.live_at, row.undone_at = utc_now(), None

    def undone(self, promotion_id: str) -> None:
        """Write down that it was taken back, or will not happen."""
        with self._database.transaction() as session:
            session.get_one(PromotionRow, promotion_id).undone_at = utc_now()

    def get(self, promotion_id: str) -> Promotion:
        """Return one."""
        with self._database.reading() as session:
            return _read(session, session.get_one(PromotionRow, promotion_id))

    def last(
        self, subject: Subject, *, collection_id: str | None = None, setting: str | None = None
    ) -> Promotion | None:
        """Return the last one that is live and was not taken back.

        Args:
            subject: of what.
            collection_id: of an encoder.
            setting: only those from when the settings named this model.
        """
        query = sa.select(PromotionRow).where(
            PromotionRow.subject == subject,
            PromotionRow.collection_id == collection_id,
            PromotionRow.live_at.is_not(None),
            PromotionRow.undone_at.is_(None),
        )
        if setting is not None:
            query = query.where(PromotionRow.setting == setting)
        with self._database.reading() as session:
            row = session.scalars(query.order_by(PromotionRow.live_at.desc(), PromotionRow.id).limit(1)).first()
            return _read(session, row) if row else None

    def list(self, limit: int = 50) -> Sequence[Promotion]:
        """Return all, the newest first."""
        query = sa.select(PromotionRow).order_by(PromotionRow.created_at.desc(), PromotionRow.id).limit(limit)
        with self._database.reading() as session:
            return [_read(session, row) for row in session.scalars(query)]

    def settle(self) -> None:
        """Bring the history up to what is the case, after a process died while it promoted or rolled back.

        Which encoder a collection has stands in the collection, and this table follows it. Which language model is
        live stands in this table, so one that was not live yet is given up.
        """
        with self._database.transaction() as session:
            now = utc_now()
            for row in session.scalars(sa.select(PromotionRow).where(PromotionRow.undone_at.is_(None))):
                present = _encoder_of(session, row.collection_id)
                if row.live_at is None and row.subject == "encoder" and present == row.model:
                    row.live_at = now
                elif row.live_at is None:
                    row.undone_at = now
            newest: set[str | None] = set()
            live = sa.select(PromotionRow).where(
                PromotionRow.subject == "encoder",
                PromotionRow.undone_at.is_(None),
                PromotionRow.live_at.is_not(None),
            )
            for row in session.scalars(live.order_by(PromotionRow.live_at.desc(), PromotionRow.id)):
                if row.collection_id not in newest and _encoder_of(session, row.collection_id) == row.previous:
                    row.undone_at = now
                newest.add(row.collection_id)


def _collection(session: Session, collection_id: str | None) -> CollectionRow | None:
    return session.get(CollectionRow, collection_id) if collection_id else None


def _encoder_of(session: Session, collection_id: str | None) -> str | None:
    collection = _collection(session, collection_id)
    return collection.encoder if collection else None


def _read(session: Session, row: PromotionRow) -> Promotion:
    collection = _collection(session, row.collection_id)
    return Promotion(
        id=row.id,
        subject=cast("Subject", row.subject),
        collection_id=row.collection_id,
        collection=collection.name if collection else None,
        model=row.model,
        previous=row.previous,
        setting=row.setting,
        verdict_id=row.verdict_id,
        principal_id=row.principal_id,
        created_at=row.created_at,
        live_at=row.live_at,
        undone_at=row.undone_at,
    )
