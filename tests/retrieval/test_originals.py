"""Deleted means deleted: bytes go with the last document that refers to them, and never before."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import fsspec
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.platform.access import Principal
from keepstone.platform.accounts import SCOPES, ensure_local_admin
from keepstone.platform.blobs import BlobStore, Incoming
from keepstone.platform.database import Database
from keepstone.platform.database.tables import BlobRow, DocumentRow, DocumentState
from keepstone.platform.errors import Forbidden, KeepstoneError, NotFound, StorageFull, Unavailable
from keepstone.retrieval import originals
from keepstone.retrieval.library import Library
from tests.stack import admin, ingest, open_stack, someone

DATA = b"The lamp lasts 900 hours."
NAME = sha256(DATA).hexdigest()


class Killed(BaseException):
    """The process ends here: nothing after it is done, and the database rolls back what was not committed."""


class Shelf:
    """A library of two collections, `one` and `two`."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self.database = database
        self.blobs = blobs
        self.library = Library(database, blobs, encoder_version="e", max_file_bytes=1 << 20)
        with database.transaction() as session:
            row = ensure_local_admin(session)
            self.me = Principal(row.id, row.name, is_admin=True, scopes=frozenset(SCOPES))
        for name in ("one", "two"):
            self.library.create_collection(self.me, name)

    def add(self, collection: str, name: str, data: bytes = DATA) -> str:
        return self.library.add_document(self.me, collection, name, io.BytesIO(data)).document.id

    def delete(self, document_id: str) -> None:
        self.library.delete_document(self.me, document_id)

    def sweep(self) -> int:
        return originals.collect_garbage(self.database, self.blobs)

    def listed(self) -> set[str]:
        with self.database.reading() as session:
            return set(session.scalars(sa.select(BlobRow.sha256)))

    def intact(self) -> bool:
        """Whether what is stored, what is listed and what documents refer to is the same."""
        with self.database.reading() as session:
            rows = session.execute(sa.select(DocumentRow.sha256, DocumentRow.pending_sha256))
            referred = {name for row in rows for name in row if name}
        return set(self.blobs.iterate()) == self.listed() == referred


@pytest.fixture(params=["folder", "memory"])
def shelf(request: pytest.FixtureRequest, both_databases: Database, tmp_path: Path) -> Iterator[Shelf]:
    if request.param == "folder":
        yield Shelf(both_databases, BlobStore(str(tmp_path / "blobs")))
        return
    yield Shelf(both_databases, BlobStore(f"memory://{tmp_path.name}"))
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def folder(both_databases: Database, tmp_path: Path) -> Shelf:
    return Shelf(both_databases, BlobStore(str(tmp_path / "blobs")))


def before_transaction(
    monkeypatch: pytest.MonkeyPatch, number: int, do: Callable[[], object]
) -> AbstractContextManager[None]:
    """Do something just before the transaction of that number is opened, counted from here."""
    original, count = Database.transaction, 0

    @contextmanager
    def transaction(self: Database) -> Iterator[Session]:
        nonlocal count
        count += 1
        if count == number:
            do()
        with original(self) as session:
            yield session

    @contextmanager
    def patched() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(Database, "transaction", transaction)
            yield

    return patched()


