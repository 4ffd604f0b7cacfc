"""The page "Search": what it finds and shows, for whom, and what becomes of passages that are marked as relevant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import gradio as gr
import pytest

from keepstone.platform.access import Principal
from keepstone.training.relevance import Judgement, Relevant
from keepstone.ui.runtime import Runtime
from keepstone.ui.web.components import EVERYWHERE
from keepstone.ui.web.search import SearchPage
from keepstone.ui.web.search_view import EXCERPT_CHARS, excerpt, searched_terms
from tests.stack import admin, ingest, open_stack, someone
from tests.ui.web.conftest import COLLECTION, FILES, event

ASKED = "How long does the warranty last?"
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """Return a runtime with documents that nobody else's test changes or judges."""
    with open_stack(tmp_path_factory.mktemp("home")) as runtime:
        hostile = {f"{HOSTILE}.md": f"# {HOSTILE}\n\nThe lamp is green. {HOSTILE} <script>alert(2)</script>".encode()}
        ingest(runtime, admin(runtime), COLLECTION, FILES | hostile)
        yield runtime


@pytest.fixture
def page(runtime: Runtime) -> Iterator[SearchPage]:
    page = SearchPage(runtime)
    with gr.Blocks():
        page.render()
    yield page
    runtime.judgements.clear(admin(runtime), COLLECTION)


def asking(page: SearchPage, query: str, collection: str = EVERYWHERE, **options: Any) -> dict[Any, Any]:
    """Return what the components hold when somebody asks."""
    return {page.query: query, page.collection: collection} | {getattr(page, name): options[name] for name in options}


def buttons(shown: str, name: str) -> list[dict[str, str]]:
    """Return the data that the buttons of an event bring."""
    found = re.findall(rf'<button[^>]*data-event="{name}"[^>]*>', shown)
    return [{key: unescape(value) for key, value in re.findall(r'data-(\w+)="([^"]*)"', each)} for each in found]


def pressed(shown: str) -> int:
    return shown.count('aria-pressed="true"')


