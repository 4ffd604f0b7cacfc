"""The corpus of a dataset: the passages of a collection as they are when the build begins, and their sides.

It is kept in the build's own folder, so that every unit of the job, before and after a kill, works from the same.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.platform.database import Database
from keepstone.platform.database.tables import ChangeRow, ChunkRow, DocumentRow, DocumentState
from keepstone.platform.errors import InvalidInput
from keepstone.retrieval.indexes.files import write_atomically
from keepstone.retrieval.types import Hit
from keepstone.training.data.config import DatasetConfig
from keepstone.training.data.duplicates import DOCUMENTS, PASSAGES, NearDuplicates
from keepstone.training.data.rows import Side
from keepstone.training.data.split import choose_sides, join_documents, passages_of_both_sides

MIN_DOCUMENTS = 3
"""So many documents that are not near-duplicates are needed."""
# What a build looks at: more passages than this are sampled by document, and one document gives at most a part.
_MAX_PASSAGES = 50_000
_MAX_OF_ONE = 5_000
_SHORTEST = 40


@dataclass(frozen=True, slots=True)
class SourcePassage:
    """A passage that a dataset may use."""

    chunk_id: int
    document_id: str
    document: str
    """sha256 of the document's bytes."""
    name: str
    """Name of the document."""
    ordinal: int
    start: int
    end: int
    text: str
    context: str
    page: int | None
    language: str | None
    placement: str = ""
    """What a language model wrote of its place in the document."""
    side: Side = "train"
    group: int = 0
    """Equal for near-duplicates."""

    @property
    def indexed_text(self) -> str:
        """The passage as it is encoded."""
        return "\n".join(filter(None, (self.context, self.placement, self.text)))

    def hit(self, collection_id: str) -> Hit:
        """Return the passage as search would, without scores."""
        return Hit(
            chunk_id=self.chunk_id,
            document_id=self.document_id,
            document_name=self.name,
            document_sha256=self.document,
            collection_id=collection_id,
            text=self.text,
            start=self.start,
            end=self.end,
            page=self.page,
            context=self.context,
            score=0.0,
            dense_score=None,
            lexical_score=None,
        )


@dataclass(frozen=True, slots=True)
class Corpus:
    """What a dataset is made from."""

    collection_id: str
    collection: str
    change_sequence: int
    passages: tuple[SourcePassage, ...]
    """By document and place. Passages of test documents that stand in training documents, too, are left out."""
    asked: tuple[int, ...]
    """Places in `passages` of those that questions are made about, in this order; no two are near-duplicates."""
    documents: tuple[tuple[str, str, Side], ...]
    """sha256, name and side of each document."""

    @property
    def by_chunk(self) -> Mapping[int, SourcePassage]:
        """The passages by the ids of their chunks."""
        return {each.chunk_id: each for each in self.passages}

    def save(self, path: Path) -> None:
        """Write it to a file."""
        head = {name: getattr(self, name) for name in ("collection_id", "collection", "change_sequence", "asked")}
        lines = [{**head, "documents": self.documents}, *(asdict(each) for each in self.passages)]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_atomically(path, text.encode("utf-8", "surrogatepass"))

    @classmethod
    def load(cls, path: Path) -> Corpus:
        """Read what `save` wrote."""
        head, *rest = (json.loads(line) for line in path.read_bytes().decode("utf-8", "surrogatepass").split("\n")[:-1])
        documents = tuple((sha256, name, side) for sha256, name, side in head.pop("documents"))
        asked = tuple(head.pop("asked"))
        passages = tuple(SourcePassage(**each) for each in rest)
        return cls(**head, asked=asked, documents=documents, passages=passages)


def take_corpus(
    database: Database, collection_id: str, name: str, config: DatasetConfig, check: Callable[[], None]
) -> Corpus:
    """Read a collection and split it.

    Args:
        database: where it is.
        collection_id: which.
        name: its name.
        config: how many passages, which share for testing, and the seed.
        check: called now and then; raises to stop.

    Raises:
        InvalidInput: it is too small to learn from, or its documents are nearly all the same.
    """
    with database.reading() as session:
        newest = sa.select(sa.func.max(ChangeRow.seq)).where(ChangeRow.collection_id == collection_id)
        change_sequence = session.scalar(newest) or 0
        read = _read(session, collection_id, config.seed, check)
        documents = list({each.document_id: each for each in read}.values())
        if len(documents) < MIN_DOCUMENTS:
            raise InvalidInput(
                f"The collection {name!r} has too few documents to learn from ({len(documents)})",
                fix=f"Add some: at least {MIN_DOCUMENTS} are needed, a few dozen are better",
            )
        alike = _alike_documents(session, [each.document_id for each in documents], check)
    # Without their contexts: a footer is the same under every title.
    finder = NearDuplicates(PASSAGES)
    for each in read:
        check()
        finder.add(each.text)
    placed, sides = _split(read, finder.groups(), documents, alike, name=name, config=config)
    leaking = passages_of_both_sides([each.group for each in placed], [each.side for each in placed])
    kept = tuple(each for each in placed if each.side == "train" or each.group not in leaking)
    return Corpus(
        collection_id=collection_id,
        collection=name,
        change_sequence=change_sequence,
        passages=kept,
        asked=_choose(kept, config),
        documents=tuple((each.document, each.name, side) for each, side in zip(documents, sides, strict=True)),
    )


