"""Migrations make exactly the tables of the models, on both databases, whoever starts when and dies where."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from keepstone.platform.database import Database, migrate
from keepstone.platform.database.tables import (
    Base,
    BlobRow,
    ChunkRow,
    CollectionRow,
    DocumentRow,
    EmbeddingRow,
    PrincipalRow,
)
from keepstone.platform.errors import KeepstoneError


def _tables(engine: sa.Engine) -> set[str]:
    return set(sa.inspect(engine).get_table_names())


def _differences(engine: sa.Engine) -> list[object]:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))


def _parts(definition: str) -> set[str]:
    """Return what stands between the outer commas of a definition; columns that were added later stand last."""
    return {part.strip() for part in re.split(r",(?![^()]*\))", definition.strip().removesuffix(")"))}


def test_up_down_and_up_again(both_urls: str) -> None:
    """The revisions build what the models describe, and undo all of it."""
    engine = Database(both_urls).engine
    migrate.upgrade(engine)
    assert migrate.check(engine)
    assert _differences(engine) == []
    migrate.downgrade(engine, "base")
    assert migrate.current(engine) is None
    assert _tables(engine) == set()
    migrate.upgrade(engine)
    assert _differences(engine) == []
    engine.dispose()


def test_sqlite_tables_are_those_that_create_all_makes(sqlite_url: str, tmp_path: Path) -> None:
    """`compare_metadata` overlooks AUTOINCREMENT and ON DELETE on SQLite; the table definitions do not."""

    def definitions(engine: sa.Engine) -> dict[str, set[str]]:
        query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'alembic%'"
        with engine.connect() as connection:
            rows = connection.exec_driver_sql(query)
            return {name: _parts(sql) for name, sql in rows}

    migrated, created = Database(sqlite_url).engine, sa.create_engine(f"sqlite:///{tmp_path / 'created.db'}")
    migrate.upgrade(migrated)
    Base.metadata.create_all(created)
    assert definitions(migrated) == definitions(created)
    migrated.dispose()
    created.dispose()


def test_each_step_goes_up_and_down(both_urls: str) -> None:
    """No revision leans on a later one."""
    engine = Database(both_urls).engine
    scripts = ScriptDirectory.from_config(migrate._config(engine.connect()))
    revisions = [script.revision for script in scripts.walk_revisions()][::-1]
    for revision in revisions:
        migrate.upgrade(engine, revision)
        migrate.downgrade(engine, "base")
        migrate.upgrade(engine, revision)
    assert migrate.check(engine)
    engine.dispose()


def test_bytes_of_documents_that_are_there_already_are_listed(both_urls: str) -> None:
    """Each once: what an older version stored is removed with its documents, too."""
    database = Database(both_urls)
    migrate.upgrade(database.engine, "0001")
    with database.transaction() as session:
        session.add(PrincipalRow(id="p", name="ann"))
        session.flush()
        execute = session.connection().exec_driver_sql
        execute("INSERT INTO collections VALUES ('c', 'c', '', 'p', 'e', '2026-01-01 00:00:00')")
        for name, ready, waiting in (("a", "1" * 64, None), ("b", "1" * 64, "2" * 64), ("c", None, "1" * 64)):
            session.add(DocumentRow(collection_id="c", name=name, size=1, sha256=ready, pending_sha256=waiting))
    database.upgrade()
    with database.reading() as session:
        assert set(session.scalars(sa.select(BlobRow.sha256))) == {"1" * 64, "2" * 64}
    database.close()


def test_vectors_are_found_after_the_change_of_their_keys(both_urls: str) -> None:
    """Up and down again: nobody wants to encode a whole collection for an update."""
    database = Database(both_urls)
    migrate.upgrade(database.engine, "0004")

    def sha256(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    keys = [sha256("e\0red fox"), sha256("e\0Title\nblue hen")]
    with database.transaction() as session:
        execute = session.connection().exec_driver_sql
        execute("INSERT INTO principals VALUES ('p', 'ann', '1', '0', '2026-01-01 00:00:00')")
        execute("INSERT INTO collections VALUES ('c', 'c', '', 'p', 'e', '2026-01-01 00:00:00')")
        session.execute(
            sa.text(
                "INSERT INTO documents (id, collection_id, name, state, size, chunk_count, created_at, updated_at) "
                "VALUES ('d', 'c', 'a', 'ready', 1, 3, :now, :now)"
            ),
            {"now": "2026-01-01 00:00:00"},
        )
        chunk = sa.text(
            'INSERT INTO chunks (document_id, collection_id, ordinal, start, "end", text, context, embedding_key) '
            "VALUES ('d', 'c', :ordinal, 0, 1, :text, :context, :key)"
        )
        for ordinal, (text, context, key) in enumerate(
            [("red fox", "", keys[0]), ("red fox", "", keys[0]), ("blue hen", "Title", keys[1])]
        ):
            session.execute(chunk, {"ordinal": ordinal, "text": text, "context": context, "key": key})
        vector = sa.text("INSERT INTO embeddings (key, encoder, vector) VALUES (:key, 'e', :vector)")
        for number, key in enumerate([*keys, "0" * 64]):
            session.execute(vector, {"key": key, "vector": bytes([number])})
    database.upgrade()
    with database.reading() as session:
        hashes = list(session.scalars(sa.select(ChunkRow.indexed_sha256).order_by(ChunkRow.id)))
        assert hashes == [sha256("red fox"), sha256("red fox"), sha256("Title\nblue hen")]
        rows = session.execute(sa.select(EmbeddingRow.text_sha256, EmbeddingRow.encoder, EmbeddingRow.vector))
        assert {tuple(row) for row in rows} == {(hashes[0], "e", b"\0"), (hashes[2], "e", b"\1")}
    migrate.downgrade(database.engine, "0004")
    with database.reading() as session:
        execute = session.connection().exec_driver_sql
        assert [row[0] for row in execute("SELECT embedding_key FROM chunks ORDER BY id")] == [
            keys[0],
            keys[0],
            keys[1],
        ]
        assert sorted(row[0] for row in execute("SELECT key FROM embeddings")) == sorted(keys)
    database.close()


def test_head_is_alembics_head(database: Database) -> None:
    """The name of the newest file is the newest revision, and the line has no branches."""
    with database.engine.connect() as connection:
        assert ScriptDirectory.from_config(migrate._config(connection)).get_heads() == [migrate.head()]


def test_a_start_without_work_does_not_load_alembic(sqlite_url: str) -> None:
    """Each start asks; only the first may pay for it."""
    Database(sqlite_url).upgrade()
    code = f"""
