"""Grammars that bound what the language model can write (xgrammar's EBNF, as vLLM takes it)."""

from __future__ import annotations

from collections.abc import Sequence


def citing_grammar(numbers: Sequence[int]) -> str:
    """Return a grammar for free text in which brackets can only hold one of the passages' numbers.

    It also keeps Markdown links and images out of the answer, since both need brackets.
    """
    if not numbers:
        return "root ::= [^\\[\\]]+\n"
    ids = " | ".join(f'"{number}"' for number in numbers)
    return f'root ::= piece+\npiece ::= [^\\[\\]] | "[" id "]"\nid ::= {ids}\n'


def quoting_grammar(sentences: Sequence[str]) -> str:
    """Return a grammar for exactly one of the given sentences."""
    options = " | ".join(f'"{_escape(sentence)}"' for sentence in sentences)
    return f"root ::= {options}\n"


def _escape(literal: str) -> str:
    escaped = literal.replace("\\", "\\\\").replace('"', '\\"')
    return escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
