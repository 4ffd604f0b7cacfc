"""The tables: the truth from which every index is derived.

Times are UTC. Identifiers of things people name in URLs are random (`new_id`), so that none can be guessed; chunks and
changes are counted, since indexes want integers.
"""

from __future__ import annotations

import enum
import secrets
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
_Counted = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def new_id(prefix: str) -> str:
    """Return a random identifier with 96 bits of entropy, such as `doc_1f0c...`."""
    return f"{prefix}_{secrets.token_hex(12)}"


def utc_now() -> datetime:
    """Return the present time in UTC."""
    return datetime.now(UTC)


class UtcTime(sa.TypeDecorator[datetime]):
    """A point in time: stored without a zone in UTC, always aware in Python (SQLite keeps no zones)."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Convert to UTC and drop the zone."""
        del dialect
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Add the zone again."""
        del dialect
        return value.replace(tzinfo=UTC) if value else None


class Base(DeclarativeBase):
    """Common naming of constraints, so that migrations can name them on every database."""

    metadata = sa.MetaData(naming_convention=_NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: UtcTime(),
        dict[str, Any]: sa.JSON(),
        list[Any]: sa.JSON(),
    }


class DocumentState(enum.StrEnum):
    """Where a document is on its way into the collection."""

    QUEUED = "queued"
    LOADING = "loading"
    ENCODING = "encoding"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobState(enum.StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED: Final = (DocumentState.QUEUED, DocumentState.LOADING, DocumentState.ENCODING)
"""Documents on their way."""
STOPPED: Final = (DocumentState.FAILED, DocumentState.CANCELLED)
"""Documents that may be tried again."""
OPEN_JOBS: Final = (JobState.QUEUED, JobState.RUNNING)


class PrincipalRow(Base):
    """Somebody who can do things: a person or a program."""

    __tablename__ = "principals"
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("usr"))
    name: Mapped[str] = mapped_column(unique=True)
    is_admin: Mapped[bool] = mapped_column(default=False)
    disabled: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class CredentialRow(Base):
    """A secret that stands for a principal: API key, browser session or one-time login token. Only its hash is kept."""

    __tablename__ = "credentials"
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("key"))
    principal_id: Mapped[str] = mapped_column(sa.ForeignKey("principals.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(sa.String(16))
    name: Mapped[str] = mapped_column(default="")
    secret_sha256: Mapped[str] = mapped_column(sa.String(64), unique=True)
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class CollectionRow(Base):
    """A named set of documents that are searched together; the unit of permission."""

    __tablename__ = "collections"
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("col"))
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = mapped_column(default="")
    owner_id: Mapped[str] = mapped_column(sa.ForeignKey("principals.id"), index=True)
    encoder: Mapped[str]
    """Version of the encoder that its searches use, as `Encoder.version` gives it."""
    chunking: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    """How its documents are cut, as `ChunkingSettings` has it; null: as the settings say."""
    search: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    """In what it is searched otherwise than the settings say, as `SearchSettings` names it; null: in nothing."""
    adopted: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    """The sweep (`tuning`) whose advice was taken last, when (`at`), and what was chosen `before`; null: none."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class IndexState(enum.StrEnum):
    """What an index of a collection under one encoder is for."""

    BUILDING = "building"
    READY = "ready"
    LIVE = "live"
    PREVIOUS = "previous"


