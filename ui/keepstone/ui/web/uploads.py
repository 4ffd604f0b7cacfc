"""Files from the upload component into the library. The temporary copies are removed at once, whatever happens."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from keepstone.platform.access import Principal
from keepstone.platform.errors import InvalidInput, KeepstoneError, StorageFull, storage_errors
from keepstone.retrieval.adding import AddedDocument
from keepstone.retrieval.library import Library
from keepstone.retrieval.names import refuse_repeated
from keepstone.ui.web.documents_view import UploadedFile

ABANDONED_AFTER_S: Final = 3600
"""Age at which a temporary file that nobody came back for is removed."""


@dataclass(slots=True)
class Added:
    """What came of one upload."""

    document_ids: list[str] = field(default_factory=list)
    """Documents that wait to be ingested."""
    files: list[UploadedFile] = field(default_factory=list)

    def note(self, name: str, result: AddedDocument | KeepstoneError) -> None:
        """Note what the library did with a file."""
        if isinstance(result, KeepstoneError):
            self.files.append(UploadedFile(name, str(result), failed=True))
            return
        message = ""
        if result.outcome == "unchanged":
            message = "it is here already, unchanged"
        elif result.outcome == "duplicate":
            message = f"the same file is here already as “{result.document.name}”"
        else:
            self.document_ids.append(result.document.id)
        self.files.append(UploadedFile(name, message, failed=False))


def prepare_folder(home: Path) -> Path:
    """Make the folder for uploads that are under way, empty, and return it.

    Gradio reads its place from the environment.
    """
    folder = home / "uploads"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    return folder


def add_uploads(library: Library, principal: Principal, collection: str, uploads: Sequence[Any], folder: Path) -> Added:
    """Add uploaded files to a collection, each on its own: one that cannot be added does not hold up the others.

    Args:
        library: where they go.
        principal: who uploaded them.
        collection: name or id.
        uploads: what Gradio's upload component sends: objects with `path` and `orig_name`.
        folder: where the temporary files are; a path elsewhere is refused.
    """
    added = Added()
    taken: set[str] = set()
    for upload in uploads:
        name = str(upload.get("orig_name") or "") if isinstance(upload, dict) else ""
        try:
            path = _temporary_file(upload, folder)
        except InvalidInput as error:
            added.files.append(UploadedFile(name or "File", str(error), failed=True))
            continue
        try:
            refuse_repeated(name or path.name, taken)
            with storage_errors("storing an upload"), path.open("rb") as stream:
                results = library.hand_in(principal, collection, [(name or path.name, stream)])
            for each, result in results:
                if isinstance(result, StorageFull):
                    raise result
                added.note(each, result)
        except StorageFull:
            raise
        except KeepstoneError as error:
            added.files.append(UploadedFile(name or path.name, str(error), failed=True))
        finally:
            shutil.rmtree(path.parent, ignore_errors=True)
    return added


def _temporary_file(upload: Any, folder: Path) -> Path:
    """Return the path of an uploaded file; the browser names it, so it must lie in a folder of its own in `folder`."""
    named = upload.get("path") if isinstance(upload, dict) else None
    path = Path(str(named or ""))
    fine = path.is_absolute() and not path.is_symlink() and path.is_file()
    if not fine or path.resolve().parent.parent != folder.resolve():
        raise InvalidInput("The upload is no longer there", fix="Choose the file again")
    return path.resolve()
