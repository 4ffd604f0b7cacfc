"""Judgements: what a line may say, where they are kept, and for whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from keepstone.platform.access import Principal, readable_scope
from keepstone.platform.errors import Forbidden, InvalidInput, NotFound
from keepstone.retrieval.types import Hit
from keepstone.training.relevance import Judgement, Relevant, read_judgements
from keepstone.ui.runtime import Runtime
from tests.stack import admin, ingest, open_stack, someone

_LAMP = Judgement(question="How long does the lamp last?", relevant=(Relevant(document="lamp.md"),))


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with open_stack(Path(tmp_path_factory.mktemp("home"))) as opened:
        ingest(opened, admin(opened), "docs", {"lamp.md": b"The lamp lasts 900 hours."})
        yield opened


def test_lines_are_read_with_names_quotations_and_spans() -> None:
    lines = [
        '{"question": "a?", "relevant": ["x.pdf", {"document": "y.md", "text": "two years"}]}',
        "",
        '{"question": "b?", "relevant": [{"document": "z.md", "start": 3, "end": 9}]}',
    ]
    first, second = read_judgements(lines)
    assert first.relevant == (Relevant(document="x.pdf"), Relevant(document="y.md", text="two years"))
    assert second.relevant[0].end == 9


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        '{"question": "a?"}',
        '{"question": " ", "relevant": ["x"]}',
        '{"question": "a?", "relevant": []}',
        '{"question": "a?", "relevant": [{"document": "x", "start": 1}]}',
        '{"question": "a?", "relevant": [{"document": "x", "start": 5, "end": 5}]}',
        '{"question": "a?", "relevant": [{"document": "x", "text": "t", "start": 1, "end": 5}]}',
        '{"question": "a?", "relevant": ["x"], "unheard": "of"}',
        "[" * 100_000,
    ],
)
def test_a_line_that_is_no_judgement_is_named(line: str) -> None:
    with pytest.raises(InvalidInput, match="Line 2") as refused:
        read_judgements(['{"question": "a?", "relevant": ["x"]}', line])
    assert "question" in str(refused.value.fix)


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(InvalidInput):
        read_judgements(["", "  "])


def test_a_later_judgement_takes_the_place_of_the_one_on_the_same_question(runtime: Runtime) -> None:
    me = admin(runtime)
    other = Judgement(question="Other?", relevant=_LAMP.relevant)
    assert runtime.judgements.put(me, "docs", [_LAMP, other]) == 2
    changed = _LAMP.model_copy(update={"relevant": (Relevant(document="lamp.md", text="900 hours"),)})
    assert runtime.judgements.put(me, "docs", [changed]) == 2
    assert {each.question: each for each in runtime.judgements.list(me, "docs")}[_LAMP.question] == changed
    assert runtime.judgements.clear(me, "docs") == 2
    assert runtime.judgements.list(me, "docs") == []


def test_passages_are_marked_one_by_one_and_taken_back(runtime: Runtime) -> None:
    """A passage has one mark, however it was judged; the question goes with the last of them."""
    me, question = admin(runtime), "What does it cost?"
    passages = [_passage(runtime, me, each) for each in ("The lamp lasts 900 hours.", "The lamp costs 9 euros.")]
    for passage in (*passages, passages[0]):
        runtime.judgements.mark(me, question, passage, relevant=True)
    found = runtime.judgements.relevant(me, "docs", question)
    assert [each.text for each in found] == [each.text for each in passages]
    given = Judgement(question=question, relevant=(*found, Relevant(document="lamp.md", start=0, end=3)))
    runtime.judgements.put(me, "docs", [given])
    runtime.judgements.mark(me, question, passages[0], relevant=False)
    assert runtime.judgements.relevant(me, "docs", question) == (found[1],)
    runtime.judgements.mark(me, question, passages[0], relevant=False)
    runtime.judgements.mark(me, question, passages[1], relevant=False)
    assert runtime.judgements.list(me, "docs") == []


def test_what_a_judgement_names_covers_the_passages_that_hold_it(runtime: Runtime) -> None:
    passage = _passage(runtime, admin(runtime), "The lamp lasts 900 hours.")
    for relevant, covered in (
        (Relevant(document="lamp.md"), True),
        (Relevant(document=passage.document_id, text="lasts\n900  hours"), True),
        (Relevant(document="lamp.md", text=f"Before. {passage.text} After."), True),
        (Relevant(document="lamp.md", start=passage.end - 1, end=passage.end + 9), True),
        (Relevant(document="lamp.md", start=passage.end, end=passage.end + 9), False),
        (Relevant(document="lamp.md", text="two years"), False),
        (Relevant(document="other.md"), False),
    ):
        assert relevant.covers(passage) is covered, relevant


def _passage(runtime: Runtime, principal: Principal, text: str) -> Hit:
    """Return a passage of the lamp's document with another text, which stands at its beginning."""
    with runtime.database.reading() as session:
        scope = readable_scope(session, principal, ["docs"])
    found = runtime.searcher.search(scope, "lamp", k=1).hits[0]
    return replace(found, text=text, end=found.start + len(text))


def test_they_go_with_their_collection(runtime: Runtime) -> None:
    me = admin(runtime)
    runtime.library.create_collection(me, "passing")
    runtime.judgements.put(me, "passing", [_LAMP])
    runtime.library.delete_collection(me, "passing")
    runtime.library.create_collection(me, "passing")
    assert runtime.judgements.list(me, "passing") == []


def test_only_who_owns_the_collection_sees_them(runtime: Runtime) -> None:
    """Questions of people may be among what an evaluation shows."""
    stranger, passage = someone(runtime, "stranger"), _passage(runtime, admin(runtime), "The lamp.")
    with pytest.raises(NotFound):
        runtime.judgements.list(stranger, "docs")
    with pytest.raises(NotFound):
        runtime.judgements.mark(stranger, _LAMP.question, passage, relevant=True)
    runtime.library.grant(admin(runtime), "docs", "stranger", "writer")
    for action in (
        lambda: runtime.judgements.list(stranger, "docs"),
        lambda: runtime.judgements.put(stranger, "docs", [_LAMP]),
        lambda: runtime.judgements.relevant(stranger, "docs", _LAMP.question),
        lambda: runtime.judgements.mark(stranger, _LAMP.question, passage, relevant=True),
        lambda: runtime.evaluator.evaluate(stranger, "docs", judgements=[_LAMP]),
        lambda: runtime.tuning.submit(stranger, "docs"),
    ):
        with pytest.raises(Forbidden):
            action()
