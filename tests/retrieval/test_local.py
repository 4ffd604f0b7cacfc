"""Retrieval as a library: a folder that remembers, says what it could not read, and belongs to one process."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from keepstone.platform.database.tables import DocumentState
from keepstone.platform.errors import Conflict, InvalidInput, ModelMissing
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.local import Retrieval, open_retrieval

_LAMP = ("lamp.md", b"# Lamp\n\nThe lamp lasts 900 hours.")
_FUSE = ("fuse.md", b"# Fuse\n\nThe fuse is rated at 3 ampere.")


def found(retrieval: Retrieval, query: str) -> list[str]:
    return [hit.document_name for hit in retrieval.search(query).hits]


def test_what_was_added_is_found_and_remembered(tmp_path: Path) -> None:
    """The five lines of the module's docstring, and once more after the process ended."""
    (tmp_path / "lamp.md").write_bytes(_LAMP[1])
    with open_retrieval(tmp_path / "notes", encoder=HashEncoder()) as notes:
        [info] = notes.add_files([tmp_path / "lamp.md"])
        assert info.state == DocumentState.READY
        assert notes.search("How long does the lamp last?").hits[0].text == "# Lamp\n\nThe lamp lasts 900 hours."
    with open_retrieval(tmp_path / "notes", encoder=HashEncoder()) as notes:
        assert len(found(notes, "lamp")) == 1


def test_a_file_that_cannot_be_read_spoils_no_other(tmp_path: Path) -> None:
    with open_retrieval(tmp_path, encoder=HashEncoder()) as notes:
        bad, good = notes.add([("bad.pdf", b"%PDF-1.4 broken"), _LAMP])
        assert (bad.state, good.state) == (DocumentState.FAILED, DocumentState.READY)
        assert bad.error
        with pytest.raises(InvalidInput):
            notes.add([("..", b"x")])


def test_collections_are_searched_alone_or_together(tmp_path: Path) -> None:
    with open_retrieval(tmp_path, encoder=HashEncoder()) as notes:
        notes.add([_LAMP], collection="lamps")
        notes.add([_FUSE], collection="fuses")
        assert set(found(notes, "the lamp and the fuse")) == {"lamp.md", "fuse.md"}
        only = notes.search("the lamp and the fuse", collections=["fuses"]).hits
        assert [hit.document_name for hit in only] == ["fuse.md"]


def test_what_a_process_left_waiting_is_read_with_the_next_file(tmp_path: Path) -> None:
    """A process may die after a file was stored and before it was read."""
    with open_retrieval(tmp_path, encoder=HashEncoder()) as notes:
        notes.library.create_collection(notes.principal, "default")
        notes.library.add_document(notes.principal, "default", _LAMP[0], io.BytesIO(_LAMP[1]))
    with open_retrieval(tmp_path, encoder=HashEncoder()) as notes:
        assert found(notes, "lamp") == []
        notes.add([_FUSE])
        assert found(notes, "lamp")[0] == "lamp.md"


def test_a_deleted_document_is_not_found(tmp_path: Path) -> None:
    with open_retrieval(tmp_path, encoder=HashEncoder()) as notes:
        [info, _] = notes.add([_LAMP, _FUSE])
        notes.library.delete_document(notes.principal, info.id)
        assert found(notes, "lamp") == ["fuse.md"]
        assert notes.indexes.verify(info.collection_id).ok


def test_a_folder_belongs_to_one_process(tmp_path: Path) -> None:
    with open_retrieval(tmp_path, encoder=HashEncoder()), pytest.raises(Conflict), open_retrieval(tmp_path):
        pass


def test_an_encoder_that_is_not_there_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing) as missing, open_retrieval(tmp_path):
        pass
    assert "keepstone models pull all-minilm-l6-v2" in str(missing.value.fix)