def after_keeping(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Do something when received bytes have just got their name, before the row that refers to them is committed."""
    receive = BlobStore.receive

    @contextmanager
    def received(self: BlobStore, stream: BinaryIO, *, max_bytes: int) -> Iterator[Incoming]:
        with receive(self, stream, max_bytes=max_bytes) as incoming:

            def keep() -> None:
                incoming.keep()
                do()

            yield replace(incoming, keep=keep)

    monkeypatch.setattr(BlobStore, "receive", received)


def test_the_bytes_go_with_their_document(shelf: Shelf) -> None:
    document = shelf.add("one", "guide.md")
    assert shelf.blobs.exists(NAME)
    shelf.delete(document)
    assert list(shelf.blobs.iterate()) == []
    assert shelf.listed() == set()
    with pytest.raises(NotFound):
        shelf.library.document_text(shelf.me, document)
    with pytest.raises(NotFound):
        shelf.library.document_bytes(shelf.me, document)


def test_the_same_bytes_stay_until_the_last_document_goes(shelf: Shelf) -> None:
    first, second = shelf.add("one", "guide.md"), shelf.add("two", "copy.md")
    shelf.delete(first)
    assert shelf.library.document_bytes(shelf.me, second)[1].read() == DATA
    shelf.delete(second)
    assert list(shelf.blobs.iterate()) == []


def test_a_deleted_collection_takes_its_bytes_along(shelf: Shelf) -> None:
    """More than are removed at once; those that another collection has, too, stay."""
    for number in range(120):
        shelf.add("one", f"{number}.md", b"%d" % number)
    kept = shelf.add("two", "kept.md", b"7")
    shelf.library.delete_collection(shelf.me, "one")
    assert shelf.library.document_bytes(shelf.me, kept)[1].read() == b"7"
    assert shelf.intact()


def test_bytes_that_were_never_read_go_when_others_come(shelf: Shelf) -> None:
    document = shelf.add("one", "guide.md", b"first")
    assert shelf.add("one", "guide.md", b"second") == document
    assert shelf.library.document_bytes(shelf.me, document)[1].read() == b"second"
    assert shelf.intact()


def test_a_changed_file_takes_the_place_of_its_older_bytes(tmp_path: Path, both_urls: str) -> None:
    """A change that cannot be read leaves both: the older version still answers, the new one can be tried again."""
    with open_stack(tmp_path / "home", database={"url": both_urls}) as runtime:
        me = admin(runtime)
        for data in (b"one", b"two", b"%PDF-1.4 broken"):
            ingest(runtime, me, "docs", {"guide.md": data})
        stored = set(runtime.blobs.iterate())
        assert stored == {sha256(data).hexdigest() for data in (b"two", b"%PDF-1.4 broken")}
        ingest(runtime, me, "docs", {"guide.md": b"three"})
        assert list(runtime.blobs.iterate()) == [sha256(b"three").hexdigest()]
        [document] = runtime.library.documents(me, "docs")
        assert document.state == DocumentState.READY
        runtime.library.delete_document(me, document.id)
        assert list(runtime.blobs.iterate()) == []
        with runtime.database.reading() as session:
            assert session.scalar(sa.select(sa.func.count()).select_from(BlobRow)) == 0


def test_files_that_come_together_are_judged_one_by_one(shelf: Shelf) -> None:
    files = [(f"{number}.txt", io.BytesIO(f"Text {number}".encode())) for number in range(40)]
    files[3] = ("too-large.txt", io.BytesIO(b"x" * (2 << 20)))
    files[17] = ("same.txt", io.BytesIO(b"Text 16"))
    files[39] = ("38.txt", io.BytesIO(b"Another text under a name that is taken"))
    outcomes = [
        each.code if isinstance(each, KeepstoneError) else each.outcome
        for each in shelf.library.add_documents(shelf.me, "one", files)
    ]
    expected = ["queued"] * 40
    expected[3], expected[17], expected[39] = "limit_exceeded", "duplicate", "conflict"
    assert outcomes == expected
    assert shelf.intact()


def test_files_whose_store_fails_are_all_refused_and_nothing_of_them_stays(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.add("one", "before.txt")
    kept: list[object] = []

    def fill() -> None:
        kept.append(None)
        if len(kept) == 3:
            raise StorageFull("The disk is full")

    with monkeypatch.context() as patch:
        after_keeping(patch, fill)
        files = [(f"{number}.txt", io.BytesIO(f"Text {number}".encode())) for number in range(4)]
        refused = shelf.library.add_documents(shelf.me, "one", files)
    assert [type(each) for each in refused] == [StorageFull] * 4
    assert [each.name for each in shelf.library.documents(shelf.me, "one")] == ["before.txt"]
    shelf.sweep()
    assert shelf.intact()


def test_a_reader_cannot_make_bytes_stay_or_go(tmp_path: Path) -> None:
    with open_stack(tmp_path / "home") as runtime:
        me, bob = admin(runtime), someone(runtime, "bob")
        runtime.library.create_collection(me, "docs")
        runtime.library.grant(me, "docs", "bob", "reader")
        with pytest.raises(Forbidden):
            runtime.library.add_document(bob, "docs", "a.md", io.BytesIO(DATA))
        assert list(runtime.blobs.iterate()) == []
        document = runtime.library.add_document(me, "docs", "a.md", io.BytesIO(DATA)).document
        with pytest.raises(Forbidden):
            runtime.library.delete_document(bob, document.id)
        assert list(runtime.blobs.iterate()) == [NAME]


def test_a_permission_that_went_while_the_bytes_came_stores_nothing(shelf: Shelf) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            if not data:
                shelf.library.delete_collection(shelf.me, "one")
            return data

    with pytest.raises(NotFound):
        shelf.library.add_document(shelf.me, "one", "guide.md", Slow(DATA))
    assert list(shelf.blobs.iterate()) == []
    assert shelf.sweep() == 1
    assert shelf.intact()


@pytest.mark.parametrize("number", [1, 2])
def test_a_deletion_between_two_steps_of_an_upload_loses_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Somebody deletes the only other document of these bytes."""
    other = shelf.add("one", "guide.md")
    with before_transaction(monkeypatch, number, lambda: shelf.delete(other)):
        document = shelf.add("two", "copy.md")
    assert shelf.library.document_bytes(shelf.me, document)[1].read() == DATA
    assert shelf.intact()


def test_a_round_between_two_steps_of_an_upload_loses_nothing(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are listed already, and nothing refers to them yet."""
    swept: list[int] = []
    with before_transaction(monkeypatch, 2, lambda: swept.append(shelf.sweep())):
        document = shelf.add("two", "copy.md")
    assert swept == [1]
    assert shelf.library.document_bytes(shelf.me, document)[1].read() == DATA
    assert shelf.intact()


def test_a_removal_waits_for_the_commit(folder: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process removes while the bytes have their name already and the row is not to be seen yet."""
    sweep = threading.Thread(target=folder.sweep)

    def remove() -> None:
        sweep.start()
        sweep.join(0.3)  # without the lock it would be done by then
        assert sweep.is_alive()

    after_keeping(monkeypatch, remove)
    document = folder.add("two", "copy.md")
    sweep.join()
    assert folder.library.document_bytes(folder.me, document)[1].read() == DATA
    assert folder.intact()


def test_two_hundred_uploads_and_deletions_at_once(folder: Shelf) -> None:
    """Each time one document of these bytes goes while another one comes, in two threads that start together."""
    together = threading.Barrier(2)

    def at_once(do: Callable[..., str | None], *arguments: str) -> str | None:
        together.wait(30)
        return do(*arguments)

    present = folder.add("one", "0")
    with ThreadPoolExecutor(2) as pool:
        for number in range(1, 201):
            deleted = pool.submit(at_once, folder.delete, present)
            added = pool.submit(at_once, folder.add, ("one", "two")[number % 2], str(number))
            deleted.result()
            present = str(added.result())
            assert folder.blobs.exists(NAME), number
    assert folder.intact()
    folder.delete(present)
    assert list(folder.blobs.iterate()) == []


def kill(*_: object, **__: object) -> None:
    raise Killed


def kill_after_commit(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    document = shelf.add("one", "guide.md")
    with monkeypatch.context() as patch:
        patch.setattr(originals, "_remove", kill)
        shelf.delete(document)


def kill_after_removal(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    document = shelf.add("one", "guide.md")
    delete = BlobStore.delete

    def delete_and_die(self: BlobStore, *names: str) -> None:
        delete(self, *names)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(BlobStore, "delete", delete_and_die)
        shelf.delete(document)


def kill_before_keeping(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    with before_transaction(monkeypatch, 2, kill):
        shelf.add("one", "guide.md")


def kill_after_keeping(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        after_keeping(patch, kill)
        shelf.add("one", "guide.md")


@pytest.mark.parametrize("step", [kill_after_commit, kill_after_removal, kill_before_keeping, kill_after_keeping])
def test_what_a_kill_leaves_is_swept_or_used_again(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, step: Callable[[Shelf, pytest.MonkeyPatch], None]
) -> None:
    kept = shelf.add("one", "kept.md", b"kept")
    with pytest.raises(Killed):
        step(shelf, monkeypatch)
    assert shelf.listed() == {NAME, sha256(b"kept").hexdigest()}
    assert shelf.sweep() == 1
    assert shelf.intact()
    with pytest.raises(Killed):
        step(shelf, monkeypatch)
    again = shelf.add("two", "copy.md")
    assert shelf.sweep() == 0
    assert shelf.intact()
    for document, data in ((kept, b"kept"), (again, DATA)):
        assert shelf.library.document_bytes(shelf.me, document)[1].read() == data


def test_a_store_that_is_away_does_not_undo_a_deletion(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    document = shelf.add("one", "guide.md")

    def away(self: BlobStore, *names: str) -> None:
        raise Unavailable("The blob store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(BlobStore, "delete", away)
        shelf.delete(document)
    with pytest.raises(NotFound):
        shelf.library.document(shelf.me, document)
    assert shelf.blobs.exists(NAME)
    assert shelf.sweep() == 1
    assert shelf.intact()


def test_bytes_of_another_database_are_not_touched(shelf: Shelf) -> None:
    """An app that is started with the wrong database must not empty the store."""
    foreign = shelf.blobs.put(io.BytesIO(b"foreign"), max_bytes=100).sha256
    shelf.delete(shelf.add("one", "guide.md"))
    assert shelf.sweep() == 0
    assert list(shelf.blobs.iterate()) == [foreign]
    assert originals.audit(shelf.database, shelf.blobs) == originals.Audit((), (foreign,))


def test_documents_that_lost_their_bytes_are_named_and_mended(shelf: Shelf) -> None:
    shelf.add("one", "guide.md")
    shelf.add("one", "other.md", b"other")
    shelf.blobs.delete(NAME)
    assert originals.audit(shelf.database, shelf.blobs).missing == ("guide.md",)
    shelf.add("one", "guide.md")
    assert originals.audit(shelf.database, shelf.blobs) == originals.Audit((), ())


def test_a_download_gets_the_version_that_came_meanwhile(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes that a reader is about to open may be replaced and removed just then."""
    document = shelf.add("one", "guide.md", b"first")
    opened = BlobStore.open

    def open_late(self: BlobStore, name: str) -> BinaryIO:
        if name == sha256(b"first").hexdigest():
            shelf.add("one", "guide.md", b"second")
        return opened(self, name)

    monkeypatch.setattr(BlobStore, "open", open_late)
    assert shelf.library.document_bytes(shelf.me, document)[1].read() == b"second"


def test_nothing_deleted_stays_in_the_database_file(database: Database, tmp_path: Path) -> None:
    """Long texts fill pages of their own, which SQLite would only mark as free."""
    shelf = Shelf(database, BlobStore(str(tmp_path / "blobs")))
    document = shelf.add("one", "guide.md")
    with database.transaction() as session:
        session.get_one(DocumentRow, document).text = "The safe's number is 4711. " * 5000

    def traces() -> int:
        return sum(path.read_bytes().count(b"4711") for path in tmp_path.glob("keepstone.db*"))

    database.empty_log()
    assert traces() > 4900  # some are cut by the end of a page
    shelf.delete(document)
    database.empty_log()
    assert traces() == 0


def test_the_log_is_not_waited_for(database: Database) -> None:
    """A long transaction elsewhere must not make the upkeep, and with it every writer, wait."""
    with database.transaction():
        database.empty_log()
    with database.reading():
        database.empty_log()
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
