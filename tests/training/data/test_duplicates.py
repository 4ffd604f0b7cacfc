"""What nearly equals something is found, whatever came between, and what differs is left alone."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from keepstone.training.data.duplicates import DOCUMENTS, PASSAGES, QUESTIONS, Groups, near_duplicates, shingles
from tests.training.data.handbooks import handbook


def test_equal_but_for_case_and_punctuation_is_a_duplicate() -> None:
    texts = [
        "How long is the warranty?",
        "Where is the fuse?",
        "how long is the warranty",
        "HOW LONG IS THE WARRANTY !",
    ]
    assert near_duplicates(texts, QUESTIONS) == [0, 1, 0, 0]


def test_pages_that_differ_in_a_number_are_one_group() -> None:
    page = handbook(1)
    pages = [page.replace("Handbook", f"Handbook {number:04}") for number in range(60)]
    assert set(near_duplicates(pages, DOCUMENTS)) == {0}


def test_different_handbooks_of_one_form_are_different() -> None:
    texts = [handbook(number) for number in range(30)]
    assert near_duplicates(texts, DOCUMENTS) == list(range(30))


def test_chinese_is_compared_by_its_characters() -> None:
    first = "员工应当在每个工作日结束前清理自己的工作台，并把工具放回原处，以便下一班同事使用。"
    texts = [first, first.replace("下一班", "下一组"), "灭火器位于每层楼梯口，任何人不得用杂物遮挡消防通道和应急出口。"]
    assert near_duplicates(texts, PASSAGES) == [0, 0, 2]


@given(st.lists(st.text(min_size=30, max_size=80), min_size=1, max_size=8), st.data())
@settings(max_examples=40)
def test_the_same_text_is_always_in_the_same_group(texts: list[str], data: st.DataObject) -> None:
    again = data.draw(st.sampled_from(texts))
    groups = near_duplicates([*texts, again], PASSAGES)
    assert groups[-1] == groups[texts.index(again)]


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
def test_groups_are_the_connected_parts(pairs: list[tuple[int, int]]) -> None:
    groups = Groups(20)
    for one, other in pairs:
        groups.join(one, other)
    assert all(groups.of(one) == groups.of(other) for one, other in pairs)
    for number in range(20):
        assert groups.of(groups.of(number)) == groups.of(number) <= number


def test_a_text_shorter_than_a_shingle_is_its_own_shingle() -> None:
    assert shingles("Ok.", 5) == [b"ok"]
    assert shingles("", 5) == [b""]