class IndexVersionRow(Base):
    """An index of a collection, under one encoder, that is kept besides the one that follows from the settings.

    A collection without a `live` one follows the settings: its encoder is the one they name.
    """

    __tablename__ = "index_versions"
    collection_id: Mapped[str] = mapped_column(sa.ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True)
    encoder: Mapped[str] = mapped_column(primary_key=True)
    """Version of the encoder."""
    state: Mapped[str] = mapped_column(sa.String(16))
    """`building`, `ready` to be judged or switched to, `live`, or `previous`: kept to switch back."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    """When it was last asked for."""


class GrantRow(Base):
    """What a principal may do in a collection that it does not own."""

    __tablename__ = "grants"
    collection_id: Mapped[str] = mapped_column(sa.ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True)
    principal_id: Mapped[str] = mapped_column(
        sa.ForeignKey("principals.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[str] = mapped_column(sa.String(16))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class BlobRow(Base):
    """Bytes that this database has had stored: those that no document refers to are its to remove.

    Only what is listed here is removed. A store that holds more, since it belongs to another database or the database
    was restored from a backup, loses nothing.
    """

    __tablename__ = "blobs"
    sha256: Mapped[str] = mapped_column(sa.String(64), primary_key=True)


class DocumentRow(Base):
    """A file in a collection.

    `sha256` names the bytes that its chunks were made from, `pending_sha256` those that wait to replace them: a changed
    file that fails to load leaves the older version answering.
    """

    __tablename__ = "documents"
    __table_args__ = (
        sa.UniqueConstraint("collection_id", "name"),
        sa.Index("ix_documents_collection_id_sha256", "collection_id", "sha256"),
    )
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("doc"))
    collection_id: Mapped[str] = mapped_column(sa.ForeignKey("collections.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    state: Mapped[str] = mapped_column(sa.String(16), default=DocumentState.QUEUED, index=True)
    error: Mapped[str | None]
    sha256: Mapped[str | None] = mapped_column(sa.String(64), index=True)
    pending_sha256: Mapped[str | None] = mapped_column(sa.String(64), index=True)
    size: Mapped[int] = mapped_column(sa.BigInteger)
    media_type: Mapped[str | None]
    title: Mapped[str | None]
    language: Mapped[str | None] = mapped_column(sa.String(8))
    parser: Mapped[str | None]
    """Name and version of the loader that read it."""
    chunker: Mapped[str | None]
    """Name, version and sizes of the chunker that cut it."""
    text: Mapped[str | None] = mapped_column(sa.Text, deferred=True)
    """The document as Markdown; chunk spans count its characters (Unicode code points)."""
    pages: Mapped[list[Any] | None] = mapped_column(sa.JSON, deferred=True)
    """`[[number, start, end], ...]` for formats that have pages."""
    headings: Mapped[list[Any] | None] = mapped_column(sa.JSON, deferred=True)
    """`[[level, title, start, end], ...]`; each section reaches to the next heading of its level or above."""
    boxes: Mapped[list[Any] | None] = mapped_column(sa.JSON, deferred=True)
    """`[[start, end, left, top, right, bottom], ...]` where it is known where lines stand on their pages."""
    details: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON)
    """What is known of it besides its text, such as an author; searches can be narrowed by it."""
    chunk_count: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)


class ChunkRow(Base):
    """A passage: the characters `start` to `end` of its document's text."""

    __tablename__ = "chunks"
    __table_args__ = (sa.UniqueConstraint("document_id", "ordinal"), {"sqlite_autoincrement": True})
    id: Mapped[int] = mapped_column(_Counted, primary_key=True, autoincrement=True)
    document_id: Mapped[str] = mapped_column(sa.ForeignKey("documents.id", ondelete="CASCADE"))
    collection_id: Mapped[str] = mapped_column(sa.ForeignKey("collections.id", ondelete="CASCADE"), index=True)
    ordinal: Mapped[int]
    start: Mapped[int]
    end: Mapped[int]
    wide_start: Mapped[int | None]
    """Where what is read in its place begins; null: it is read itself. So `wide_end`."""
    wide_end: Mapped[int | None]
    text: Mapped[str] = mapped_column(sa.Text)
    context: Mapped[str] = mapped_column(sa.Text, default="")
    """Title and heading path, which are indexed with the text but are no part of the span."""
    placement: Mapped[str] = mapped_column(sa.Text, default="", server_default="")
    """What a language model wrote of its place in the document; likewise."""
    page: Mapped[int | None]
    language: Mapped[str | None] = mapped_column(sa.String(8))
    indexed_sha256: Mapped[str] = mapped_column(sa.String(64), index=True)
    """sha256 of what encoders read, its context and its text: under which its vectors are in `embeddings`."""


class PlacementRow(Base):
    """The cache of placements: a model is asked once where a passage stands in its document."""

    __tablename__ = "placements"
    document_id: Mapped[str] = mapped_column(sa.ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True)
    asked_sha256: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    """sha256 of the model's version and all that it was shown."""
    text: Mapped[str] = mapped_column(sa.Text)
    """What it wrote; empty where it had nothing to say."""


class EmbeddingRow(Base):
    """The content-hash cache of vectors: the same text under the same encoder version is encoded once."""

    __tablename__ = "embeddings"
    text_sha256: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    """sha256 of the text that was encoded."""
    encoder: Mapped[str] = mapped_column(primary_key=True, index=True)
    """Version of the encoder."""
    vector: Mapped[bytes]
    """Little-endian float32, unit length."""


