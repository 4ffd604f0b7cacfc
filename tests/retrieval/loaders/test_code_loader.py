"""Source code stays as it is, line by line, in blocks that have the names which the code gives them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepstone.platform.errors import LimitExceeded, UnreadableDocument
from keepstone.retrieval.chunking import WordOffsets
from keepstone.retrieval.chunking.structure import Structure
from keepstone.retrieval.loaders import LoadLimits, load
from keepstone.retrieval.loaders.base import clean
from keepstone.retrieval.loaders.code_languages import language_of
from keepstone.retrieval.loaders.detect import PLAIN, SOURCE, detect

PYTHON = '''"""Pumps."""

import os

LIMIT = 5


# Runs until it is full.
@cached
def fill(tank: str) -> int:
    """Fill a tank; ``` and # are no markup here."""

    def inner() -> int:
        return 1

    return inner()


class Pump:
    """A pump."""

    @property
    def size(self) -> int:
        return LIMIT

    async def run(self) -> None:
        for _ in range(3):
            print("run")


if __name__ == "__main__":
    fill("a")
'''
JAVA = """package pumps;

/** A pump. */
public final class Pump<T> extends Base {
    private final int size = compute(3);

    /** Its size. */
    @Override
    public int size(List<String> parts,
                    int most) {
        if (parts.isEmpty()) {
            return helper(parts);
        }
    }

    static class Inner { }
}

interface Valve { void open(); }
"""
TYPESCRIPT = """import {x} from "y";
export const greet = async (name: string): Promise<string> => name;
const LIMIT = 5;
export default class Tank<T> {
  constructor(a: number) {
    this.x = a;
  }
  async run(): Promise<void> {
    if (x) { y(); }
  }
}
function* drops() { yield 1; }
"""
CPP = """#include <vector>
namespace pumps {
}
template <typename T>
std::vector<int> Pump::parts(int a,
   int b) {
  return foo(1);
}
static inline int helper(void)
{
  if (x) return 2;
}
int global = compute(3);
"""
RUST = """use std::io;
#[derive(Debug)]
pub struct Pump { x: i32 }
impl<T: Clone> Iterator for Pump<T> {
    type Item = T;
    fn next(&mut self) -> Option<T> { None }
    pub(crate) async fn other(&self) {}
}
pub async fn main() {}
"""


def _headings(code: str, name: str) -> list[tuple[int, str]]:
    return [(heading.level, heading.title) for heading in load(code.encode(), name).headings]


def _code_lines(text: str) -> list[str]:
    """Return the lines inside the fences of a Document that are not blank."""
    return [line for line in text.split("\n") if line.strip() and not re.fullmatch(r"`{3,}\w*", line)]


@pytest.mark.parametrize(
    ("name", "code", "headings"),
    [
        (
            "a.py",
            PYTHON,
            [(1, "def fill"), (1, "class Pump"), (2, "def size"), (2, "async def run")],
        ),
        ("A.java", JAVA, [(1, "class Pump"), (2, "int size"), (2, "class Inner"), (1, "interface Valve")]),
        (
            "a.ts",
            TYPESCRIPT,
            [(1, "const greet"), (1, "class Tank"), (2, "constructor"), (2, "run"), (1, "function* drops")],
        ),
        (
            "a.cpp",
            CPP,
            [(1, "namespace pumps"), (1, "std::vector<int> Pump::parts"), (1, "static inline int helper")],
        ),
        (
            "a.rs",
            RUST,
            [
                (1, "struct Pump"),
                (1, "impl<T: Clone> Iterator for Pump<T>"),
                (2, "fn next"),
                (2, "fn other"),
                (1, "fn main"),
            ],
        ),
        ("a.go", "func (s *Pump) Run(x int) {}\n\ntype T struct {}\n", [(1, "func (s *Pump) Run"), (1, "type T")]),
        (
            "a.sql",
            "-- parts\nCREATE TABLE IF NOT EXISTS parts (id int);\ncreate or replace view v as select 1;\nSELECT 1;\n",
            [(1, "CREATE TABLE IF NOT EXISTS parts"), (1, "create or replace view v")],
        ),
        ("run", "#!/usr/bin/env bash\n\nbuild() {\n  make\n}\nfunction t { :; }\n", [(1, "build"), (1, "function t")]),
        (
            "a.yaml",
            "services:\n  web:\n    image: x\n  db:\n    image: y\nvolumes:\n  - a\n",
            [(1, "services"), (2, "web"), (2, "db"), (1, "volumes")],
        ),
        ("a.toml", "[project]\nname = 'x'\n[[tool.parts]]\na = 1\n", [(1, "project"), (1, "tool.parts")]),
        ("Makefile", "X := 1\nall: a b\n\techo\n", [(1, "all")]),
        ("a.css", "p { color: red }\n", []),
    ],
)  # fmt: skip
def test_definitions_are_headings_and_every_line_stays(name: str, code: str, headings: list[tuple[int, str]]) -> None:
    document = load(code.encode(), f"src/{name}")
    assert (document.title, document.media_type) == (name, SOURCE)
    assert [(heading.level, heading.title) for heading in document.headings] == headings
    assert _code_lines(document.text) == [line for line in code.split("\n") if line.strip()]
    assert all(document.text[heading.start :].startswith("```") for heading in document.headings)


