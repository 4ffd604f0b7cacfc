"""What streams to the reader is checked: wrong marks are mended, and pieces may break anywhere."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepstone.agents.checking import StreamChecker
from keepstone.agents.support import Evidence
from keepstone.agents.types import Passage
from tests.agents.passages import TEXTS, make_passage

PASSAGES = tuple(make_passage(number, text) for number, text in enumerate(TEXTS, 1))
ANSWER = (
    "A medical certificate is required from the fourth day of absence [1]. Business class needs written approval.\n"
    "The Sligo clinic has excellent dentists [2]. Call before 9:30."
)


def check(pieces: list[str], passages: tuple[Passage, ...] = PASSAGES) -> StreamChecker:
    checker = StreamChecker(Evidence(passages))
    streamed = "".join([*(checker.feed(piece) for piece in pieces), checker.finish()])
    assert streamed == checker.content
    return checker


def test_marks_are_mended_added_and_taken_away() -> None:
    checker = check([ANSWER])
    assert checker.content == (
        "A medical certificate is required from the fourth day of absence. [2] "
        "Business class needs written approval. [1]\n"
        "The Sligo clinic has excellent dentists. Call before 9:30. [2]"
    )
    assert [claim.citation for claim in checker.claims] == [2, 1, None, 2]
    assert checker.claims[0].attributed


def test_a_right_mark_of_the_model_is_kept_as_its_own() -> None:
    checker = check(["Business class needs written approval [1]."])
    assert [(claim.citation, claim.attributed) for claim in checker.claims] == [(1, False)]


def test_claims_point_at_their_sentences() -> None:
    checker = check([ANSWER])
    sentences = [checker.content[claim.start : claim.end] for claim in checker.claims]
    assert sentences[2] == "The Sligo clinic has excellent dentists."
    assert not any("[" in sentence for sentence in sentences)


@settings(max_examples=60)
@given(st.lists(st.integers(0, len(ANSWER)), max_size=30))
def test_where_the_stream_breaks_does_not_matter(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(ANSWER)]
    pieces = [ANSWER[a:b] for a, b in itertools.pairwise(edges)]
    whole = check([ANSWER])
    parts = check(pieces)
    assert (parts.content, parts.claims) == (whole.content, whole.claims)


@pytest.mark.parametrize("raw", ["", "   ", "[1]", "[1][2][3]", "Yes.", "\n\n\n", "[", "a[b]c"])
def test_odd_output_does_no_harm(raw: str) -> None:
    assert "[1][2]" not in check([raw]).content


@pytest.mark.parametrize("piece", ["....", "    ", "!!!!", '""""', "....x"])
def test_what_a_model_repeats_without_end_is_passed_on_as_it_comes(piece: str) -> None:
    """With the square of its length at each piece, this would take hours, in which the app answers nobody."""
    checker = check([piece] * 5_000)
    assert checker.content == piece * 5_000


def test_a_decimal_number_does_not_end_a_sentence() -> None:
    assert len(check(["Premium economy may cost 3.5 times as much as economy class does."]).claims) == 1