class ChangeRow(Base):
    """The change sequence: what the indexes of a collection have yet to learn, in order."""

    __tablename__ = "changes"
    __table_args__ = (
        sa.Index("ix_changes_collection_id_seq", "collection_id", "seq"),
        {"sqlite_autoincrement": True},
    )
    seq: Mapped[int] = mapped_column(_Counted, primary_key=True, autoincrement=True)
    collection_id: Mapped[str]
    chunk_id: Mapped[int] = mapped_column(sa.BigInteger)
    added: Mapped[bool]
    """True: the chunk was added. False: it was removed."""


class ConversationRow(Base):
    """A chat of one principal; nobody else may read it."""

    __tablename__ = "conversations"
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("cnv"))
    principal_id: Mapped[str] = mapped_column(sa.ForeignKey("principals.id", ondelete="CASCADE"), index=True)
    collection_id: Mapped[str | None] = mapped_column(sa.ForeignKey("collections.id", ondelete="SET NULL"))
    title: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)


class MessageRow(Base):
    """One turn of a conversation."""

    __tablename__ = "messages"
    __table_args__ = (sa.UniqueConstraint("conversation_id", "ordinal"),)
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("msg"))
    conversation_id: Mapped[str] = mapped_column(sa.ForeignKey("conversations.id", ondelete="CASCADE"))
    ordinal: Mapped[int]
    role: Mapped[str] = mapped_column(sa.String(16))
    content: Mapped[str] = mapped_column(sa.Text)
    answer_id: Mapped[str | None] = mapped_column(sa.ForeignKey("answers.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class AnswerRow(Base):
    """The provenance of one answer: all that made it, so that it can be explained and made again."""

    __tablename__ = "answers"
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("ans"))
    principal_id: Mapped[str] = mapped_column(sa.ForeignKey("principals.id", ondelete="CASCADE"), index=True)
    collection_id: Mapped[str | None] = mapped_column(sa.ForeignKey("collections.id", ondelete="SET NULL"), index=True)
    question: Mapped[str] = mapped_column(sa.Text)
    standalone_question: Mapped[str] = mapped_column(sa.Text)
    content: Mapped[str] = mapped_column(sa.Text)
    outcome: Mapped[str] = mapped_column(sa.String(16))
    """`answered`, `declined` (evidence too weak), `stopped` or `failed`."""
    record: Mapped[dict[str, Any]]
    """Evidence (chunk ids, spans, document hashes, scores), claims and their support, versions, timings."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class FeedbackRow(Base):
    """What a person thought of an answer."""

    __tablename__ = "feedback"
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("fbk"))
    answer_id: Mapped[str] = mapped_column(sa.ForeignKey("answers.id", ondelete="CASCADE"))
    principal_id: Mapped[str] = mapped_column(sa.ForeignKey("principals.id", ondelete="CASCADE"))
    rating: Mapped[int]
    """1 for thumbs up, -1 for thumbs down, 0 where only passages were marked."""
    comment: Mapped[str] = mapped_column(sa.Text, default="")
    correction: Mapped[str] = mapped_column(sa.Text, default="")
    """What the answer should have been; empty where nobody said."""
    relevant: Mapped[list[Any]] = mapped_column(default=list)
    """Numbers of passages, as the answer cites them, that hold the answer."""
    irrelevant: Mapped[list[Any]] = mapped_column(default=list)
    """Numbers of passages that have nothing to do with the question."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    __table_args__ = (sa.UniqueConstraint("answer_id", "principal_id"),)


class JudgementRow(Base):
    """A question about a collection, and what of it is relevant."""

    __tablename__ = "judgements"
    collection_id: Mapped[str] = mapped_column(sa.ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True)
    question_sha256: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    question: Mapped[str] = mapped_column(sa.Text)
    relevant: Mapped[list[Any]]
    """Objects with `document`, and either `text`, or `start` and `end`, or neither for the whole document."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class JobRow(Base):
    """Long work, as people see it; DBOS keeps the durable steps under the same id."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("job"))
    kind: Mapped[str] = mapped_column(sa.String(32))
    principal_id: Mapped[str | None] = mapped_column(sa.ForeignKey("principals.id", ondelete="SET NULL"))
    collection_id: Mapped[str | None] = mapped_column(sa.ForeignKey("collections.id", ondelete="CASCADE"), index=True)
    args: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(sa.String(16), default=JobState.QUEUED, index=True)
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    error: Mapped[str | None]
    worker: Mapped[str | None]
    """Name of the process that has it."""
    attempts: Mapped[int] = mapped_column(default=0)
    """How often the step in hand was begun; one that ends the process each time is given up."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)
    """Also the last sign of life of its worker."""


class AgentRunRow(Base):
    """A question that an agent works on, of one principal; nobody else may read it."""

    __tablename__ = "agent_runs"
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("run"))
    principal_id: Mapped[str] = mapped_column(sa.ForeignKey("principals.id", ondelete="CASCADE"), index=True)
    scopes: Mapped[list[Any]]
    """Those of the credential that it was started with."""
    collections: Mapped[list[Any] | None] = mapped_column(sa.JSON)
    """Ids of the collections it works in; null means all that the principal may read."""
    question: Mapped[str] = mapped_column(sa.Text)
    budget: Mapped[dict[str, Any]]
    brief: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON)
    """What it was told besides its question: the conversation before it, functions of the caller; null for nothing."""
    worker: Mapped[str | None]
    """Name of the process that has it; its sign of life is `updated_at`."""
    state: Mapped[str] = mapped_column(sa.String(16), default="running", index=True)
    """`running`, `finished`, `cancelled` or `failed`. One that runs goes on at the next start."""
    outcome: Mapped[str | None] = mapped_column(sa.String(16))
    """That of the answer, once there is one."""
    answer_id: Mapped[str] = mapped_column(default=lambda: new_id("ans"))
    """Under which the answer is, or will be, in `answers`."""
    error: Mapped[str | None] = mapped_column(sa.Text)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)


class AgentCheckpointRow(Base):
    """The state of an agent's run after its last step, as langgraph goes on from it."""

    __tablename__ = "agent_checkpoints"
    run_id: Mapped[str] = mapped_column(sa.ForeignKey("agent_runs.id", ondelete="CASCADE"), primary_key=True)
    checkpoint: Mapped[dict[str, Any]]
    """langgraph's checkpoint; `channel_values` holds the fields of `RunState`."""
    info: Mapped[dict[str, Any]]
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)


