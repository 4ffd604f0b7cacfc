"""The datasets of a home folder: `datasets/<name>-<8 hex digits>/` with `card.json` and the files that it lists.

The digits are the beginning of the card's sha256, and the card holds the hashes of all files; so the name stands for
the content, and a dataset that is built twice is one. `built.json` says when and by which job, outside the card.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from keepstone.platform.database.tables import utc_now
from keepstone.platform.errors import InvalidInput, NotFound, did_you_mean, storage_errors
from keepstone.retrieval.indexes.files import fsync_path, write_atomically
from keepstone.training.data.config import DatasetConfig, QuestionSource
from keepstone.training.data.rows import ChatRow, PreferenceRow, RetrievalRow, Side, read_rows

CARD = "card.json"
BUILT = "built.json"
_FOLDER = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?-[0-9a-f]{8}")


class DataFile(BaseModel):
    """One file of a dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    rows: int


class DatasetCard(BaseModel):
    """What a dataset is and what it was made from. Nothing in it depends on the clock."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    version: Literal[1] = 1
    """Of this format."""
    name: str
    collection_id: str
    collection: str
    """The collection's name then."""
    change_sequence: int
    """How far the collection's changes were."""
    encoder: str
    model: str
    model_version: str
    question_source: QuestionSource
    """`written` by the model above, or taken from the documents' own `sentences`."""
    prompts: tuple[str, ...]
    """Versions of the prompts in use."""
    settings: DatasetConfig
    seed: int
    documents: dict[Side, int]
    """How many documents stand on each side of the split."""
    passages: int
    """How many passages were looked at."""
    kinds: dict[str, int]
    """How many questions of each kind there are."""
    dropped: dict[str, int]
    """Why candidates were left out, and how often."""
    files: dict[str, DataFile]


class Built(BaseModel):
    """When a dataset was last built, and by which job."""

    job: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset on this machine."""

    id: str
    """Name and hash, which is also the folder's name."""
    folder: Path
    card: DatasetCard
    card_sha256: str
    built: Built | None

    def retrieval(self, side: Side) -> Iterator[RetrievalRow]:
        """Yield questions with their passages."""
        return read_rows(self.folder / "retrieval" / f"{side}.jsonl", RetrievalRow)

    def chat(self, side: Side) -> Iterator[ChatRow]:
        """Yield whole exchanges."""
        return read_rows(self.folder / "chat" / f"{side}.jsonl", ChatRow)

    def preferences(self) -> Iterator[PreferenceRow]:
        """Yield pairs of answers, for training only."""
        return read_rows(self.folder / "preferences" / "train.jsonl", PreferenceRow)

    def documents(self, side: Side) -> Iterator[str]:
        """Yield the sha256 of each document on one side of the split."""
        with (self.folder / "documents.jsonl").open(encoding="utf-8") as file:
            for line in file:
                document = json.loads(line)
                if document["side"] == side:
                    yield document["document"]

    def verify(self) -> None:
        """Hash the card and its files again.

        Raises:
            InvalidInput: one was changed or is gone.
        """
        if not self.id.endswith(f"-{self.card_sha256[:8]}"):
            raise InvalidInput(
                f"The card of the dataset {self.id} is not as it was built",
                fix="Build it again: `keepstone data build`",
            )
        for name, listed in self.card.files.items():
            path = self.folder / name
            if not path.is_file() or _sha256_of(path) != listed.sha256:
                raise InvalidInput(
                    f"{name} of the dataset {self.id} is not as it was built",
                    fix="Build it again: `keepstone data build`",
                )


class Datasets:
    """The datasets in a folder.

    Args:
        folder: `datasets` in the home folder; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list(self) -> list[Dataset]:
        """Return all datasets, the newest first; folders that hold none are passed over."""
        names = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
        found = [each for name in names if (each := _read(self.folder / name)) is not None]
        return sorted(found, key=lambda each: (each.built.at.timestamp() if each.built else 0.0, each.id), reverse=True)

    def get(self, reference: str) -> Dataset:
        """Return the dataset of that id, or the newest of that name.

        Raises:
            NotFound: there is none.
        """
        if _FOLDER.fullmatch(reference) and (exact := _read(self.folder / reference)) is not None:
            return exact
        every = self.list()
        for each in every:
            if each.card.name == reference:
                return each
        names = sorted({each.card.name for each in every})
        fix = did_you_mean(reference, names) if names else "Build one: `keepstone data build --collection NAME`"
        raise NotFound(f"No dataset {reference!r}", fix=fix)

    def add(self, name: str, files: Mapping[str, bytes], card: DatasetCard, job: str) -> Dataset:
        """Store a dataset; the same one again only gets a new date.

        Raises:
            StorageFull: no room; nothing is left of it.
        """
        content = (card.model_dump_json(indent=2) + "\n").encode()
        sha256 = hashlib.sha256(content).hexdigest()
        target = self.folder / f"{name}-{sha256[:8]}"
        if _read(target) is None:
            # What a deletion that was cut short left.
            shutil.rmtree(target, ignore_errors=True)
            staging = self.folder / f".new-{secrets.token_hex(6)}"
            try:
                with storage_errors(f"writing the dataset {name}"):
                    _write_all(staging, {**files, CARD: content})
                    staging.replace(target)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
            fsync_path(self.folder)
        built = Built(job=job, at=utc_now())
        write_atomically(target / BUILT, built.model_dump_json().encode())
        return Dataset(target.name, target, card, sha256, built)

    def remove(self, dataset: Dataset) -> None:
        """Delete a dataset's files."""
        # The card first: what is left of a deletion that was cut short must not look like a dataset.
        (dataset.folder / CARD).unlink(missing_ok=True)
        shutil.rmtree(dataset.folder, ignore_errors=True)


def open_dataset(folder: Path) -> Dataset:
    """Return the dataset in a folder, found to be as it was built.

    Raises:
        InvalidInput: there is none, or a file was changed or is gone.
    """
    dataset = _read(folder)
    if dataset is None:
        raise InvalidInput(f"There is no dataset in {folder}", fix="Build one: `keepstone data build`")
    dataset.verify()
    return dataset


def as_json(value: Any) -> bytes:
    """Return a value as one line of JSON, the same for the same value."""
    return (json.dumps(value, ensure_ascii=False, sort_keys=True) + "\n").encode("utf-8", "replace")


def _read(folder: Path) -> Dataset | None:
    if not _FOLDER.fullmatch(folder.name):
        return None
    try:
        content = (folder / CARD).read_bytes()
        card = DatasetCard.model_validate_json(content)
    except (OSError, ValidationError):
        return None
    return Dataset(folder.name, folder, card, hashlib.sha256(content).hexdigest(), _built(folder))


def _built(folder: Path) -> Built | None:
    try:
        return Built.model_validate_json((folder / BUILT).read_bytes())
    except (OSError, ValidationError):
        return None


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    for inner in sorted({(folder / name).parent for name in files}):
        fsync_path(inner)


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
