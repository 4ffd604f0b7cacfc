"""Where the fixed and the recursive chunker cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from keepstone.retrieval.chunking import WordOffsets
from keepstone.retrieval.chunking.fixed import FixedTokens
from keepstone.retrieval.chunking.recursive import Recursive
from keepstone.retrieval.types import Chunk
from tests.retrieval.chunking.texts import document_of


def _words(count: int) -> str:
    return " ".join(f"w{number}" for number in range(count))


def _tokens(chunks: list[Chunk]) -> list[int]:
    return [len(WordOffsets().offsets(chunk.text)) for chunk in chunks]


def test_fixed_chunks_are_full_and_overlap_by_as_much_as_is_asked() -> None:
    chunks = FixedTokens(10, 4).split(document_of(_words(30)), WordOffsets())
    assert _tokens(chunks) == [10, 10, 10, 10, 6]
    assert all(before.text.split()[-4:] == after.text.split()[:4] for before, after in pairwise(chunks))


def test_tokens_that_share_a_character_stay_together() -> None:
    class Bytes:
        def offsets(self, text: str) -> np.ndarray:
            return np.repeat(np.arange(len(text), dtype=np.int64), 4)

    for chunker in (FixedTokens(2, 1), Recursive(2, 1)):
        chunks = chunker.split(document_of("\U0001f600" * 5), Bytes())
        assert [chunk.text for chunk in chunks] == ["\U0001f600"] * 5


def test_recursive_gathers_paragraphs_and_cuts_the_long_one_at_lines_then_sentences_then_words() -> None:
    lines = "- " + "\n- ".join(_words(7) for _ in range(3))
    told = "One is here. Two is here. Three is here."
    text = "\n\n".join([_words(4), _words(5), lines, told, _words(25)])
    chunks = Recursive(10).split(document_of(text), WordOffsets())
    assert [chunk.text for chunk in chunks] == [
        f"{_words(4)}\n\n{_words(5)}",
        *[f"- {_words(7)}"] * 3,
        "One is here. Two is here.",
        "Three is here.",
        *[" ".join(_words(25).split()[start : start + 10]) for start in (0, 10, 20)],
    ]


def test_recursive_repeats_whole_pieces() -> None:
    text = " ".join(f"This is sentence {number}." for number in range(9))
    chunks = Recursive(16, 6).split(document_of(text), WordOffsets())
    for before, after in pairwise(chunks):
        assert before.text.endswith(after.text.split(". ")[0] + ".")
        assert after.text.startswith("This")


def test_a_chunk_across_two_sections_stands_under_what_they_share() -> None:
    text = "# Care\n\n## Daily\n\nClean it.\n\n## Weekly\n\nOil it.\n\n# Repair\n\nCall us."
    [care, repair] = Recursive(14).split(document_of(text), WordOffsets())
    assert (care.context, repair.context) == ("Manual > Care", "Manual > Repair")