def test_passages_come_best_first_with_their_scores_and_open_in_the_reader(
    page: SearchPage, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    shown = page.on_search(asking(page, ASKED), asks(ann))
    first = shown.split("</li>")[0]
    for expected in (
        "Warranty.md",
        "Duration",
        '<mark class="passage">warranty</mark>',
        "Why here?",
        "BM25",
        "place 1",
    ):
        assert expected in first
    cited = buttons(shown, "cite")[0]
    assert cited["number"] == "1"
    assert {"document", "start", "end", "sha"} <= cited.keys()
    assert len(buttons(page.on_search(asking(page, ASKED, k=5), asks(ann)), "cite")) <= 5


def test_options_change_the_search_and_what_the_page_does_not_offer_is_refused_or_passed_over(
    page: SearchPage, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    words = page.on_option(asking(page, ASKED, weight="Words alone", reranker="The encoder's cosines"), asks(ann))
    assert "meaning 0%, words 100%" in words
    assert "reranked by" in words
    assert "meaning 50%" in page.on_option(asking(page, ASKED, weight="x", k=[10**9]), asks(ann))
    with pytest.raises(gr.Error, match="keepstone models"):
        page.on_option(asking(page, ASKED, reranker="unheard-of"), asks(ann))
    assert page.on_option(asking(page, " "), asks(ann)) == gr.skip()
    with pytest.raises(gr.Error, match="nothing to look for"):
        page.on_search(asking(page, " \n"), asks(ann))


def test_relevant_passages_become_judgements_and_are_taken_back(
    page: SearchPage, runtime: Runtime, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    """The question is the one that the passages were found for, whatever stands in the box by now."""
    first, second, *_ = buttons(page.on_search(asking(page, f"  {ASKED}"), asks(ann)), "mark")
    shown = page.on_mark(asking(page, "typed since"), asks(ann), event(**first))
    assert pressed(shown) == 1
    shown = page.on_mark(asking(page, ""), asks(ann), event(**second))
    assert pressed(shown) == 2
    [judged] = runtime.judgements.list(ann, COLLECTION)
    assert judged.question == ASKED
    assert judged.relevant[0].document == "Warranty.md"
    assert "two years" in judged.relevant[0].text
    report = runtime.evaluator.evaluate(ann, COLLECTION)
    assert (report.source, report.questions, dict(report.left_out)) == ("judged", 1, {})
    again = page.on_search(asking(page, ASKED), asks(ann))
    assert pressed(again) == 2
    assert pressed(page.on_search(asking(page, "Is water covered?"), asks(ann))) == 0
    for each in [each for each in buttons(again, "mark") if each["relevant"] == "no"]:
        shown = page.on_mark(asking(page, ASKED), asks(ann), event(**each))
    assert pressed(shown) == 0
    assert runtime.judgements.list(ann, COLLECTION) == []


def test_taking_back_a_whole_document_is_asked_about_first(
    page: SearchPage, runtime: Runtime, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    given = Judgement(question=ASKED, relevant=(Relevant(document="Warranty.md"), Relevant(document="Leave.md")))
    runtime.judgements.put(ann, COLLECTION, [given])
    marked = [each for each in buttons(page.on_search(asking(page, ASKED), asks(ann)), "mark") if "confirm" in each]
    assert "All of “Warranty.md”" in marked[0]["confirm"]
    page.on_mark(asking(page, ASKED), asks(ann), event(**marked[0]))
    assert runtime.judgements.relevant(ann, COLLECTION, ASKED) == given.relevant[1:]


def test_who_may_not_judge_reads_without_buttons_and_strangers_find_nothing(
    page: SearchPage, runtime: Runtime, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    mark = buttons(page.on_search(asking(page, ASKED), asks(ann)), "mark")[0]
    collection = runtime.library.collection(ann, COLLECTION).id
    rita, key = someone(runtime, "rita"), Principal(ann.id, ann.name, ann.is_admin, frozenset({"read"}))
    runtime.library.grant(ann, COLLECTION, "rita", "writer")
    for principal in (rita, key):
        shown = page.on_search(asking(page, ASKED, collection), asks(principal))
        assert "Warranty.md" in shown
        assert 'data-event="mark"' not in shown
        with pytest.raises(gr.Error):
            page.on_mark(asking(page, ASKED), asks(principal), event(**mark))
    stranger, unreading = someone(runtime, "mallory"), someone(runtime, "wilma", "write")
    assert "Nothing was found" in page.on_search(asking(page, ASKED), asks(stranger))
    assert [name for name, _ in page.on_open(collection, asks(stranger))[0]["choices"]] == ["All collections"]
    for principal in (stranger, unreading, None):
        with pytest.raises(gr.Error):
            page.on_search(asking(page, ASKED, collection), asks(principal))
        with pytest.raises(gr.Error):
            page.on_mark(asking(page, ASKED), asks(principal), event(**mark))
    assert runtime.judgements.list(ann, COLLECTION) == []


@pytest.mark.parametrize("chunk", ["0", "-1", "99999999999999999999", "987654321", "x"])
def test_passages_that_are_not_there_cannot_be_marked(
    page: SearchPage, ann: Principal, asks: Callable[..., gr.Request], chunk: str
) -> None:
    with pytest.raises(gr.Error):
        page.on_mark(asking(page, ASKED), asks(ann), event(chunk=chunk, query=ASKED, relevant="yes"))


def test_nothing_is_judged_without_a_question(
    page: SearchPage, runtime: Runtime, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    mark = buttons(page.on_search(asking(page, ASKED), asks(ann)), "mark")[0]
    with pytest.raises(gr.Error, match="nothing to look for"):
        page.on_mark(asking(page, ASKED), asks(ann), event(**mark | {"query": " "}))
    assert runtime.judgements.list(ann, COLLECTION) == []


def test_names_passages_and_questions_are_only_text(
    page: SearchPage, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    shown = page.on_search(asking(page, f'Is the lamp green? "{HOSTILE}'), asks(ann))
    assert "&lt;" in shown
    assert not re.search(r"<(?:img|script)", shown)


def test_an_excerpt_shows_the_words_that_were_looked_for() -> None:
    long = "Nothing of it. " * 80 + "Filters are changed each May, see AF-200. " + "Nor here. " * 80
    shown = excerpt(long, searched_terms("changing the filter af-200"))
    assert {"Filters", "changed", "AF", "200"} == set(re.findall(r"<mark[^>]*>([^<]*)</mark>", shown))
    assert shown.startswith("…")
    assert shown.endswith("…")
    assert len(re.sub(r"<[^>]*>", "", shown)) <= EXCERPT_CHARS + 2
    assert "员工每年有二十天<mark" in excerpt("员工每年有二十天年假。", searched_terms("年假有几天"))
    assert excerpt("# A **plain** one", searched_terms("of it")) == "A plain one"


def test_no_passage_keeps_the_page_busy() -> None:
    """As one whose every letter is looked for would, if matches were counted anew for each."""
    terms = searched_terms("a1 年 x " + "".join(chr(0x4E00 + n) for n in range(8_000)))
    for text in ("a1 " * 200_000, "年" * 600_000, "x" * 600_000):
        assert len(excerpt(text, terms)) < 100 * EXCERPT_CHARS
