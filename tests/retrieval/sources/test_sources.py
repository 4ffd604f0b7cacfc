"""Sources mirror what lies in a place, and never delete because a place cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import sqlalchemy as sa

from keepstone.platform.accounts import SCOPES
from keepstone.platform.database.source_tables import SourceFileRow, SourceRow
from keepstone.platform.database.tables import JobRow, JobState, PrincipalRow
from keepstone.platform.errors import Conflict, Forbidden, InvalidInput, NotFound
from keepstone.ui.runtime import Runtime
from tests.retrieval.sources.kit import added, documents, filled, look, looked, settings
from tests.stack import WAIT_S, admin, open_stack, someone


@pytest.fixture(scope="module")
def allowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder below which sources may take from."""
    return tmp_path_factory.mktemp("srv")


@pytest.fixture
def folder(allowed: Path, request: pytest.FixtureRequest) -> Path:
    """Return a folder below it with two files in `docs`."""
    return filled(allowed / request.node.name.partition("[")[0])


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, allowed: Path) -> Iterator[Runtime]:
    with open_stack(tmp_path_factory.mktemp("home"), **settings(allowed)) as opened:
        opened.jobs._runner._backoff_s = ()
        # Tests order each look themselves.
        opened.sources.stop()
        yield opened


@pytest.fixture
def runtime(opened: Runtime) -> Runtime:
    """Return the one runtime, with an empty collection `docs`."""
    if opened.library.collections(admin(opened)):
        opened.library.delete_collection(admin(opened), "docs")
    opened.library.create_collection(admin(opened), "docs")
    return opened


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    """Return the file system in memory, empty."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def text_of(runtime: Runtime, name: str) -> str:
    found = runtime.library.documents(admin(runtime), "docs", containing=name)
    return runtime.library.document_text(admin(runtime), found[0].id).text


def test_a_folder_is_mirrored(runtime: Runtime, folder: Path) -> None:
    """New, changed, renamed and vanished files come through; others are not read again."""
    source = added(runtime, folder / "docs")
    assert documents(runtime) == {"docs/guide.md": "ready", "docs/pumps/p40.md": "ready"}
    before = {each.name: each.updated_at for each in runtime.library.documents(admin(runtime), "docs")}
    (folder / "docs" / "guide.md").write_text("# Guide\n\nThe lamp lasts 1200 hours.")
    (folder / "docs" / "new.txt").write_text("It is new.")
    assert look(runtime, source).state == JobState.SUCCEEDED
    assert "1200" in text_of(runtime, "guide")
    after = {each.name: each.updated_at for each in runtime.library.documents(admin(runtime), "docs")}
    assert after["docs/pumps/p40.md"] == before["docs/pumps/p40.md"]
    (folder / "docs" / "new.txt").rename(folder / "docs" / "pumps" / "old.txt")
    (folder / "docs" / "guide.md").unlink()
    look(runtime, source)
    assert documents(runtime) == {"docs/pumps/old.txt": "ready", "docs/pumps/p40.md": "ready"}
    [info] = runtime.sources.of(admin(runtime), "docs")
    assert (info.files, info.problems, info.error, info.looking) == (2, 0, None, False)
    assert runtime.indexes.verify(runtime.library.collection(admin(runtime), "docs").id).ok


def test_a_store_is_mirrored(runtime: Runtime, store: fsspec.AbstractFileSystem) -> None:
    """Anything that fsspec reaches works as folders do."""
    store.pipe("/company/manuals/a.md", b"# A\n\nFirst.")
    store.pipe("/company/manuals/deep/er/b.md", b"# B\n\nSecond.")
    store.pipe("/company/other/secret.md", b"# C\n\nNot for us.")
    source = added(runtime, "memory://company/manuals")
    assert documents(runtime) == {"manuals/a.md": "ready", "manuals/deep/er/b.md": "ready"}
    store.pipe("/company/manuals/a.md", b"# A\n\nChanged.")
    store.rm("/company/manuals/deep", recursive=True)
    look(runtime, source)
    assert documents(runtime) == {"manuals/a.md": "ready"}
    assert "Changed" in text_of(runtime, "a.md")


def test_what_is_away_or_suddenly_empty_deletes_nothing(runtime: Runtime, folder: Path) -> None:
    """An unmounted share is an empty or a missing folder; a person can say that it is meant."""
    source = added(runtime, folder / "docs")
    away = folder / "away"
    (folder / "docs").rename(away)
    assert look(runtime, source).state == JobState.FAILED
    (folder / "docs").mkdir()
    failed = look(runtime, source)
    assert failed.state == JobState.FAILED
    assert "--empty" in (failed.error or "")
    assert len(documents(runtime)) == 2
    [info] = runtime.sources.of(admin(runtime), "docs")
    assert "is empty" in (info.error or "")
    assert look(runtime, source, empty=True).state == JobState.SUCCEEDED
    assert documents(runtime) == {}


def test_a_file_that_came_back_since_the_listing_is_kept(runtime: Runtime, folder: Path) -> None:
    """A plan may be carried out long after it was made, when its process was killed in between."""
    from keepstone.platform.jobs import JobInfo

    source = added(runtime, folder / "docs")
    sync = runtime.jobs._kinds["sync"].handler
    job = JobInfo(id="job_x", kind="sync", args={"source": source.id, "empty": False, "after": None})
    guide = folder / "docs" / "guide.md"
    text = guide.read_text()
    guide.unlink()
    units = sync.plan(job)
    assert units[0]["vanished"] == ["guide.md"]
    guide.write_text(text)
    sync.run(job, units[0])
    assert "docs/guide.md" in documents(runtime)


def test_the_same_bytes_under_two_names_survive_either(runtime: Runtime, folder: Path) -> None:
    """The second is left out while the first is there, and taken when that goes."""
    (folder / "docs" / "same.md").write_bytes((folder / "docs" / "guide.md").read_bytes())
    source = added(runtime, folder / "docs")
    assert documents(runtime) == {"docs/guide.md": "ready", "docs/pumps/p40.md": "ready"}
    (folder / "docs" / "guide.md").unlink()
    look(runtime, source)
    assert documents(runtime) == {"docs/same.md": "ready", "docs/pumps/p40.md": "ready"}


def test_a_document_that_a_person_deleted_stays_away_until_its_file_changes(runtime: Runtime, folder: Path) -> None:
    source = added(runtime, folder / "docs")
    [guide] = runtime.library.documents(admin(runtime), "docs", containing="guide")
    runtime.library.delete_document(admin(runtime), guide.id)
    look(runtime, source)
    assert "docs/guide.md" not in documents(runtime)
    (folder / "docs" / "guide.md").write_text("# Guide\n\nAnother one.")
    look(runtime, source)
    assert documents(runtime)["docs/guide.md"] == "ready"


def test_files_that_cannot_be_taken_say_why_and_spoil_no_other(runtime: Runtime, folder: Path, tmp_path: Path) -> None:
    """Links lead nowhere, names that are no text and files that are too large are told of, hidden ones passed over."""
    docs = folder / "docs"
    (tmp_path / "secret.md").write_text("Not for us.")
    (docs / "link.md").symlink_to(tmp_path / "secret.md")
    (docs / "out").symlink_to(tmp_path)
    (docs / ".hidden.md").write_text("Hidden.")
    (docs / "big.txt").write_bytes(b"a" * (2**20 + 1))
    Path(str(docs), b"caf\xe9.md".decode("utf-8", "surrogateescape")).write_text("# Latin")
    source = added(runtime, docs)
    assert documents(runtime) == {"docs/guide.md": "ready", "docs/pumps/p40.md": "ready"}
    problems = {each.path: each.error for each in runtime.sources.problems(admin(runtime), "docs", source.name)}
    assert set(problems) == {"big.txt", "caf?.md"}
    assert "ingestion.max_file_mb" in problems["big.txt"]
    assert "UTF-8" in problems["caf?.md"]


def test_places_that_are_not_allowed_are_refused(runtime: Runtime, folder: Path, tmp_path: Path) -> None:
    """Also by way of `..`, a link, another protocol, or a chain of them; and what is hidden, if it is named."""
    (folder / "out").symlink_to(tmp_path)
    (folder / ".ssh" / "keys").mkdir(parents=True)
    refused = (
        folder / ".ssh",
        folder / ".ssh" / "keys",
        tmp_path,
        f"{folder.parent}-other",
        "memory://company/manuals2",
        "memory://other",
        "s3://bucket",
        "/",
    )
    for place in refused:
        with pytest.raises((Forbidden, InvalidInput)):
            runtime.sources.add(admin(runtime), "docs", str(place))
    odd = (f"{folder}/../x", "relative", "", "http://127.0.0.1/", "memory://company/manuals/../../etc")
    odd += ("zip://a::memory://company/manuals", "memory://user:pw@company/manuals", "file:///etc")
    for place in odd:
        with pytest.raises((Forbidden, InvalidInput)):
            runtime.sources.add(admin(runtime), "docs", place)

    source = runtime.sources.add(admin(runtime), "docs", str(folder / "out"))
    assert runtime.jobs.wait(str(source.job_id), WAIT_S).state == JobState.FAILED
    assert documents(runtime) == {}


def test_a_place_with_too_many_files_is_refused_whole(runtime: Runtime, folder: Path) -> None:
    for number in range(25):
        (folder / "docs" / f"{number}.txt").write_text(f"File {number}.")
    source = runtime.sources.add(admin(runtime), "docs", str(folder / "docs"))
    job = runtime.jobs.wait(str(source.job_id), WAIT_S)
    assert "sources.max_files" in (job.error or "")
    assert documents(runtime) == {}


def test_only_writers_see_and_change_sources(runtime: Runtime, folder: Path) -> None:
    source = added(runtime, folder / "docs")
    reader, stranger = someone(runtime, "rita"), someone(runtime, "eve")
    runtime.library.grant(admin(runtime), "docs", "rita", "reader")
    for principal, refusal in ((reader, Forbidden), (stranger, NotFound)):
        with pytest.raises(refusal):
            runtime.sources.add(principal, "docs", str(folder))
        with pytest.raises(refusal):
            runtime.sources.of(principal, "docs")
        with pytest.raises(refusal):
            runtime.sources.problems(principal, "docs", source.id)
        with pytest.raises(refusal):
            runtime.sources.sync(principal, "docs", source.id)
        with pytest.raises(refusal):
            runtime.sources.remove(principal, "docs", source.id)


def test_nothing_is_taken_in_the_name_of_one_who_may_not_write_any_more(runtime: Runtime, folder: Path) -> None:
    writer = someone(runtime, "bob", *SCOPES)
    runtime.library.grant(admin(runtime), "docs", "bob", "writer")
    source = runtime.sources.add(writer, "docs", str(folder / "docs"))
    looked(runtime, str(source.job_id))
    (folder / "docs" / "new.md").write_text("New.")
    runtime.library.revoke(admin(runtime), "docs", "bob")
    assert look(runtime, source).state == JobState.FAILED
    with runtime.database.transaction() as session:
        session.get_one(PrincipalRow, writer.id).disabled = True
    assert "add it as somebody else" in (look(runtime, source).error or "")
    assert "docs/new.md" not in documents(runtime)


def test_a_source_that_is_removed_leaves_its_documents_or_takes_them_along(runtime: Runtime, folder: Path) -> None:
    me = admin(runtime)
    source = added(runtime, folder / "docs")
    assert runtime.sources.remove(me, "docs", source.name) is None
    assert runtime.sources.of(me, "docs") == []
    assert len(documents(runtime)) == 2
    again = added(runtime, folder / "docs")
    job_id = runtime.sources.remove(me, "docs", again.name, documents=True)
    assert runtime.jobs.wait(str(job_id), WAIT_S).state == JobState.SUCCEEDED
    assert runtime.sources.of(me, "docs") == []
    assert documents(runtime) == {}


def test_names_and_places_are_given_once(runtime: Runtime, folder: Path) -> None:
    added(runtime, folder / "docs")
    with pytest.raises(Conflict):
        runtime.sources.add(admin(runtime), "docs", f"{folder}/docs/", "other")
    with pytest.raises(Conflict):
        runtime.sources.add(admin(runtime), "docs", str(folder / "docs" / "pumps"), "docs")
    with pytest.raises(InvalidInput):
        runtime.sources.add(admin(runtime), "docs", str(folder), "a/b")


def test_sources_are_looked_through_when_they_are_due_and_one_at_a_time(runtime: Runtime, folder: Path) -> None:
    """Two processes that look at the same moment order one job; the ended ones do not pile up."""
    source = added(runtime, folder / "docs")
    assert runtime.sources.order_due() == []
    with runtime.database.transaction() as session:
        session.get_one(SourceRow, source.id).checked_at = None
    ordered = runtime.sources.order_due()
    assert len(ordered) == 1
    looked(runtime, ordered[0])
    with runtime.database.reading() as session:
        syncs = session.scalars(sa.select(JobRow.id).where(JobRow.kind == "sync")).all()
    assert syncs == ordered


def test_what_a_kill_left_half_done_is_done_at_the_next_look(runtime: Runtime, folder: Path) -> None:
    """Between the row and the document, and between the document and its mark."""
    source = added(runtime, folder / "docs")
    with runtime.database.transaction() as session:
        session.execute(sa.update(SourceFileRow).values(stamp=None))
        session.add(SourceFileRow(source_id=source.id, path="never-read.md"))
    assert look(runtime, source).state == JobState.SUCCEEDED
    with runtime.database.reading() as session:
        rows = {row.path: row.stamp for row in session.scalars(sa.select(SourceFileRow))}
    assert set(rows) == {"guide.md", "pumps/p40.md"}
    assert all(rows.values())


def test_a_deleted_collection_takes_its_sources_along(runtime: Runtime, folder: Path) -> None:
    added(runtime, folder / "docs")
    runtime.library.delete_collection(admin(runtime), "docs")
    with runtime.database.reading() as session:
        assert session.scalars(sa.select(SourceRow)).all() == []
        assert session.scalars(sa.select(SourceFileRow)).all() == []