class ModelRow(Base):
    """The registry: every model version on this machine."""

    __tablename__ = "models"
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("mdl"))
    name: Mapped[str]
    kind: Mapped[str] = mapped_column(sa.String(16))
    """`llm`, `encoder`, `reranker` or `adapter`."""
    version: Mapped[str] = mapped_column(sa.String(64))
    """First 16 hex digits of the sha256 over its files' names and hashes."""
    path: Mapped[str]
    """Folder of the weights, relative to the models folder when inside it."""
    source: Mapped[str]
    """Where it came from: a catalog name, a hub id, a path, or the job that trained it."""
    base_id: Mapped[str | None] = mapped_column(sa.ForeignKey("models.id"))
    details: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    __table_args__ = (sa.UniqueConstraint("name", "version"),)


class VerdictRow(Base):
    """Whether a candidate may replace a model in use, as judged on a collection's held-out questions."""

    __tablename__ = "verdicts"
    id: Mapped[str] = mapped_column(primary_key=True)
    collection_id: Mapped[str] = mapped_column(sa.ForeignKey("collections.id", ondelete="CASCADE"), index=True)
    dataset: Mapped[str]
    subject: Mapped[str] = mapped_column(sa.String(16))
    """`encoder` or `llm`."""
    live: Mapped[str]
    """Name and version of the model in use then."""
    candidate: Mapped[str]
    """Name and version of the one that was judged."""
    goal: Mapped[str] = mapped_column(sa.String(16))
    """What it was made for: `search`, `answers` or `speed`."""
    outcome: Mapped[str] = mapped_column(sa.String(16))
    """`promote`, `refuse` or `not_enough_data`."""
    reasons: Mapped[list[Any]]
    figures: Mapped[list[Any]]
    parity: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class PromotionRow(Base):
    """A model that became live in place of another, or was to."""

    __tablename__ = "promotions"
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("pro"))
    subject: Mapped[str] = mapped_column(sa.String(16))
    """`encoder` or `llm`."""
    collection_id: Mapped[str | None] = mapped_column(sa.ForeignKey("collections.id", ondelete="CASCADE"), index=True)
    """Whose encoder; null for the language model."""
    model: Mapped[str]
    """Name and version; so is `previous`. No foreign keys: history outlives the models."""
    previous: Mapped[str]
    setting: Mapped[str]
    """The model that the settings named at that time."""
    verdict_id: Mapped[str | None]
    principal_id: Mapped[str | None] = mapped_column(sa.ForeignKey("principals.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    live_at: Mapped[datetime | None]
    """When it was live; null: it is only intended."""
    undone_at: Mapped[datetime | None]
    """When it was rolled back or given up."""
