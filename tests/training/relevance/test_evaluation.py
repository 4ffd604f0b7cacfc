"""An evaluation asks what can still be answered, counts what cannot, and hears what people thought of answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keepstone.platform.database.tables import AnswerRow, DocumentRow, FeedbackRow
from keepstone.platform.errors import InvalidInput
from keepstone.training.relevance import Judgement, read_judgements
from keepstone.ui.runtime import Runtime
from tests.stack import admin, ingest, open_stack

_FILES = {
    "lamp.md": b"# Lamp\n\nThe lamp lasts\n900 hours.",
    "fuse.md": b"# Fuse\n\nThe fuse is rated at 3 ampere.",
    "pump.md": b"# Pump\n\nThe pump must be oiled each year.",
}
_GIVEN = read_judgements(
    [
        '{"question": "How long does the lamp last?", "relevant": ["lamp.md"]}',
        '{"question": "What is the fuse rated at?", "relevant": [{"document": "fuse.md", "text": "rated  at 3"}]}',
        '{"question": "Who painted it?", "relevant": ["gone.md"]}',
        '{"question": "When is the pump oiled?", "relevant": ["pump.md", {"document": "pump.md", "text": "never"}]}',
    ]
)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with open_stack(Path(tmp_path_factory.mktemp("home"))) as opened:
        for collection in ("docs", "liked"):
            ingest(opened, admin(opened), collection, _FILES)
        yield opened


def test_judgements_are_measured_and_what_is_gone_is_counted(runtime: Runtime) -> None:
    report = runtime.evaluator.evaluate(admin(runtime), "docs", k=3, judgements=_GIVEN)
    assert (report.collection, report.questions, report.documents) == ("docs", 3, 3)
    assert report.left_out == {
        "documents_not_in_the_collection": 1,
        "questions_without_anything_relevant": 1,
        "quotations_not_in_their_documents": 1,
    }
    assert {each.name: each.mean for each in report.figures} == {"ndcg@3": 1.0, "mrr@3": 1.0, "recall@3": 1.0}
    assert report.misses == ()
    assert (report.encoder, report.reranker, report.way.reranker) == (runtime.encoder.version, None, "off")


def test_what_is_not_found_is_shown(runtime: Runtime) -> None:
    wrong = read_judgements(['{"question": "How long does the lamp last?", "relevant": ["fuse.md"]}'])
    report = runtime.evaluator.evaluate(admin(runtime), "docs", k=1, judgements=wrong)
    assert report.misses == ("How long does the lamp last?",)
    assert report.figures[0].mean == 0.0


def test_without_judged_questions_the_fix_says_how_to_judge(runtime: Runtime) -> None:
    runtime.library.create_collection(admin(runtime), "unjudged")
    with pytest.raises(InvalidInput) as refused:
        runtime.evaluator.evaluate(admin(runtime), "unjudged")
    assert "--judgements" in str(refused.value.fix)


def liked(runtime: Runtime, number: int, document: DocumentRow, *, sha256: str | None = None, rating: int = 1) -> None:
    """Keep a thumb on an answer that cites a document."""
    me = admin(runtime)
    passage = {
        "number": 1,
        "chunk_id": 1,
        "document_id": document.id,
        "document_sha256": sha256 or document.sha256,
        "start": 0,
        "end": 5,
    }
    with runtime.database.transaction() as session:
        session.add(
            AnswerRow(
                id=f"ans_{number}",
                principal_id=me.id,
                collection_id=document.collection_id,
                question="?",
                standalone_question=f"What of {document.name}, {number}?",
                content="This. [1]",
                outcome="answered",
                record={"passages": [passage], "claims": [{"citation": 1}, {"citation": None}]},
            )
        )
        session.flush()
        session.add(FeedbackRow(answer_id=f"ans_{number}", principal_id=me.id, rating=rating))


def test_thumbs_are_judgements_where_their_documents_are_unchanged(runtime: Runtime) -> None:
    me = admin(runtime)
    with runtime.database.reading() as session:
        documents = {
            each.name: each
            for each in session.query(DocumentRow).filter_by(collection_id=runtime.library.collection(me, "liked").id)
        }
    liked(runtime, 1, documents["lamp.md"])
    liked(runtime, 2, documents["fuse.md"], sha256="0" * 64)
    liked(runtime, 3, documents["pump.md"], rating=-1)
    report = runtime.evaluator.evaluate(me, "liked")
    assert (report.questions, report.left_out) == (1, {"feedback_without_its_passages": 1})
    # What was written down about the same question counts instead.
    question = "What of lamp.md, 1?"
    runtime.judgements.put(me, "liked", [Judgement.model_validate({"question": question, "relevant": ["pump.md"]})])
    asked = runtime.evaluator.questions(me, "liked").questions
    assert [(each.text, each.document) for each in asked] == [(question, documents["pump.md"].id)]
    runtime.judgements.clear(me, "liked")
