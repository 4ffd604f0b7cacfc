"""JSON becomes text in which each value stands with the path to it."""

from __future__ import annotations

import json

import pytest

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders import load
from tests.retrieval.loaders.office_samples import JSON


def test_an_object() -> None:
    document = load(JSON.encode(), "pump.json")
    assert document.text == "name: P-40\ntags: a, b\n\n# parts\n\n- id: 1; screw.size: M4\n- id: 2"
    assert document.title == "pump"
    assert [heading.title for heading in document.headings] == ["parts"]


def test_lines_of_records() -> None:
    rows = [{"question": "Why?", "answer": "Because."}, {"question": "How?", "answer": "Thus. " * 100}]
    text = load("\n\n".join(map(json.dumps, rows)).encode(), "a.jsonl").text
    assert text.startswith("- question: Why?; answer: Because.\n\n# question: How?\n\nanswer: Thus. Thus.")


def test_paths_into_lists_and_deep_objects() -> None:
    deep = {"a": {"b": {"c": {"d": {"e": {"f": [1, 2], "g": [[3], [4]]}}}}}}
    text = load(json.dumps(deep).encode(), "a.json").text
    assert text.endswith("a.b.c.d.e.f: 1, 2\na.b.c.d.e.g[0]: 3\na.b.c.d.e.g[1]: 4")


def test_numbers_are_kept_as_written() -> None:
    text = load(b'{"a": 1.10, "b": 123456789012345678901234567890, "c": 1e999, "d": NaN, "e": true}', "a.json").text
    assert text == "a: 1.10\nb: 123456789012345678901234567890\nc: 1e999\nd: NaN\ne: true"


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b'{"a": 1', "not valid JSON"),
        (b'{"a": 1}\n{"a": \n', "line 2"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 90 + b"1" + b"}" * 90, "nested too deeply"),
        (b"{}", "no text"),
        (b"null", "no text"),
        (b"", "empty"),
    ],
)
def test_what_cannot_be_read(data: bytes, match: str) -> None:
    with pytest.raises(UnreadableDocument, match=match) as caught:
        load(data, "a.json")
    assert caught.value.fix


def test_text_that_only_looks_like_it_stays_text() -> None:
    assert load(b'{"a": 1', "a.txt").text == '{"a": 1'
    assert load(b"[1] Smith, On pumps. [2]", "references").media_type == "text/plain"
