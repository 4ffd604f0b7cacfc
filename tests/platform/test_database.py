"""The database: transactions are whole or nothing, readers see one moment, and faults are told in words that help."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from keepstone.platform.accounts import create_principal
from keepstone.platform.database import Database
from keepstone.platform.database.tables import ChangeRow, CollectionRow, CredentialRow, PrincipalRow, new_id
from keepstone.platform.errors import InvalidInput, SettingsError, StorageFull, Unavailable


def names(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.scalars(sa.select(PrincipalRow.name).order_by(PrincipalRow.name)))


def test_a_transaction_is_whole_or_nothing(both_databases: Database) -> None:
    """What fails half-way leaves no trace."""

    def fail() -> None:
        with both_databases.transaction() as session:
            create_principal(session, "bob")
            raise ZeroDivisionError

    with both_databases.transaction() as session:
        create_principal(session, "ann")
    with pytest.raises(ZeroDivisionError):
        fail()
    assert names(both_databases) == ["ann"]


def test_rows_can_be_used_after_their_session(both_databases: Database) -> None:
    """Services hand rows on; reading one must not need the database again."""
    with both_databases.transaction() as session:
        written = create_principal(session, "ann")
    with both_databases.reading() as session:
        read = session.scalar(sa.select(PrincipalRow))
    assert read is not None
    assert (written.name, read.name) == ("ann", "ann")


def test_a_reader_sees_one_moment(both_databases: Database) -> None:
    """Two queries of one reader never disagree, whatever is committed between them."""
    with both_databases.reading() as session:
        before = session.scalars(sa.select(PrincipalRow.name)).all()
        with both_databases.transaction() as writer:
            create_principal(writer, "ann")
        assert session.scalars(sa.select(PrincipalRow.name)).all() == before
    assert names(both_databases) == ["ann"]


def test_writers_that_read_first_lose_no_update(both_databases: Database) -> None:
    """Ten threads that each read and then write: SQLite makes them wait, nobody fails for a lost race."""
    with both_databases.transaction() as session:
        ann = create_principal(session, "ann").id

    def add(number: int) -> None:
        with both_databases.transaction() as session:
            session.scalars(sa.select(PrincipalRow)).all()
            session.add(CollectionRow(name=str(number), owner_id=ann, encoder="e"))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with both_databases.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(CollectionRow)) == 10


def test_references_are_kept(both_databases: Database) -> None:
    """SQLite checks them only when asked to."""
    with pytest.raises(IntegrityError), both_databases.transaction() as session:
        session.add(CollectionRow(name="c", owner_id="nobody", encoder="e"))
    with both_databases.transaction() as session:
        ann = create_principal(session, "ann")
        session.add(CredentialRow(principal_id=ann.id, kind="api_key", secret_sha256="x", scopes=[]))
    with both_databases.transaction() as session:
        session.execute(sa.delete(PrincipalRow))
    with both_databases.reading() as session:
        assert session.scalars(sa.select(CredentialRow)).all() == []


def test_times_come_back_in_utc(both_databases: Database) -> None:
    """Whatever zone they were given in, and with a zone."""
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    with both_databases.transaction() as session:
        session.add(PrincipalRow(name="ann", created_at=noon))
    with both_databases.reading() as session:
        read = session.scalars(sa.select(PrincipalRow.created_at)).one()
        found = session.scalar(sa.select(PrincipalRow.name).where(PrincipalRow.created_at == noon))
    assert read == noon
    assert read.tzinfo is UTC
    assert found == "ann"


def test_identifiers_are_random() -> None:
    """None can be guessed from another."""
    made = {new_id("doc") for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(each) == 28 and each.startswith("doc_") for each in made)


def test_text_that_cannot_be_stored_is_the_callers_fault(both_databases: Database) -> None:
    """Such text comes in from JSON and file names, and must not look like a fault of ours."""
    with pytest.raises(InvalidInput, match="cannot be stored"), both_databases.transaction() as session:
        create_principal(session, "half a pair \ud800")


@pytest.mark.postgres
def test_postgresql_stores_no_nul(postgres_url: str) -> None:
    """Neither does it look for it."""
    database = Database(postgres_url)
    database.upgrade()
    with pytest.raises(InvalidInput, match="cannot be stored"), database.transaction() as session:
        create_principal(session, "NUL \x00")
    database.close()


def test_a_full_disk_is_named_and_what_is_stored_stays(database: Database) -> None:
    """SQLite with no room for another page."""
    with database.transaction() as session:
        create_principal(session, "ann")

    def limit(connection: object, _record: object) -> None:
        connection.execute("PRAGMA max_page_count=1")  # type: ignore[attr-defined]

    sa.event.listen(database.engine, "connect", limit)
    database.engine.dispose()
    with pytest.raises(StorageFull, match="No space"), database.transaction() as session:
        create_principal(session, "b" * 1_000_000)
    assert names(database) == ["ann"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """With the way back."""
    (tmp_path / "keepstone.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(Unavailable, match="damaged") as caught:
        Database(f"sqlite:///{tmp_path / 'keepstone.db'}").upgrade()
    assert "backup" in (caught.value.fix or "")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """KEEPSTONE_HOME below a file."""
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="cannot be made") as caught:
        Database(f"sqlite:///{tmp_path / 'file' / 'home' / 'keepstone.db'}")
    assert "KEEPSTONE_HOME" in (caught.value.fix or "")


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """A folder stands where the file should be."""
    (tmp_path / "keepstone.db").mkdir()
    with pytest.raises(Unavailable, match="cannot be opened"):
        Database(f"sqlite:///{tmp_path / 'keepstone.db'}").upgrade()


def test_a_busy_database_is_named(database: Database) -> None:
    """Another program holds the file for longer than we wait."""

    def impatient(connection: object, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout=10")  # type: ignore[attr-defined]

    sa.event.listen(database.engine, "connect", impatient)
    with database.transaction():
        database.engine.dispose()
        with pytest.raises(Unavailable, match="busy"), database.transaction():
            pass


def test_a_server_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    """PostgreSQL not started."""
    database = Database(f"postgresql://ann:hunter2@/keepstone?host={tmp_path}")
    with pytest.raises(Unavailable, match="does not answer") as caught:
        database.upgrade()
    assert "hunter2" not in str(caught.value)
    assert "database.url" in (caught.value.fix or "")


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/x", "oracle://host/x"])
def test_other_databases_are_refused(url: str) -> None:
    """With what is valid."""
    with pytest.raises(SettingsError, match=r"database\.url") as caught:
        Database(url)
    assert "postgresql+psycopg://" in (caught.value.fix or "")


@pytest.mark.postgres
def test_a_connection_that_was_cut_is_replaced(postgres_url: str) -> None:
    """PostgreSQL restarted: the next transaction finds it again."""
    database = Database(postgres_url)
    database.upgrade()
    with database.transaction() as session:
        victim = session.scalar(sa.text("SELECT pg_backend_pid()"))
    killer = Database(postgres_url)
    with killer.transaction() as session:
        session.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": victim})
    assert names(database) == []
    database.close()
    killer.close()


def test_the_change_sequence_has_no_holes_for_readers(both_databases: Database) -> None:
    """A later number is never visible before an earlier one, or an index would miss a chunk for ever."""
    first_has_number, release = threading.Event(), threading.Event()

    def slow() -> None:
        with both_databases.transaction() as session:
            both_databases.lock_changes(session)
            session.add(ChangeRow(collection_id="c", chunk_id=1, added=True))
            session.flush()
            first_has_number.set()
            release.wait(10)

    def fast() -> None:
        with both_databases.transaction() as session:
            both_databases.lock_changes(session)
            session.add(ChangeRow(collection_id="c", chunk_id=2, added=True))

    threads = [threading.Thread(target=slow), threading.Thread(target=fast)]
    threads[0].start()
    assert first_has_number.wait(10)
    threads[1].start()
    threads[1].join(0.2)
    with both_databases.reading() as session:
        assert session.scalars(sa.select(ChangeRow.chunk_id)).all() == []
    release.set()
    for thread in threads:
        thread.join()
    with both_databases.reading() as session:
        assert session.scalars(sa.select(ChangeRow.chunk_id).order_by(ChangeRow.seq)).all() == [1, 2]


def test_the_package_imports_without_postgres_and_alembic() -> None:
    """Commands that touch no schema start fast, and the driver is an extra."""
    code = (
        "import sys; import keepstone.platform.database; assert not {'alembic', 'psycopg', 'dbos'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_file_is_for_nobody_elses_eyes(tmp_path: Path) -> None:
    """Also where the folder was there before, and open to all."""
    database = Database(f"sqlite:///{tmp_path / 'keepstone.db'}")
    database.upgrade()
    assert [path.name for path in tmp_path.iterdir() if path.stat().st_mode & 0o077] == []
    database.close()
