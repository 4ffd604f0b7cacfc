"""Which files `ingest` takes, under which names, in which portions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.platform.errors import InvalidInput, NotFound
from keepstone.ui.cli.files import FileChanged, FixedSize, LocalFile, batches, find_files


def test_folders_are_walked_in_order_without_hidden_files_links_and_pipes(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("x")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    assert [file.name for file in find_files([folder])] == ["empty.txt", "sub/care.md", "warranty.md"]


def test_a_named_file_keeps_its_name_alone_and_may_be_a_link_or_hidden(folder: Path) -> None:
    named = [folder / "sub" / "care.md", folder / "link.md", folder / ".hidden.md"]
    assert [file.name for file in find_files(named)] == [".hidden.md", "care.md", "link.md"]


def test_a_file_named_twice_is_taken_once(folder: Path) -> None:
    assert len(find_files([folder, folder / "warranty.md", folder])) == 3


def test_two_files_with_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "warranty.md").write_text("another")
    with pytest.raises(InvalidInput, match=r"both be named 'warranty\.md'"):
        find_files([folder, other])


def test_nothing_to_ingest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no"):
        find_files([tmp_path / "missing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="no files"):
        find_files([tmp_path / "empty"])


def test_a_pipe_that_is_named_is_told_from_a_missing_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match="neither a file nor a folder"):
        find_files([tmp_path / "pipe"])


def test_names_that_are_not_utf8_become_text(tmp_path: Path) -> None:
    """Folders from old machines and unpacked archives have such names."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("x")
    [file] = find_files([tmp_path])
    assert file.name == "caf\ufffd.txt"
    assert file.path.read_text() == "x"


def test_a_file_that_grows_while_it_is_sent_is_taken_as_long_as_it_was(tmp_path: Path) -> None:
    """A log that is being written: the request has announced its length already."""
    path = tmp_path / "app.log"
    path.write_text("12345")
    [file] = find_files([path])
    path.write_text("123456789")
    with FixedSize(file) as stream:
        assert (stream.seek(0, os.SEEK_END), stream.seek(0)) == (5, 0)
        assert stream.read(3) + stream.read(10) + stream.read(10) == b"12345"


def test_a_file_that_shrinks_while_it_is_sent_is_told(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("12345")
    [file] = find_files([path])
    path.write_text("12")
    with FixedSize(file) as stream, pytest.raises(FileChanged):
        stream.read()


@given(sizes=st.lists(st.integers(0, 100), max_size=60), limit=st.integers(1, 120))
def test_portions_hold_every_file_once_in_order_and_keep_to_the_limit(sizes: list[int], limit: int) -> None:
    files = [LocalFile(Path(f"{number}"), f"{number}", size) for number, size in enumerate(sizes)]
    cut = list(batches(files, limit))
    assert [file for batch in cut for file in batch] == files
    for batch in cut:
        assert len(batch) == 1 or sum(file.size for file in batch) <= limit
        assert len(batch) <= 200
