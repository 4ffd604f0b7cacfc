"""The tables of watched sources; `tables` has all others."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from keepstone.platform.database.tables import Base, new_id, utc_now


class SourceRow(Base):
    """A place that a collection takes its files from by itself."""

    __tablename__ = "sources"
    __table_args__ = (sa.UniqueConstraint("collection_id", "name"),)
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("src"))
    collection_id: Mapped[str] = mapped_column(sa.ForeignKey("collections.id", ondelete="CASCADE"))
    name: Mapped[str]
    """Begins the names of its documents, before a slash."""
    location: Mapped[str]
    """A folder's path, or a URL of fsspec; never with credentials."""
    principal_id: Mapped[str | None] = mapped_column(sa.ForeignKey("principals.id", ondelete="SET NULL"))
    """Who added it, and in whose name files are taken; null: nobody any more."""
    scopes: Mapped[list[Any]]
    """Those of the credential that it was added with."""
    job_id: Mapped[str | None]
    """The last job that looked through it."""
    leaving: Mapped[bool] = mapped_column(default=False)
    """Whether it is being removed with its documents."""
    checked_at: Mapped[datetime | None]
    """When it was looked through, or this failed; null: not yet."""
    error: Mapped[str | None]
    """Why that failed."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class SourceFileRow(Base):
    """A file that was seen in a source; there is a row before there is a document."""

    __tablename__ = "source_files"
    source_id: Mapped[str] = mapped_column(sa.ForeignKey("sources.id", ondelete="CASCADE"), primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    """Below the source's location."""
    stamp: Mapped[str | None]
    """By which a change is seen, of the version that was taken last; null: it is to be read."""
    same_as: Mapped[str | None] = mapped_column(sa.String(64))
    """sha256 of its bytes, where a document of another name has the same; null otherwise."""
    error: Mapped[str | None]
    """Why it was not taken."""
