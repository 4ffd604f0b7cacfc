"""Archives are opened where they are handed in; nothing that points out of them, and no bomb, comes through."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keepstone.platform.errors import KeepstoneError, LimitExceeded, UnreadableDocument
from keepstone.retrieval.archives import ArchiveLimits, opened
from tests.retrieval.loaders.samples import word_file, zip_of
from tests.stack import admin, ingest, open_stack

_FILES = {"a.txt": b"First.", "sub/b.md": b"# Second", "sub/deep/c.txt": b"Third."}


def tar_of(files: dict[str, bytes], *, special: list[tarfile.TarInfo] | None = None, mode: str = "w") -> bytes:
    """Return a tar of files, and of entries that are none."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in special or ():
            archive.addfile(info)
    return stream.getvalue()


def read(data: bytes, name: str = "x.zip", **limits: int) -> dict[str, bytes | KeepstoneError]:
    """Return each member's bytes, or its error, as whoever stores them meets them."""
    found: dict[str, bytes | KeepstoneError] = {}
    for member, stream in opened([(name, io.BytesIO(data))], ArchiveLimits(**limits)):
        assert member not in found
        if isinstance(stream, KeepstoneError):
            found[member] = stream
            continue
        parts: list[bytes] = []
        try:
            while part := stream.read(1 << 20):
                parts.append(part)
            found[member] = b"".join(parts)
        except KeepstoneError as error:
            found[member] = error
    return found


_PACKERS: list[tuple[str, Callable[[dict[str, bytes]], bytes]]] = [
    ("x.zip", zip_of),
    ("x.tar", tar_of),
    ("x.tar.gz", lambda files: tar_of(files, mode="w:gz")),
]


@pytest.mark.parametrize(("name", "pack"), _PACKERS)
def test_members_come_under_the_name_of_their_archive(name: str, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    clutter = {".DS_Store": b"x", "__MACOSX/._a.txt": b"x", "sub/.hidden/x.txt": b"x"}
    assert read(pack(_FILES | clutter), name) == {f"{name}/{member}": data for member, data in _FILES.items()}


@pytest.mark.parametrize(
    "data",
    [
        word_file(),
        zip_of({"mimetype": b"application/epub+zip", "a.xhtml": b"x"}),
        zip_of({"META-INF/MANIFEST.MF": b"x", "a.class": b"x"}),
        b"PK\x03\x04 and then nothing",
        gzip.compress(b"one file that is packed"),
        b"\x1f\x8b\x08 and then nothing",
        b"plain text",
        b"",
    ],
)
def test_what_is_no_archive_passes_through_as_it_is(data: bytes) -> None:
    assert read(data, "a.zip") == {"a.zip": data}


@pytest.mark.parametrize("name", ["/etc/passwd", "../../etc/passwd", "a/../../b", "C:\\x.txt", "..\\..\\x.txt", "\\x"])
@pytest.mark.parametrize(("archive", "pack"), _PACKERS)
def test_names_that_point_out_of_the_archive_are_refused(
    archive: str, pack: Callable[[dict[str, bytes]], bytes], name: str
) -> None:
    *bad, good = read(pack({name: b"evil", "good.txt": b"fine"}), archive).values()
    assert isinstance(bad[0], UnreadableDocument)
    assert "points out of the archive" in bad[0].message
    assert good == b"fine"


def test_links_devices_and_holes_are_refused() -> None:
    special = []
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
        info = tarfile.TarInfo(f"special-{kind.decode()}")
        info.type, info.linkname = kind, "/etc/passwd"
        special.append(info)
    found = read(tar_of({"good.txt": b"fine"}, special=special), "x.tar")
    assert found.pop("x.tar/good.txt") == b"fine"
    assert len(found) == 5
    assert all(isinstance(each, UnreadableDocument) and "link or a device" in each.message for each in found.values())
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert isinstance(read(stream.getvalue())["x.zip/link"], UnreadableDocument)


def test_a_tar_with_a_hole_of_a_terabyte_is_refused() -> None:
    info = tarfile.TarInfo("hole")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:398], header[483:495] = b"00000000000\x00", b"77777777777\x00"
    header[148:156] = b" " * 8
    header[148:155] = f"{sum(header):06o}\x00".encode()
    assert isinstance(read(bytes(header) + bytes(1024), "x.tar")["x.tar/hole"], UnreadableDocument)


def test_an_archive_in_an_archive_stays_closed() -> None:
    inner = zip_of(_FILES)
    assert read(zip_of({"inner.zip": inner})) == {"x.zip/inner.zip": inner}


def test_names_are_shown_without_control_characters_and_in_their_own_encoding() -> None:
    found = read(tar_of({"a\x1b[31m\n.txt": b"x"}), "x.tar")
    assert list(found) == ["x.tar/a[31m.txt"]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("NAME.txt", b"x")
    legacy = "清洗过滤器.txt".encode("gbk")
    placeholder = b"N" * (len(legacy) - 4) + b".txt"
    packed = zip_of({placeholder.decode(): b"x"}).replace(placeholder, legacy)
    assert list(read(packed)) == ["x.zip/清洗过滤器.txt"]
    assert isinstance(read(zip_of({"x" * 300: b"y"}))[f"x.zip/{'x' * 249}"], KeepstoneError)