def _split(
    read: Sequence[SourcePassage],
    groups: Sequence[int],
    documents: Sequence[SourcePassage],
    alike: Sequence[int],
    *,
    name: str,
    config: DatasetConfig,
) -> tuple[list[SourcePassage], list[Side]]:
    """Return the passages with their sides and groups, and the side of each document.

    Args:
        read: all passages.
        groups: of near-duplicate passages.
        documents: a passage of each document.
        alike: groups of near-duplicate documents.
        name: of the collection.
        config: share for testing, and the seed.
    """
    of_document: defaultdict[str, list[int]] = defaultdict(list)
    for passage, group in zip(read, groups, strict=True):
        of_document[passage.document_id].append(group)
    held = {number: of_document[each.document_id] for number, each in enumerate(documents)}
    joined = join_documents(alike, held)
    if len(set(joined)) < MIN_DOCUMENTS:
        raise InvalidInput(
            f"The documents of {name!r} are nearly all the same: {len(documents)} documents have only "
            f"{len(set(joined))} different contents",
            fix=f"Add documents that differ; at least {MIN_DOCUMENTS} are needed",
        )
    sizes = [len(set(held[number])) for number in range(len(documents))]
    names = [f"{each.document} {each.name}" for each in documents]
    sides = choose_sides(names, sizes, joined, share=config.test_share, seed=config.seed)
    side_of = {each.document_id: side for each, side in zip(documents, sides, strict=True)}
    placed = [replace(each, side=side_of[each.document_id], group=g) for each, g in zip(read, groups, strict=True)]
    return placed, sides


def _read(session: Session, collection_id: str, seed: int, check: Callable[[], None]) -> list[SourcePassage]:
    """Return the passages of ready documents, by document and place; a sample of large collections."""
    query = sa.select(DocumentRow.id, DocumentRow.sha256, DocumentRow.name, DocumentRow.chunk_count).where(
        DocumentRow.collection_id == collection_id,
        DocumentRow.state == DocumentState.READY,
        DocumentRow.sha256.is_not(None),
        DocumentRow.chunk_count > 0,
    )
    rows = sorted(session.execute(query), key=lambda row: (_lot(seed, row.sha256, row.name), row.id))
    chosen, room = [], _MAX_PASSAGES
    for row in rows:
        if room <= 0:
            break
        chosen.append(row)
        room -= min(row.chunk_count, _MAX_OF_ONE)
    passages: list[SourcePassage] = []
    for row in sorted(chosen, key=lambda row: (row.sha256, row.name, row.id)):
        check()
        passages += _of_document(session, row)
    return passages


def _of_document(session: Session, document: Any) -> list[SourcePassage]:
    query = sa.select(
        ChunkRow.id, ChunkRow.ordinal, ChunkRow.start, ChunkRow.end, ChunkRow.text, ChunkRow.context,
        ChunkRow.placement, ChunkRow.page, ChunkRow.language,
    ).where(ChunkRow.document_id == document.id)  # fmt: skip
    found = session.execute(query.order_by(ChunkRow.ordinal).limit(_MAX_OF_ONE))
    return [
        SourcePassage(
            chunk_id=row.id,
            document_id=document.id,
            document=document.sha256,
            name=document.name,
            ordinal=row.ordinal,
            start=row.start,
            end=row.end,
            text=row.text,
            context=row.context,
            page=row.page,
            language=row.language,
            placement=row.placement,
        )
        for row in found
    ]


def _alike_documents(session: Session, ids: Sequence[str], check: Callable[[], None]) -> list[int]:
    """Return for each document the number of the first one that it is like, by their whole texts."""
    finder = NearDuplicates(DOCUMENTS)
    for document_id in ids:
        check()
        finder.add(session.scalar(sa.select(DocumentRow.text).where(DocumentRow.id == document_id)) or "")
    return finder.groups()


def _choose(passages: Sequence[SourcePassage], config: DatasetConfig) -> tuple[int, ...]:
    """Return the places of the passages to ask about: one of each group, both sides in the proportion of the split."""
    first: dict[int, int] = {}
    for place, each in enumerate(passages):
        if len(each.text.strip()) >= _SHORTEST:
            first.setdefault(each.group, place)
    lots = {place: _lot(config.seed, passages[place].document, str(passages[place].start)) for place in first.values()}
    drawn = sorted(lots, key=lambda place: (lots[place], place))
    test = [place for place in drawn if passages[place].side == "test"]
    train = [place for place in drawn if passages[place].side == "train"]
    for_test = min(len(test), max(1, round(config.passages * config.test_share)))
    return (*train[: max(1, config.passages - for_test)], *test[:for_test])


def _lot(seed: int, *parts: object) -> str:
    return hashlib.sha256("\0".join([str(seed), *map(str, parts)]).encode("utf-8", "replace")).hexdigest()
