"""Late chunking: every passage is read once, in a window of its document, wherever vectors are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from keepstone.platform.access import readable_scope
from keepstone.platform.database import Database
from keepstone.platform.database.tables import ChunkRow, CollectionRow, DocumentRow, EmbeddingRow, JobState
from keepstone.platform.errors import InvalidInput
from keepstone.platform.settings import ChunkingSettings
from keepstone.retrieval.chunking.way import open_way
from keepstone.retrieval.encoder import HashEncoder, Window
from keepstone.retrieval.late import embed_late
from keepstone.retrieval.recut import open_recut
from keepstone.retrieval.types import Document
from keepstone.ui.runtime import Runtime
from tests.retrieval.corpus import encoders_of
from tests.stack import WAIT_S, admin, ingest, open_stack

_CUT = ChunkingSettings(chunker="recursive", max_tokens=32, late=True)
_TEXT = "\n\n".join(f"Lamp {number} " + "lasts very long, and shines. " * 4 for number in range(30))


class Reading(HashEncoder):
    """Notes the windows that it reads."""

    def __init__(self, dimension: int = 64, max_tokens: int = 100) -> None:
        super().__init__(dimension)
        self.max_tokens = max_tokens
        self.windows: list[Window] = []

    def encode_windows(self, windows: Sequence[Window]) -> list[NDArray[np.float32]]:
        self.windows += windows
        return super().encode_windows(windows)


class Alone:
    """An encoder that reads no windows, like those behind URLs."""

    encode_windows = None

    def __init__(self) -> None:
        self._own = HashEncoder(32)
        self.version, self.dimension, self.languages, self.max_tokens = "alone", 32, frozenset[str](), 512
        self.encode_documents, self.encode_query = self._own.encode_documents, self._own.encode_query
        self.offsets, self.count_tokens = self._own.offsets, self._own.count_tokens


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('late') / 'empty.db'}")
    database.upgrade()
    yield database
    database.close()


@given(
    words=st.lists(st.sampled_from(["red", "fox.", "a", "lamp\n\n", "shines!", "狐狸"]), min_size=1, max_size=300),
    title=st.sampled_from(["", "About lamps"]),
    chunker=st.sampled_from(["recursive", "tokens", "structure", "parent-child"]),
    longest=st.integers(min_value=40, max_value=200),
)
def test_every_passage_lies_in_one_window_as_long_as_the_encoder_reads(
    empty: Database, words: list[str], title: str, chunker: str, longest: int
) -> None:
    encoder = Reading(max_tokens=longest)
    document = Document(" ".join(words), "text/plain", "test/1", title=title)
    settings = ChunkingSettings.model_validate(_CUT.model_dump() | {"chunker": chunker, "max_tokens": 32})
    chunks = open_way(settings, encoder, None).cut("doc", document, check=lambda: None)
    if not chunks:
        return
    found = list(embed_late(empty, encoder, document.text, chunks, check=lambda: None))
    read = [window.text[start:end] for window in encoder.windows for start, end in window.spans]
    assert read == [chunk.text for chunk in chunks]
    vectors = np.concatenate([each.vectors for each in found])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for window in encoder.windows:
        assert window.text in document.text
        assert encoder.count_tokens(window.head + window.text) <= longest
    if len(chunks) == 1:
        np.testing.assert_allclose(vectors, encoder.encode_documents([chunks[0].indexed_text]), atol=1e-5)
    elif encoder.count_tokens(f"{title} {document.text}") <= longest:
        assert len(encoder.windows) == 1


@pytest.fixture(scope="module")
def encoder() -> Reading:
    return Reading()


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory, encoder: Reading) -> Iterator[Runtime]:
    encoders = encoders_of(encoder, Reading(32), Alone())
    with open_stack(tmp_path_factory.mktemp("home"), encoder=encoders, chunking=_CUT.model_dump()) as opened:
        ingest(opened, admin(opened), "docs", {"lamps.txt": _TEXT.encode(), "short.txt": b"The fuse."})
        yield opened


def test_late_passages_are_indexed_found_and_cited_as_others(runtime: Runtime, encoder: Reading) -> None:
    with runtime.database.reading() as session:
        scope = readable_scope(session, admin(runtime))
        rows = session.execute(sa.select(ChunkRow, DocumentRow.text, DocumentRow.chunker).join(DocumentRow)).all()
    assert runtime.indexes.verify(scope.collection_ids[0]).ok
    assert runtime.searcher.search(scope, "Lamp 17 lasts very long").hits[0].text.startswith("Lamp 17")
    for chunk, text, chunker in rows:
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunker.endswith("late=True")
    # About twice the work of reading each passage alone, for windows that overlap.
    words = sum(encoder.count_tokens(window.head + window.text) for window in encoder.windows)
    assert words < 3 * encoder.count_tokens(_TEXT)


def test_what_was_read_is_not_read_again_whatever_reads_it(runtime: Runtime, encoder: Reading, tmp_path: Path) -> None:
    me, before = admin(runtime), len(encoder.windows)
    [job_id] = runtime.ingestion.rechunk(me, "docs", {})
    assert runtime.jobs.wait(job_id, WAIT_S).state == JobState.SUCCEEDED
    mine = runtime.library.collection(me, "docs").id
    with open_recut(tmp_path, runtime.database, mine, encoders=runtime.encoders, chunking=_CUT) as copy:
        assert copy.indexes.verify(mine).ok
    assert len(encoder.windows) == before


def test_another_encoder_reads_windows_of_its_own(runtime: Runtime, encoder: Reading) -> None:
    me = admin(runtime)
    mine = runtime.library.collection(me, "docs").id
    other = runtime.encoders.get("hash-32")
    runtime.reindexing.build(mine, other.version)
    assert isinstance(other, Reading)
    assert [window.text for window in other.windows] == [window.text for window in encoder.windows]
    runtime.reindexing.switch(mine, other.version)
    assert runtime.indexes.verify(mine).ok
    with runtime.database.reading() as session:
        keys = sa.select(EmbeddingRow.text_sha256).where(EmbeddingRow.encoder == other.version)
        assert set(session.scalars(keys)) == set(session.scalars(sa.select(ChunkRow.indexed_sha256)))
    runtime.reindexing.switch(mine, encoder.version)


def test_an_encoder_that_reads_no_windows_is_refused(runtime: Runtime) -> None:
    me = admin(runtime)
    mine = runtime.library.collection(me, "docs").id
    with pytest.raises(InvalidInput, match="no vectors of tokens"):
        runtime.reindexing.build(mine, "alone")
    runtime.reindexing.discard(mine, "alone")
    runtime.library.create_collection(me, "elsewhere")
    with runtime.database.transaction() as session:
        session.scalars(sa.select(CollectionRow).where(CollectionRow.name == "elsewhere")).one().encoder = "alone"
    with pytest.raises(InvalidInput, match="no vectors of tokens"):
        runtime.ingestion.rechunk(me, "elsewhere", {"late": True})
    with pytest.raises(InvalidInput, match="no vectors of tokens"):
        open_way(_CUT, Alone(), None)
