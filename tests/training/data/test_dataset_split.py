"""Documents that belong together stay together, and both sides get some."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from keepstone.training.data.split import choose_sides, join_documents, passages_of_both_sides


@st.composite
def collections(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    groups = draw(st.lists(st.integers(0, 6), min_size=2, max_size=30).filter(lambda found: len(set(found)) > 1))
    return groups, [draw(st.integers(1, 50)) for _ in groups]


@given(collections(), st.floats(0.05, 0.45), st.integers(0, 5))
def test_no_group_is_split_and_no_side_is_empty(found: tuple[list[int], list[int]], share: float, seed: int) -> None:
    groups, sizes = found
    names = [f"document {number}" for number in range(len(groups))]
    sides = choose_sides(names, sizes, groups, share=share, seed=seed)
    assert set(sides) == {"train", "test"}
    assert len({(group, side) for group, side in zip(groups, sides, strict=True)}) == len(set(groups))


@given(collections(), st.randoms())
def test_the_order_of_the_documents_does_not_matter(found: tuple[list[int], list[int]], draw: object) -> None:
    groups, sizes = found
    names = [f"document {number}" for number in range(len(groups))]
    sides = dict(zip(names, choose_sides(names, sizes, groups, share=0.2, seed=1), strict=True))
    rows = list(zip(names, sizes, groups, strict=True))
    draw.shuffle(rows)  # type: ignore[attr-defined]
    shuffled = choose_sides(*map(list, zip(*rows, strict=True)), share=0.2, seed=1)  # type: ignore[arg-type]
    assert dict(zip([row[0] for row in rows], shuffled, strict=True)) == sides


def test_another_seed_gives_another_split() -> None:
    names, sizes, groups = [f"document {number}" for number in range(40)], [5] * 40, list(range(40))
    splits = {tuple(choose_sides(names, sizes, groups, share=0.2, seed=seed)) for seed in range(4)}
    assert len(splits) == 4
    assert all(6 <= split.count("test") <= 10 for split in splits)


def test_a_document_that_holds_most_of_another_belongs_to_it() -> None:
    passages = {0: [1, 2, 3, 4, 5, 6, 7, 8], 1: [7, 8, 9], 2: [10, 11], 3: [8, 12, 13]}
    assert join_documents([0, 1, 2, 3], passages) == [0, 0, 2, 3]


def test_a_footer_in_every_document_joins_none() -> None:
    for passages in ({n: [0, n + 1] for n in range(5)}, {n: [0, 1, n + 2] for n in range(60)}):
        assert join_documents(list(range(len(passages))), passages) == list(range(len(passages)))


def test_passages_on_both_sides_are_named() -> None:
    assert passages_of_both_sides([1, 1, 2, 3], ["train", "test", "test", "train"]) == {1}