def test_comments_and_decorators_go_with_what_they_are_about() -> None:
    document = load(PYTHON.encode(), "a.py")
    fill = document.headings[0]
    text = document.text[fill.start : fill.end].strip()
    assert text.startswith("````python\n# Runs until it is full.\n@cached\ndef fill")
    assert text.endswith("    return inner()\n````")


def test_functions_stay_whole_in_chunks_that_name_them() -> None:
    body = "\n".join(f"    total += step_{number}(value, {number})" for number in range(12))
    code = "\n\n".join(f"def part_{name}(value):\n    total = 0\n{body}\n    return total" for name in "abcdef")
    document = load(code.encode(), "parts.py")
    chunks = Structure(max_tokens=160, overlap_tokens=0).split(document, WordOffsets())
    assert [chunk.context for chunk in chunks] == [f"parts.py > def part_{name}" for name in "abcdef"]
    assert all(chunk.text.count("return total") == 1 for chunk in chunks)
    assert all(chunk.text == document.text[chunk.start : chunk.end] for chunk in chunks)


def test_what_is_code_is_told_by_its_name() -> None:
    assert detect(b"# not a heading\nx = 1\n", "a.py") == SOURCE
    assert detect(b"#!/bin/sh\n# not a heading\n", "run") == SOURCE
    assert detect(b"#!/bin/sh is how it begins", "notes.txt") == PLAIN
    assert language_of("a\\b\\Main.CS") is not None
    assert language_of("python") is None
    with pytest.raises(UnreadableDocument):
        load(bytes(range(256)) * 30, "a.py")
    with pytest.raises(UnreadableDocument, match="empty"):
        load(b"\x00\n", "a.py")


@pytest.mark.parametrize("name", ["a.py", "a.java", "a.ts", "a.cpp", "a.rs", "a.yaml", "a.sql", "Makefile", "a.tf"])
@pytest.mark.parametrize(
    "line", ["a b " * 100, "(" * 400, "a(" * 200, "a<" * 200, "static " * 57, " " * 300 + "x(", "a:b " * 100, "x" * 400]
)
def test_no_line_takes_long(name: str, line: str) -> None:
    assert load(f"class A {{\n{line}\n  {line}\n".encode() * 300, name).text


def test_a_file_of_one_line_is_read() -> None:
    assert _headings("!function(){" + "a=1;" * 500_000 + "}()", "min.js") == []


def test_the_cap_on_text_holds() -> None:
    with pytest.raises(LimitExceeded):
        load(b"x = 1\n" * 1000, "a.py", LoadLimits(max_text_chars=1000))


@given(data=st.data())
@settings(max_examples=100)
def test_damaged_code_loses_no_line(data: st.DataObject) -> None:
    name, code = data.draw(st.sampled_from([("a.py", PYTHON), ("A.java", JAVA), ("a.cpp", CPP), ("a.rs", RUST)]))
    lines = data.draw(st.permutations(code.split("\n")))
    odd = data.draw(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=30))
    text = "\n".join([odd, *lines])
    document = load(text.encode(), name)
    expected = [line for line in clean(text).split("\n") if line.strip()]
    assert [line for line in _code_lines(document.text) if line.strip("`")] == [
        line for line in expected if line.strip("`") and not re.fullmatch(r"`{3,}\w*", line)
    ]
    assert all(heading.start < heading.end for heading in document.headings)