import sys
from keepstone.platform.database import Database
Database({sqlite_url!r}).upgrade()
assert "alembic" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_processes_that_start_together(both_urls: str) -> None:
    """Two app processes on a new database: one upgrades, the other waits."""
    code = f"from keepstone.platform.database import Database; Database({both_urls!r}).upgrade()"
    starts = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [start.wait() for start in starts] == [0, 0, 0, 0]
    database = Database(both_urls)
    assert migrate.check(database.engine)
    database.close()


def test_a_failed_upgrade_changes_nothing(both_urls: str) -> None:
    """What dies half-way leaves the database as it was."""
    database = Database(both_urls)

    def die(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "CREATE INDEX" in statement:
            raise RuntimeError("the process died")

    sa.event.listen(database.engine, "before_cursor_execute", die)
    with pytest.raises(RuntimeError, match="died"):
        database.upgrade()
    sa.event.remove(database.engine, "before_cursor_execute", die)
    assert _tables(database.engine) == set()
    database.upgrade()
    assert migrate.check(database.engine)
    database.close()


def test_a_newer_database_is_refused_with_the_fix(both_databases: Database) -> None:
    """An old program on a new database must not touch it."""
    with both_databases.transaction() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(KeepstoneError, match="newer Keepstone") as caught:
        both_databases.upgrade()
    assert caught.value.fix
    with pytest.raises(KeepstoneError, match="newer Keepstone"):
        migrate.downgrade(both_databases.engine, "base")


def test_foreign_keys_are_on_again_afterwards(sqlite_url: str) -> None:
    """The connection that upgraded goes back to the pool as it was."""
    database = Database(sqlite_url)
    database.upgrade()
    with database.transaction() as session:
        owner = PrincipalRow(name="ann")
        collection = CollectionRow(name="c", owner_id="", encoder="e")
        session.add(owner)
        session.flush()
        collection.owner_id = owner.id
        session.add(collection)
        session.flush()
        session.add(DocumentRow(collection_id=collection.id, name="a.txt", size=1))
    with database.transaction() as session:
        session.execute(sa.delete(CollectionRow))
    with database.reading() as session:
        assert session.scalars(sa.select(DocumentRow)).all() == []
    database.close()
