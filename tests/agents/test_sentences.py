"""Sentences are the units of quoting and checking: they must be cut alike everywhere and lose no text."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.agents.sentences import plain, sentence_spans


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One day. Two days!", ["One day.", "Two days!"]),
        ("It costs 3.50 euro. Fine.", ["It costs 3.50 euro.", "Fine."]),
        ("Use tools, e.g. a key. Stop.", ["Use tools, e.g. a key.", "Stop."]),
        ("第一台 860 元。第二台 420 元！", ["第一台 860 元。", "第二台 420 元！"]),
        ("A line that\ngoes on. Next.\n\nLast", ["A line that\ngoes on.", "Next.", "Last"]),
        ("# Head\nBody text\n- item\n  goes on", ["# Head", "Body text", "- item\n  goes on"]),
        ("- first\n- second", ["- first", "- second"]),
        ("1. Open it.\n2. Close it.", ["1. Open it.", "2. Close it."]),
        ("| Code | Fix |\n|---|---|\n| E14 | Clean. Press Zero. |", ["| Code | Fix |", "| E14 | Clean. Press Zero. |"]),
        ("", []),
    ],
)
def test_cuts_where_a_reader_would(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


@given(st.text(alphabet=st.sampled_from('ab1 .!?。\n|-"”'), max_size=80))
def test_spans_ascend_and_lose_nothing_but_rules_and_white_space(text: str) -> None:
    spans = sentence_spans(text)
    assert all(start < end for start, end in spans)
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(spans))
    kept = "".join(cut(text))
    lost = [line for line in text.splitlines() if line.strip() and set(line) <= set(" |:+-")]
    for letter in "ab1":
        assert kept.count(letter) == text.count(letter), lost


@pytest.mark.parametrize(
    ("sentence", "spoken"),
    [
        ("| E14 | Below zero | Clean the pan. |", "E14: Below zero; Clean the pan."),
        ("- **Always** wear `gloves`.", "Always wear gloves."),
        ("3. Press Zero.", "Press Zero."),
        ("plain", "plain"),
    ],
)
def test_plain_reads_as_prose(sentence: str, spoken: str) -> None:
    assert plain(sentence) == spoken


@pytest.mark.parametrize("text", ["A. " * 50_000, "." * 150_000 + "x"])
def test_many_full_stops_take_no_longer_than_other_text(text: str) -> None:
    """With the square of their number, this would take minutes, in which the app answers nobody."""
    assert sentence_spans(text) == [(0, len(text.rstrip()))]
