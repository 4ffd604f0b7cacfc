"""Judgements: what a line may say, where they are kept, and for whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keepstone.platform.errors import Forbidden, InvalidInput, NotFound
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


def test_they_go_with_their_collection(runtime: Runtime) -> None:
    me = admin(runtime)
    runtime.library.create_collection(me, "passing")
    runtime.judgements.put(me, "passing", [_LAMP])
    runtime.library.delete_collection(me, "passing")
    runtime.library.create_collection(me, "passing")
    assert runtime.judgements.list(me, "passing") == []


def test_only_who_owns_the_collection_sees_them(runtime: Runtime) -> None:
    """Questions of people may be among what an evaluation shows."""
    stranger = someone(runtime, "stranger")
    with pytest.raises(NotFound):
        runtime.judgements.list(stranger, "docs")
    runtime.library.grant(admin(runtime), "docs", "stranger", "writer")
    for action in (
        lambda: runtime.judgements.list(stranger, "docs"),
        lambda: runtime.judgements.put(stranger, "docs", [_LAMP]),
        lambda: runtime.evaluator.evaluate(stranger, "docs", judgements=[_LAMP]),
        lambda: runtime.tuning.submit(stranger, "docs"),
    ):
        with pytest.raises(Forbidden):
            action()
