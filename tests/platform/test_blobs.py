"""Blobs: the bytes that went in come out, once each, or nothing was stored; on a folder and through fsspec."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.platform.blobs import BlobStore
from keepstone.platform.errors import InvalidInput, LimitExceeded, NotFound, SettingsError, StorageFull

MEBIBYTE = 1 << 20


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of an empty store of each kind."""
    if request.param == "folder":
        yield (tmp_path / "blobs with space").as_uri()
        return
    yield f"memory://{tmp_path.name}"
    fsspec.filesystem("memory").store.clear()


def stored_files(url: str) -> list[str]:
    files, root = fsspec.core.url_to_fs(unquote(url))
    return [str(path).rpartition("/")[2] for path in files.find(root)] if files.exists(root) else []


@pytest.mark.contract
class TestEveryStore:
    """What holds for a folder holds for every other store."""

    @pytest.mark.parametrize("data", [b"", b"x", os.urandom(3 * MEBIBYTE + 7)], ids=len)
    def test_what_goes_in_comes_out(self, url: str, data: bytes) -> None:
        store = BlobStore(url)
        blob = store.put(io.BytesIO(data), max_bytes=4 * MEBIBYTE)
        assert (blob.sha256, blob.size) == (hashlib.sha256(data).hexdigest(), len(data))
        with store.open(blob.sha256) as file:
            assert file.read() == data
        with store.local_path(blob.sha256) as path:
            assert path.read_bytes() == data
        assert store.exists(blob.sha256)
        assert store.verify(blob.sha256)

    def test_the_same_bytes_are_kept_once(self, url: str) -> None:
        store = BlobStore(url)
        first = store.put(io.BytesIO(b"same"), max_bytes=10)
        assert store.put(io.BytesIO(b"same"), max_bytes=10) == first
        assert stored_files(url) == [first.sha256]
        assert list(store.iterate()) == [first.sha256]

    def test_too_large_is_refused_and_leaves_nothing(self, url: str) -> None:
        store = BlobStore(url)
        assert store.put(io.BytesIO(b"x" * 10), max_bytes=10).size == 10
        before = stored_files(url)
        with pytest.raises(LimitExceeded, match="larger") as caught:
            store.put(io.BytesIO(b"x" * 11), max_bytes=10)
        assert caught.value.fix
        assert stored_files(url) == before

    def test_a_stream_that_breaks_leaves_nothing(self, url: str) -> None:
        class Broken(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                data = super().read(size)
                if not data:
                    raise ConnectionError("the client went away")
                return data

        with pytest.raises(ConnectionError):
            BlobStore(url).put(Broken(b"half"), max_bytes=100)
        assert stored_files(url) == []

    def test_a_deleted_blob_is_gone(self, url: str) -> None:
        store = BlobStore(url)
        sha256 = store.put(io.BytesIO(b"x"), max_bytes=10).sha256
        store.delete(sha256)
        store.delete(sha256)
        assert not store.exists(sha256)
        assert list(store.iterate()) == []
        with pytest.raises(NotFound, match="missing"):
            store.open(sha256)
        with pytest.raises(NotFound), store.local_path(sha256):
            pass
        with pytest.raises(NotFound):
            store.verify(sha256)

    def test_many_are_deleted_together(self, url: str) -> None:
        """Those that are not there do not keep the others."""
        store = BlobStore(url)
        names = [store.put(io.BytesIO(b"%d" % number), max_bytes=10).sha256 for number in range(5)]
        store.delete()
        store.delete("0" * 64, *names[:2], "f" * 64, names[2])
        assert set(store.iterate()) == set(names[3:])

    def test_what_was_received_and_not_kept_leaves_nothing(self, url: str) -> None:
        store = BlobStore(url)
        with store.receive(io.BytesIO(b"x"), max_bytes=10) as incoming:
            assert not store.exists(incoming.blob.sha256)
        assert stored_files(url) == []
        with store.receive(io.BytesIO(b"x"), max_bytes=10) as incoming:
            incoming.keep()
            assert store.exists(incoming.blob.sha256)
        assert stored_files(url) == [incoming.blob.sha256]

    def test_damage_is_seen_and_mended_by_storing_again(self, url: str) -> None:
        store = BlobStore(url)
        sha256 = store.put(io.BytesIO(b"good"), max_bytes=10).sha256
        files, root = fsspec.core.url_to_fs(unquote(url))
        files.pipe_file(f"{root}/{sha256[:2]}/{sha256}", b"evil")
        assert not store.verify(sha256)
        store.put(io.BytesIO(b"good"), max_bytes=10)
        assert store.verify(sha256)

    @pytest.mark.parametrize(
        "key", ["", "../../etc/passwd", "a" * 63, "A" * 64, "a" * 64 + "\n", "a" * 63 + "/", "\x00" * 64]
    )
    def test_only_hashes_are_names(self, url: str, key: str) -> None:
        store = BlobStore(url)
        for method in (store.open, store.exists, store.delete, store.verify, store.local_path):
            with pytest.raises(InvalidInput):
                method(key)


@given(st.text(max_size=80))
def test_no_other_text_is_a_name(key: str) -> None:
    """A name reaches the file system only when it is 64 hexadecimal digits."""
    store = BlobStore("memory://names")
    if len(key) == 64 and set(key) <= set("0123456789abcdef"):
        return
    with pytest.raises(InvalidInput):
        store.open(key)


def test_many_writers_of_the_same_bytes(tmp_path: Path) -> None:
    """Two people who upload the same file at once do not disturb each other."""
    store = BlobStore(str(tmp_path))
    data = os.urandom(MEBIBYTE)
    with ThreadPoolExecutor(8) as pool:
        blobs = set(pool.map(lambda _: store.put(io.BytesIO(data), max_bytes=MEBIBYTE), range(16)))
    assert len(blobs) == 1
    assert store.verify(blobs.pop().sha256)
    assert list((tmp_path / "incoming").iterdir()) == []


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems tell only when the data are flushed that there is no room."""

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = BlobStore(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageFull, match="storing a file"):
            store.put(io.BytesIO(b"x"), max_bytes=10)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert store.put(io.BytesIO(b"x"), max_bytes=10).size == 1


def test_a_really_full_disk(tmp_path: Path) -> None:
    """The same on a file system of 1 MiB, where that can be mounted."""
    code = f"""
        import io, os
        from pathlib import Path
        from keepstone.platform.blobs import BlobStore
        from keepstone.platform.errors import StorageFull
        store = BlobStore({str(tmp_path)!r})
        kept = store.put(io.BytesIO(os.urandom(300_000)), max_bytes=1 << 30)
        try:
            store.put(io.BytesIO(os.urandom(3_000_000)), max_bytes=1 << 30)
        except StorageFull:
            assert [p.name for p in Path({str(tmp_path)!r}).rglob("*") if p.is_file()] == [kept.sha256]
            assert store.verify(kept.sha256)
            store.put(io.BytesIO(os.urandom(300_000)), max_bytes=1 << 30)
            print("refused")
    """
    mount = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=1m none "$1" && exec "$2" -c "$3"', "sh"]
    command = [*mount, str(tmp_path), sys.executable, textwrap.dedent(code)]
    try:
        result = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if "mount:" in result.stderr or "unshare:" in result.stderr:
        pytest.skip("file systems cannot be mounted here")
    assert result.stdout == "refused\n", result.stderr


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """Half-written files go at the next start; those being written stay."""
    BlobStore(str(tmp_path))
    abandoned, young = tmp_path / "incoming" / "abandoned", tmp_path / "incoming" / "young"
    for path in (abandoned, young):
        path.write_bytes(b"half")
    os.utime(abandoned, (time.time() - 60, time.time() - 60))

    class Slow(io.BytesIO):
        """A second process starts while this one is being stored, a minute after it began."""

        def read(self, size: int | None = -1) -> bytes:
            for path in (tmp_path / "incoming").iterdir():
                if path != young:
                    os.utime(path, (time.time() - 60, time.time() - 60))
            BlobStore(str(tmp_path))
            return super().read(size)

    blob = BlobStore(str(tmp_path)).put(Slow(b"slow"), max_bytes=10)
    assert not abandoned.exists()
    assert young.exists()
    assert BlobStore(str(tmp_path)).verify(blob.sha256)


def test_damage_on_the_way_from_a_remote_store_is_refused() -> None:
    """A loader never reads other bytes than those that were stored."""
    store = BlobStore("memory://damaged")
    sha256 = store.put(io.BytesIO(b"good"), max_bytes=10).sha256
    fsspec.filesystem("memory").pipe_file(f"/damaged/{sha256[:2]}/{sha256}", b"evil")
    with pytest.raises(Exception, match="damaged"), store.local_path(sha256):
        pass


def test_an_unknown_store_names_the_fix() -> None:
    """A URL whose package is missing is a wrong setting, not a crash."""
    with pytest.raises(SettingsError, match=r"blobs\.url") as caught:
        BlobStore("nosuch://bucket/x")
    assert caught.value.fix


def test_free_space_of_a_folder_is_known(tmp_path: Path) -> None:
    """`keepstone doctor` warns before the disk is full."""
    free = BlobStore(str(tmp_path)).free_bytes()
    assert free is not None
    assert free > 0
    assert BlobStore("memory://free").free_bytes() is None


def test_blobs_are_private(tmp_path: Path) -> None:
    """Other users of the machine cannot read what was uploaded."""
    store = BlobStore(str(tmp_path))
    with store.local_path(store.put(io.BytesIO(b"x"), max_bytes=10).sha256) as path:
        assert path.stat().st_mode & 0o077 == 0
