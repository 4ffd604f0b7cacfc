"""Damaged files of every format give a Document or an error a person can act on, never anything else."""

from __future__ import annotations

import io
import random
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from structlog.testing import capture_logs

from keepstone.platform.errors import KeepstoneError
from keepstone.retrieval.loaders import LoadLimits, LoadPool, load
from tests.retrieval.loaders import office_samples as samples
from tests.retrieval.loaders.mail_samples import mail_file, mailbox_file, outlook_file
from tests.retrieval.loaders.samples import HTML, MARKDOWN, lines, pdf_file, ruled_table, word_file

_FILES = 2000
# Of so many files, those of the first round are read once more, undamaged.
_CHECK_EVERY = 200
_TOKENS = [
    b"\x00",
    b"\xff",
    b"<",
    b">",
    b"/",
    b"PK\x03\x04",
    b"obj",
    b"stream",
    b"99999999999",
    b"-1",
    b"&#0;",
    b"%%EOF",
]


_CELLS = [{"cell_type": "code", "source": ["x"], "outputs": [{"text": "1"}]}]
_BASES: list[tuple[str, bytes]] = [
    ("a.pdf", pdf_file([lines(["A page of text.", "• item"]), lines(["Another."])], header="Head")),
    ("b.pdf", ruled_table()),
    ("c.docx", word_file()),
    ("d.html", HTML.encode()),
    ("e.md", MARKDOWN.encode()),
    ("f.csv", samples.CSV.encode() * 9),
    ("g.json", samples.JSON.encode()),
    ("h.jsonl", b'{"question": "Why?", "answer": "Because."}\n' * 9),
    ("i.ipynb", samples.notebook(_CELLS)),
    ("j.rst", samples.RST.encode()),
    ("k.xlsx", samples.workbook()),
    ("l.ods", samples.stored(samples.table_parts(samples.table_of(samples.PARTS * 3)))),
    ("m.odt", samples.stored(samples.text_parts("<text:h text:outline-level='1'>Title</text:h><text:p>text</text:p>"))),
    ("n.pptx", samples.presentation()),
    ("o.epub", samples.book()),
    ("p.eml", mail_file()),
    ("q.mbox", mailbox_file()),
    ("r.msg", outlook_file()),
    ("s.py", b"import os\n\n\ndef pump(litres: int) -> str:\n    return f'{litres} l'\n" * 9),
    ("t.txt", "第一章 总则\n\n1. NOTES\n\nText über Ärger.\f".encode()),
]


def _mutated(data: bytes, choice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(choice.randint(1, 12)):
        at = choice.randrange(len(changed) + 1)
        kind = choice.randrange(5)
        if kind == 0:
            changed[at : at + 1] = bytes([choice.randrange(256)])
        elif kind == 1:
            changed[at:at] = choice.choice(_TOKENS)
        elif kind == 2:
            del changed[at : at + choice.randint(1, 40)]
        elif kind == 3:
            changed[at:at] = changed[max(0, at - 30) : at] * choice.randint(1, 5)
        elif at > len(changed) // 2:
            del changed[at:]
    return bytes(changed)


def _damaged(data: bytes, choice: random.Random) -> bytes:
    """Damage a file; of a zip as often one part of it, which its checksums would otherwise hide from the reader."""
    if not data.startswith(b"PK") or choice.random() < 0.5:
        return _mutated(data, choice)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    damaged = choice.choice(sorted(parts))
    return samples.stored(parts | {damaged: _mutated(parts[damaged], choice)})


def test_damaged_files_end_cleanly(tmp_path: Path) -> None:
    """Two thousand of them, each a text or an error with its fix, and the sound ones between them read as ever."""
    whole = {name: load(data, name).text for name, data in _BASES}

    def read(number: int) -> bool:
        name, data = _BASES[number % len(_BASES)]
        path = tmp_path / str(number)
        path.write_bytes(_damaged(data, random.Random(number)))
        try:
            assert pool.load(path, name).text.strip()
        except KeepstoneError as error:
            assert error.fix, error  # noqa: PT017 - either outcome is right
            return False
        finally:
            if number % _CHECK_EVERY < len(_BASES):
                path.write_bytes(data)
                assert pool.load(path, name).text == whole[name], "a damaged file before this one changed its text"
            path.unlink()
        return True

    with (
        LoadPool(LoadLimits(timeout_s=60, memory_mb=1024), processes=2) as pool,
        capture_logs() as logs,
        ThreadPoolExecutor(max_workers=2) as threads,
    ):
        loaded = sum(threads.map(read, range(_FILES)))
    assert [entry for entry in logs if entry["event"].startswith("loader_")] == [], (
        "a loader met what it did not expect"
    )
    assert 500 < loaded < _FILES - 500, "the damage is too small or too great to test anything"
