"""Reports say what a person wants to know, and nothing in them runs or is loaded."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from keepstone.training.improve import plots
from keepstone.training.improve.record import Improvement
from keepstone.training.improve.report import as_html, as_markdown, difference_plot, loss_plot
from tests.training.improve.records import HOSTILE, finished

FINITE = st.floats(-1e6, 1e6)


def test_both_forms_say_the_same() -> None:
    """What came of it, from what, by how much, and how to go back."""
    record = finished()
    for report in (as_markdown(record), as_html(record)):
        for said in (
            "promoted, mini",
            "30 to learn from, 8 held out",
            "250 to learn from, 60 held out",
            "passage not found again",
            "from 1.5000 to 0.4000 in 40 steps",
            "+0.050",
            "+0.010 to +0.090",
            "1.41 times",
            "keepstone models rollback --collection col_1",
            "Verdict: Promote",
        ):
            assert said in report, said


def test_a_candidate_that_waits_or_was_refused_is_told_as_such() -> None:
    """With the command that promotes it, or the word that nothing changed."""
    record = finished()
    [made] = record.candidates
    assert made.judgement
    waits = made.model_copy(update={"promoted": False})
    assert "keepstone models promote mini-tuned@4567 --collection col_1" in as_markdown(
        record.model_copy(update={"candidates": (waits,)})
    )
    refused = waits.model_copy(update={"judgement": made.judgement.model_copy(update={"outcome": "refuse"})})
    page = as_html(record.model_copy(update={"candidates": (refused,)}))
    assert "stays as it was" in page
    assert "models promote" not in page


def test_half_an_improvement_has_a_report_too() -> None:
    """One that failed before it had a dataset says why."""
    record = finished(card=None, dataset=None, candidates=(), error="Too small. Add documents")
    for report in (as_markdown(record), as_html(record)):
        assert "broken off: Too small. Add documents." in report
    assert "cancelled" in as_markdown(record.model_copy(update={"cancelled": True}))


def test_names_and_errors_are_only_text() -> None:
    """A collection may have any name; neither form lets it mean anything."""
    record = finished(name=HOSTILE, error=HOSTILE)
    page, markdown = as_html(record), as_markdown(record)
    assert "<script" not in page.lower()
    assert "http://b" not in re.sub(r"[^>]*http://b[^<]*", "", page)
    rendered = MarkdownIt("gfm-like", {"linkify": False}).render(markdown)
    assert not re.search(r"<(script|a|img|strong|h1>d)", rendered)
    assert len(re.findall("<h1>", rendered)) == 1


def test_the_page_loads_and_runs_nothing() -> None:
    """It may be mailed and opened anywhere."""
    page = as_html(finished())
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|link|img|iframe|object)|\bon\w+=|url\(|@import", page)
    addresses = set(re.findall(r"https?://[^\"' <]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}


def test_plots_are_well_formed_and_speak() -> None:
    """They have words for those who cannot see them."""
    [made] = finished().candidates
    for svg in (loss_plot(made), difference_plot(made)):
        root = ElementTree.fromstring(svg)  # our own output
        assert root.get("aria-label")
    assert "tokens per second" not in difference_plot(made)


@pytest.mark.parametrize("points", [[], [(1.0, 2.0)], [(1.0, float("nan")), (2.0, 1.0)]])
def test_no_curve_without_two_points(points: list[tuple[float, float]]) -> None:
    assert plots.curve(points, x="step", y="loss") == ""


@given(st.lists(FINITE, min_size=2, max_size=40), st.lists(st.tuples(FINITE, FINITE, FINITE), min_size=1, max_size=5))
@example([2.9e-179, 2.9e-179], [(0.0, 0.0, 0.0)])
@example([1e6, 1e6 + 1e-9], [(5e-324, 5e-324, 5e-324)])
def test_any_numbers_can_be_drawn(losses: list[float], bars: list[tuple[float, float, float]]) -> None:
    """Flat, huge, tiny or negative: the picture is well-formed, and all of it inside."""
    drawn = [
        plots.curve([(float(step), loss) for step, loss in enumerate(losses)], x="step", y="loss"),
        plots.intervals([plots.Bar("x", value, low, high) for low, value, high in map(sorted, bars)]),
    ]
    for svg in drawn:
        root = ElementTree.fromstring(svg)
        assert len(root) < 100
        for place in re.findall(r'(?:x|y|cx|cy|x1|x2|y1|y2)="(-?[\d.]+)"', svg):
            assert -1 <= float(place) <= 700


def test_a_record_survives_writing() -> None:
    """What is read is what was written, to the last digit."""
    record = finished(name=HOSTILE)
    assert Improvement.model_validate_json(record.model_dump_json()) == record
