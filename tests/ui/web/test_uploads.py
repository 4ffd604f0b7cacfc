"""Uploads reach the library one by one, their temporary copies go, and no path of the browser's choosing is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keepstone.platform.access import Principal
from keepstone.platform.errors import NotFound
from keepstone.ui.runtime import Runtime
from keepstone.ui.web.uploads import add_uploads, prepare_folder
from tests.retrieval.loaders.samples import zip_of
from tests.stack import someone


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # so that the test's own folder is forgotten after it
    return prepare_folder(tmp_path)


@pytest.fixture
def collection(runtime: Runtime, ann: Principal, request: pytest.FixtureRequest) -> str:
    return runtime.library.create_collection(ann, request.node.name[:60]).id


def uploaded(folder: Path, name: str, data: bytes) -> dict[str, Any]:
    """Put a file where Gradio would, and return what its component sends."""
    path = folder / f"hash-{len(list(folder.iterdir()))}" / "stored"
    path.parent.mkdir()
    path.write_bytes(data)
    return {"path": str(path), "orig_name": name, "size": len(data), "meta": {"_type": "gradio.FileData"}}


def test_files_are_added_under_their_own_names_and_the_copies_removed(
    runtime: Runtime, ann: Principal, folder: Path, collection: str
) -> None:
    uploads = [uploaded(folder, "Bedienung (neu) #2.md", b"# A"), uploaded(folder, "年假.md", b"# B")]
    added = add_uploads(runtime.library, ann, collection, uploads, folder)
    names = [info.name for info in runtime.library.documents(ann, collection)]
    assert names == ["Bedienung (neu) #2.md", "年假.md"]
    assert len(added.document_ids) == 2
    assert [each.failed for each in added.files] == [False, False]
    assert list(folder.iterdir()) == []


def test_what_is_there_already_is_told_and_not_queued(
    runtime: Runtime, ann: Principal, folder: Path, collection: str
) -> None:
    add_uploads(runtime.library, ann, collection, [uploaded(folder, "a.md", b"# Same")], folder)
    again = [uploaded(folder, "a.md", b"# Same"), uploaded(folder, "copy.md", b"# Same")]
    added = add_uploads(runtime.library, ann, collection, again, folder)
    assert added.document_ids == []
    assert [each.message for each in added.files] == [
        "it is here already, unchanged",
        "the same file is here already as “a.md”",
    ]


def test_an_archive_is_opened(runtime: Runtime, ann: Principal, folder: Path, collection: str) -> None:
    data = zip_of({"a/b.md": b"# B", "../c.md": b"# C"})
    added = add_uploads(runtime.library, ann, collection, [uploaded(folder, "docs.zip", data)], folder)
    assert [(each.name, each.failed) for each in added.files] == [
        ("docs.zip/a/b.md", False),
        ("docs.zip/../c.md", True),
    ]
    assert [info.name for info in runtime.library.documents(ann, collection)] == ["docs.zip/a/b.md"]
    assert len(added.document_ids) == 1


def test_one_bad_file_does_not_hold_up_the_others(
    runtime: Runtime, ann: Principal, folder: Path, collection: str
) -> None:
    uploads = [uploaded(folder, "\x00/..", b"x"), uploaded(folder, "good.md", b"# Good")]
    added = add_uploads(runtime.library, ann, collection, uploads, folder)
    assert [each.failed for each in added.files] == [True, False]
    assert "Rename the file" in added.files[0].message
    assert list(folder.iterdir()) == []


def test_two_files_of_one_name_do_not_overwrite_each_other(
    runtime: Runtime, ann: Principal, folder: Path, collection: str
) -> None:
    """Chosen together from two folders, they come without their paths."""
    uploads = [uploaded(folder, "readme.md", b"# One"), uploaded(folder, "readme.md", b"# Two")]
    added = add_uploads(runtime.library, ann, collection, uploads, folder)
    assert [each.failed for each in added.files] == [False, True]
    assert "Rename one" in added.files[1].message
    assert len(added.document_ids) == 1


def test_paths_outside_the_upload_folder_are_refused_and_left_alone(
    runtime: Runtime, ann: Principal, folder: Path, collection: str, tmp_path: Path
) -> None:
    secret = tmp_path / "private" / "secret.txt"
    secret.parent.mkdir()
    secret.write_text("secret")
    loose = folder / "loose.txt"
    loose.write_text("not in a folder of its own")
    link = folder / "hash" / "link"
    link.parent.mkdir()
    link.symlink_to(secret)
    tried: list[Any] = [
        *({"path": str(path), "orig_name": "x.txt"} for path in (secret, loose, link, folder, "secret.txt", "")),
        {"path": f"{folder}/hash/../../private/secret.txt", "orig_name": "x.txt"},
        {"path": None},
        "text",
        None,
    ]
    added = add_uploads(runtime.library, ann, collection, tried, folder)
    assert all(each.failed for each in added.files)
    assert len(added.files) == len(tried)
    assert runtime.library.documents(ann, collection) == []
    assert secret.read_text() == "secret"
    assert loose.exists()


def test_uploads_into_a_foreign_collection_are_refused_file_by_file(
    runtime: Runtime, folder: Path, collection: str
) -> None:
    bob = someone(runtime, "bob")
    added = add_uploads(runtime.library, bob, collection, [uploaded(folder, "a.md", b"# A")], folder)
    assert added.files[0].failed
    assert added.document_ids == []
    with pytest.raises(NotFound):
        runtime.library.documents(bob, collection)


def test_the_folder_begins_empty_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    (tmp_path / "uploads" / "old").mkdir(parents=True)
    folder = prepare_folder(tmp_path)
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o700
