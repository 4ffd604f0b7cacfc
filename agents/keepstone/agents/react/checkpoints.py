"""Where langgraph keeps the state of a run: one row of plain JSON in our own database.

langgraph's own savers pack values with msgpack and rebuild objects by the names of their classes. Here nothing but JSON
is written and read, and what cannot be JSON fails at once.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from anyio.to_thread import run_sync
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)

from keepstone.platform.database import Database
from keepstone.platform.database.tables import AgentCheckpointRow, utc_now


class DatabaseSaver(BaseCheckpointSaver[int]):
    """Keeps the latest checkpoint of each run; the thread of langgraph is the run.

    A run is a chain of single nodes, so the writes of a node that has not yet become a checkpoint are not kept: such a
    node is done again.
    """

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the latest checkpoint of a run."""
        run_id = str(config["configurable"]["thread_id"])
        with self._database.reading() as session:
            row = session.get(AgentCheckpointRow, run_id)
            if row is None:
                return None
            checkpoint, info = row.checkpoint, row.info
        return CheckpointTuple(
            config=_config(run_id, checkpoint["id"]), checkpoint=_checkpoint(checkpoint), metadata=_metadata(info)
        )

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a checkpoint in place of the one before.

        Raises:
            TypeError: the state holds something that is no JSON.
        """
        del new_versions
        run_id = str(config["configurable"]["thread_id"])
        values = {"checkpoint": _plain(checkpoint), "info": _plain(metadata), "updated_at": utc_now()}
        with self._database.transaction() as session:
            changed = session.execute(
                sa.update(AgentCheckpointRow).where(AgentCheckpointRow.run_id == run_id).values(values)
            )
            if not changed.rowcount:  # type: ignore[attr-defined]
                session.add(AgentCheckpointRow(run_id=run_id, **values))
        return _config(run_id, checkpoint["id"])

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep nothing: see the class."""
        del config, writes, task_id, task_path

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the name is langgraph's
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield the one checkpoint that is kept."""
        del filter, before
        found = self.get_tuple(config) if config and limit != 0 else None
        if found:
            yield found

    def delete_thread(self, thread_id: str) -> None:
        """Forget a run's state."""
        with self._database.transaction() as session:
            session.execute(sa.delete(AgentCheckpointRow).where(AgentCheckpointRow.run_id == thread_id))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the latest checkpoint of a run."""
        return await run_sync(self.get_tuple, config)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a checkpoint in place of the one before."""
        return await run_sync(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep nothing: see the class."""
        del config, writes, task_id, task_path

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the name is langgraph's
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield the one checkpoint that is kept."""
        del filter, before
        found = await self.aget_tuple(config) if config and limit != 0 else None
        if found:
            yield found

    async def adelete_thread(self, thread_id: str) -> None:
        """Forget a run's state."""
        await run_sync(self.delete_thread, thread_id)


def _config(run_id: str, checkpoint_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": run_id, "checkpoint_ns": "", "checkpoint_id": checkpoint_id}}


def _plain(value: Any) -> dict[str, Any]:
    """Return a value as JSON would give it back, so that a run that goes on sees what one without a break sees."""
    plain: dict[str, Any] = json.loads(json.dumps(value, ensure_ascii=False, allow_nan=False))
    return plain


def _checkpoint(stored: dict[str, Any]) -> Checkpoint:
    return Checkpoint(
        v=stored["v"],
        id=stored["id"],
        ts=stored["ts"],
        channel_values=stored["channel_values"],
        channel_versions=stored["channel_versions"],
        versions_seen=stored["versions_seen"],
        updated_channels=stored.get("updated_channels"),
    )


def _metadata(stored: dict[str, Any]) -> CheckpointMetadata:
    return CheckpointMetadata(source=stored["source"], step=stored["step"], parents=stored["parents"])
