"""An answer on the page: citations lead to their passages, doubtful sentences are marked, and nothing is left out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from keepstone.agents.conversations import ConversationInfo
from keepstone.agents.types import Claim
from keepstone.platform.errors import EngineUnavailable
from keepstone.ui.web.answers import UNSUPPORTED, AnswerView, Source, render_answer, render_text
from keepstone.ui.web.provenance import provenance_rows, render_provenance
from keepstone.ui.web.thread import (
    render_conversations,
    render_failed,
    render_turns,
    render_waiting,
    render_welcome,
)
from keepstone.ui.web.turns import Turn, as_history

SOURCES = (
    Source(1, "doc_1", "Warranty.md", "a" * 64, 10, 90, 2, "Warranty\nWarranty > Duration", "The warranty lasts."),
    Source(2, "doc_2", "<img src=x onerror=1>.md", "b" * 64, 0, 20, None, "", "Other <b>text</b>"),
    Source(3, "doc_3", "Unused.md", "c" * 64, 0, 20),
)
CONTENT = "Two years [1]. By the way [2]. Dolphins wrote it."
CLAIMS = (
    Claim(0, 9, 1, 0.9, quote_start=14, quote_end=30),
    Claim(CONTENT.index("Dolphins"), len(CONTENT), None, 0.0),
)
RECORD = {
    "versions": {"model": "smollm2", "encoder": "minilm/1", "prompt": "answer/1"},
    "evidence": {"strength": 0.71234, "threshold": 0.3},
    "passages": [{"number": 1}],
    "claims": [],
    "tokens": {"prompt": 812, "completion": None},
    "timings_ms": {"total": 4123.4, "stages": {"encode": 1.25}},
    "something_new": {"flag": True, "names": ["a", "b"]},
}


def view(**changes: object) -> AnswerView:
    given = {"content": CONTENT, "outcome": "answered", "id": "ans_1", "sources": SOURCES, "claims": CLAIMS}
    return AnswerView(**given | changes)  # type: ignore[arg-type]


def test_citations_carry_what_the_reader_needs_to_find_the_quote() -> None:
    html = render_answer(view())
    assert (
        'data-event="cite" title="Warranty.md, page 2" aria-label="Source 1: Warranty.md, page 2" '
        f'data-document="doc_1" data-start="10" data-end="90" data-sha="{"a" * 64}" '
        'data-quote-start="14" data-quote-end="30" data-number="1">1</button>'
    ) in html


def test_each_mark_leads_to_the_quote_of_its_own_claim() -> None:
    content = "One [1]. Two [1]."
    claims = (Claim(0, 3, 1, 1.0, quote_start=10, quote_end=20), Claim(9, 12, 1, 1.0, quote_start=30, quote_end=40))
    html = render_text(view(content=content, claims=claims))
    assert html.index('data-quote-start="10"') < html.index('data-quote-start="30"')


def test_sources_lists_only_what_is_cited_with_names_escaped() -> None:
    html = render_answer(view())
    assert "Unused.md" not in html
    assert "&lt;img src=x onerror=1&gt;.md" in html
    assert "<img" not in html
    assert "Other &lt;b&gt;text&lt;/b&gt;" in html
    assert "Page 2 · Duration" in html


def test_sentences_without_a_passage_are_marked_and_explained() -> None:
    html = render_answer(view())
    assert f'<span class="unsupported" title="{UNSUPPORTED}">Dolphins wrote it.</span>' in html
    assert "not backed by a passage" in html
    assert "not backed by a passage" not in render_answer(view(claims=CLAIMS[:1]))


def test_nothing_is_marked_while_the_answer_is_written() -> None:
    html = render_text(view(outcome=None, id=None))
    assert "unsupported" not in html
    assert 'class="cite"' in html


def test_a_declined_answer_says_so_and_shows_the_closest_passages() -> None:
    html = render_answer(view(content="I could not find this.", outcome="declined", claims=()))
    assert "Not in the documents" in html
    assert "judged too weak" in html
    assert "Unused.md" in html


def test_stopped_and_failed_answers_say_so() -> None:
    assert "Stopped before it was finished" in render_answer(view(outcome="stopped"))
    assert "broke off" in render_answer(view(outcome="failed"))


def test_a_bad_rating_can_be_explained_and_taken_back() -> None:
    html = render_answer(view(rating=-1))
    assert 'aria-label="Bad answer" aria-pressed="true" title="Bad answer" data-answer="ans_1" data-rating="0"' in html
    assert '<form class="comment" data-event="comment" data-answer="ans_1">' in html
    assert "<form" not in render_answer(view(rating=1))
    assert "data-rating" not in render_answer(view(id=None))


def test_provenance_names_what_made_the_answer_in_words() -> None:
    assert provenance_rows(RECORD) == [
        ("Language model", "smollm2"),
        ("Encoder", "minilm/1"),
        ("Prompt version", "answer/1"),
        ("Evidence", "0.712"),
        ("Evidence needed", "0.3"),
        ("Tokens read", "812"),
        ("Time in all", "4,123 ms"),
        ("Stages of the search", "encode 1.25 ms"),
        ("Something new, flag", "yes"),
        ("Something new, names", "a, b"),
    ]
    assert "&lt;b&gt;" in render_provenance({"versions": {"model": "<b>"}})


def test_questions_are_shown_as_text() -> None:
    html = render_turns([Turn("<b>x</b>\n**y**", view())])
    assert '<div class="question" dir="auto">&lt;b&gt;x&lt;/b&gt;\n**y**</div>' in html
    assert "&lt;i&gt;" in render_waiting("<i>", "Searching…")


def test_an_unanswered_question_can_be_asked_again() -> None:
    html = render_turns([Turn('Say "hi"')])
    assert "was not answered" in html
    assert 'data-event="example" data-question="Say &quot;hi&quot;"' in html
    assert as_history([Turn("a"), Turn("b", view())]) == as_history([Turn("b", view())])


def test_an_error_names_its_fix() -> None:
    html = render_failed("q", EngineUnavailable("The model <is> away", fix="Run `keepstone status`"))
    assert "The model &lt;is&gt; away" in html
    assert "<code>keepstone status</code>" in html
    assert 'role="alert"' in html


def test_the_welcome_leads_to_documents_where_there_are_none() -> None:
    assert 'href="#documents"' in render_welcome([], collection=None, documents=0)
    html = render_welcome(["What <is> it?"], collection="A&B", documents=1)
    assert "1 document in A&amp;B" in html
    assert 'data-question="What &lt;is&gt; it?"' in html


def test_conversations_are_grouped_by_age_and_the_open_one_is_marked() -> None:
    now = datetime(2026, 5, 10, 12, tzinfo=UTC)
    listed = [ConversationInfo(f"cnv_{days}", None, f"<{days}>", now - timedelta(days=days)) for days in (0, 1, 3, 30)]
    html = render_conversations(listed, "cnv_1", now)
    assert [html.index(f"<h3>{age}</h3>") for age in ("Today", "Yesterday", "This week", "Earlier")] == sorted(
        html.index(f"<h3>{age}</h3>") for age in ("Today", "Yesterday", "This week", "Earlier")
    )
    assert html.count('aria-current="true"') == 1
    assert "&lt;30&gt;" in html
    assert "data-confirm=" in html
    assert "will be listed here" in render_conversations([], None, now)
