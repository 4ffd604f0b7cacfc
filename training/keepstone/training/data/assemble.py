"""The last step of a build: near-duplicate questions out, what changed meanwhile out, then files and card."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.platform.database.tables import ChunkRow
from keepstone.platform.errors import InvalidInput
from keepstone.retrieval.embeddings import batched
from keepstone.training.data.corpus import Corpus
from keepstone.training.data.duplicates import QUESTIONS, NearDuplicates
from keepstone.training.data.questions import Found, UnitResult
from keepstone.training.data.rows import ChatRow, PreferenceRow, RetrievalRow, Side, to_lines
from keepstone.training.data.store import DataFile, as_json

MIN_ROWS: Mapping[Side, int] = {"train": 20, "test": 5}
"""So many questions are needed on each side."""
_SIDES: tuple[Side, ...] = ("train", "test")
_IDS_PER_STATEMENT = 5000


@dataclass(slots=True)
class Assembled:
    """The rows of a dataset."""

    retrieval: dict[Side, list[RetrievalRow]] = field(default_factory=lambda: {"train": [], "test": []})
    chat: dict[Side, list[ChatRow]] = field(default_factory=lambda: {"train": [], "test": []})
    preferences: list[PreferenceRow] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    def files(self, corpus: Corpus) -> dict[str, bytes]:
        """Return the files of the dataset by their names."""
        documents = b"".join(
            as_json({"document": sha256, "name": name, "side": side}) for sha256, name, side in corpus.documents
        )
        return {
            **{f"retrieval/{side}.jsonl": to_lines(self.retrieval[side]) for side in _SIDES},
            **{f"chat/{side}.jsonl": to_lines(self.chat[side]) for side in _SIDES},
            "preferences/train.jsonl": to_lines(self.preferences),
            "documents.jsonl": documents,
        }


def assemble(results: Sequence[UnitResult], alive: set[int]) -> Assembled:
    """Put the results of all units together.

    Args:
        results: feedback first, since of two questions that are alike the earlier is kept.
        alive: the chunks that are still there; rows that show any other are dropped.
    """
    made = Assembled()
    questions = NearDuplicates(QUESTIONS)
    seen: set[str] = set()
    for result in results:
        made.dropped.update(result.dropped)
        for found in result.found:
            if not alive.issuperset(found.chunks):
                made.dropped["changed_meanwhile"] += 1
            elif found.retrieval is not None and questions.add(found.retrieval.question):
                made.dropped["near_duplicate_question"] += 1
                _take(made, found, seen, question=False)
            else:
                _take(made, found, seen, question=True)
    return made


def _take(made: Assembled, found: Found, seen: set[str], *, question: bool) -> None:
    """Add rows; of a question that is there already only the preference, which is about answers, not questions."""
    if question and found.retrieval is not None:
        made.retrieval[found.side].append(found.retrieval)
    if question and found.chat is not None and found.chat.id not in seen:
        seen.add(found.chat.id)
        made.chat[found.side].append(found.chat)
    if found.preference is not None and found.preference.id not in seen:
        seen.add(found.preference.id)
        made.preferences.append(found.preference)


def require_enough(made: Assembled, corpus: Corpus) -> None:
    """Raise `InvalidInput` where too few questions are left to train and to test with."""
    for side in _SIDES:
        count, least = len(made.retrieval[side]), MIN_ROWS[side]
        if count < least:
            doing = "learn from" if side == "train" else "test with"
            why = max(made.dropped, key=lambda reason: made.dropped[reason], default=None)
            most = f"; most others were dropped as {why.replace('_', ' ')}" if why else ""
            raise InvalidInput(
                f"The collection {corpus.collection!r} gives too few good questions to {doing}: {count}, "
                f"and {least} are needed{most}",
                fix="Add documents, or raise the number of passages to ask about: `keepstone data build --passages`",
            )


def chunks_alive(session: Session, results: Iterable[UnitResult]) -> set[int]:
    """Return which of the chunks that the rows show are still in the collection; ids are never used twice."""
    wanted = sorted({chunk for result in results for found in result.found for chunk in found.chunks})
    alive: set[int] = set()
    for some in batched(wanted, _IDS_PER_STATEMENT):
        alive.update(session.scalars(sa.select(ChunkRow.id).where(ChunkRow.id.in_(some))))
    return alive


def listed(files: Mapping[str, bytes]) -> dict[str, DataFile]:
    """Return the hash and number of rows of each file."""
    return {
        name: DataFile(sha256=hashlib.sha256(content).hexdigest(), rows=content.count(b"\n"))
        for name, content in sorted(files.items())
    }
