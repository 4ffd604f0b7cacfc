"""Search terms: what must find what, and that no text can break the analysis."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.retrieval import analysis
from keepstone.retrieval.analysis import tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Torque of the AF-200 pumps", ["torqu", "af200", "af", "200", "pump"]),
        ("the and of", []),
        ("", []),
        ("😀 \0 \ud800 --- ...", []),
        ("3.14 1,000.50 2024-05-01", ["3.14", "1000.50", "2024.05.01", "2024", "05", "01"]),
        ("patient's don't", ["patient", "dont", "don", "t"]),
        ("C++ and C#", ["c++", "c", "c#", "c"]),
        ("snake_case", ["snakecas", "snake", "case"]),
        ("ＡＢＣ１２", ["abc12", "abc", "12"]),
        ("定期更换滤芯", ["定期", "更换", "滤芯"]),
        ("東京タワー", ["東京", "京タ", "タワ", "ワー"]),
        ("서울의", ["서울", "울의"]),
        ("हिन्दी", ["हिन्दी"]),
    ],
)
def test_terms_of(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("question", "passage"),
    [
        ("iso 9001", "certified to ISO-9001:2015"),
        ("ISO9001", "certified to ISO-9001"),
        ("af200", "the AF-200 pump"),
        ("9001", "ISO9001"),
        ("email", "send an e-mail"),
        ("resume", "your résumé"),
        ("pumping", "the pumps"),
        ("1000", "1,000 pieces"),
        ("v2.5", "version v2.5"),
        ("中国人民", "中国人民大学"),
        ("iPhone", "我的iPhone手机"),
        ("straße", "STRASSE"),
        ("config", "see config/main_file.py"),
    ],
)
def test_question_finds_passage(question: str, passage: str) -> None:
    """Each question shares a term with the passage that a person would expect it to find."""
    assert set(tokens(question)) & set(tokens(passage))


def test_unknown_chinese_names_are_found_by_their_bigrams() -> None:
    name = "黎曌"
    assert name in tokens(name)
    assert name in tokens(f"根据{name}的说法")


@given(st.text(max_size=300))
def test_any_text_gives_short_terms_without_blanks(text: str) -> None:
    """tantivy cuts terms at blanks, so a blank inside one would make it unfindable."""
    for term in tokens(text):
        assert term
        assert len(term) <= 64 * 3  # case folding may lengthen a term
        assert not any(c.isspace() for c in term)


@given(st.lists(st.text(alphabet="ab1-_. é中", max_size=12), max_size=5))
def test_terms_of_lines_are_those_of_each_line(lines: list[str]) -> None:
    """Nothing reaches across a line break, so context and text may be joined."""
    assert tokens("\n".join(lines)) == [term for line in lines for term in tokens(line)]


def test_endless_runs_are_cut() -> None:
    """A megabyte without a blank, as in encoded data, must neither take long nor fill the index."""
    assert tokens("x" * 1_000_000) == []
    assert tokens("中" * 10_000)


def test_jieba_leaves_no_cache_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """jieba's own cache is a marshalled file in the shared temporary folder, which anybody could have put there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    segmenter = analysis._load_segmenter.__wrapped__()
    assert list(segmenter.cut("定期更换", HMM=False)) == ["定期", "更换"]
    assert list(tmp_path.iterdir()) == []