def test_a_damaged_member_fails_alone() -> None:
    packed = zip_of({"a.txt": b"First " * 50, "b.txt": b"Second"}, zipfile.ZIP_STORED)
    found = read(packed.replace(b"First First", b"Worst First", 1))
    assert isinstance(found["x.zip/a.txt"], UnreadableDocument)
    assert found["x.zip/b.txt"] == b"Second"
    encrypted = bytearray(zip_of({"a.txt": b"First"}))
    encrypted[encrypted.rindex(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in str(read(bytes(encrypted))["x.zip/a.txt"])
    assert "unusual" in str(read(zip_of({"a.txt": b"First"}, zipfile.ZIP_BZIP2))["x.zip/a.txt"])


@pytest.mark.parametrize(("name", "pack"), _PACKERS)
def test_the_number_of_members_is_bounded(name: str, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    found = read(pack({f"{number}.txt": b"x" for number in range(30)}), name, max_files=20)
    assert isinstance(found[name], LimitExceeded)
    assert len(found) <= 21


@pytest.mark.parametrize(("name", "pack"), _PACKERS)
def test_the_size_of_all_members_is_bounded(name: str, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    files = {f"{number}.txt": bytes(2 << 20) for number in range(10)}
    found = list(read(pack(files), name, max_bytes=5 << 20).values())
    assert isinstance(found[-1], LimitExceeded)
    assert sum(isinstance(each, bytes) for each in found) == 2


def test_bombs_are_stopped_by_their_ratio() -> None:
    """A hundred megabytes of zeros in a hundred kilobytes, and a tar of nothing but a member that is passed over."""
    for name, data in (("x.zip", zip_of({"a": bytes(100 << 20)})), ("x.tar.gz", tar_of({"a": bytes(100 << 20)}))):
        found = read(gzip.compress(data) if name.endswith("gz") else data, name)
        assert isinstance(found[f"{name}/a"], LimitExceeded)
    hidden = gzip.compress(tar_of({".hidden": bytes(30 << 20), "b": b"x"}))
    assert isinstance(read(hidden, "x.tar.gz", max_bytes=1 << 20, max_files=10)["x.tar.gz"], LimitExceeded)


def test_a_list_of_contents_without_end_is_not_read() -> None:
    many = zip_of({f"{number:06}.txt": b"" for number in range(60_000)}, zipfile.ZIP_STORED)
    assert isinstance(read(many)["x.zip"], LimitExceeded)


def test_an_extended_header_of_gigabytes_is_not_read() -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1 << 32
    packed = gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(8 << 20))
    assert isinstance(read(packed, "x.tar.gz")["x.tar.gz"], LimitExceeded)


def test_empty_archives_say_so() -> None:
    for data in (zip_of({}), zip_of({"folder/": b""}), tar_of({".hidden": b"x"})):
        assert "without files" in str(read(data)["x.zip"])


@given(data=st.data())
@settings(max_examples=150)
@example(data=None)
def test_damaged_archives_end_cleanly(data: st.DataObject | None) -> None:
    for name, pack in _PACKERS:
        original = pack(_FILES)
        changed = bytearray(original)
        if data is not None:
            cuts = data.draw(st.lists(st.tuples(st.integers(0, len(original) - 1), st.binary(max_size=6)), max_size=8))
            for at, new in cuts:
                changed[at : at + len(new)] = new
            if data.draw(st.booleans()):
                del changed[data.draw(st.integers(0, len(changed))) :]
        for each in opened([(name, io.BytesIO(bytes(changed)))], ArchiveLimits()):
            stream = each[1]
            try:
                if isinstance(stream, KeepstoneError):
                    raise stream
                stream.read(1 << 20)
            except (UnreadableDocument, LimitExceeded) as error:
                assert error.fix  # noqa: PT017 - either outcome is right


def test_members_become_documents_and_one_fault_is_that_members_alone(tmp_path: Path) -> None:
    with open_stack(tmp_path / "home", ingestion={"max_file_mb": 1}) as runtime:
        me = admin(runtime)
        ingest(runtime, me, "docs", {"loose.txt": b"Loose."})
        packed = zip_of(_FILES | {"../x": b"evil", "big.txt": b"x" * (2 << 20), "copy.txt": b"Loose."})
        added = runtime.library.hand_in(me, "docs", [("one.txt", io.BytesIO(b"One.")), ("x.zip", io.BytesIO(packed))])
        outcomes = {name: getattr(each, "outcome", None) or getattr(each, "code", None) for name, each in added}
        assert outcomes == {
            "one.txt": "queued",
            "x.zip/a.txt": "queued",
            "x.zip/sub/b.md": "queued",
            "x.zip/sub/deep/c.txt": "queued",
            "x.zip/../x": "unreadable_document",
            "x.zip/big.txt": "limit_exceeded",
            "x.zip/copy.txt": "duplicate",
        }
        again = runtime.library.hand_in(me, "docs", [("x.zip", io.BytesIO(zip_of(_FILES)))])
        assert {getattr(each, "outcome", None) for _, each in again} == {"unchanged"}
