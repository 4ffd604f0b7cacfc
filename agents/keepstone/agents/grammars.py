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


def quoting_grammar(quotes: Sequence[tuple[str, int]]) -> str:
    """Return a grammar for the given sentences, each with its passage's number: the first, then perhaps the next ones.

    Args:
        quotes: (sentence, passage number), best first.
    """
    lines = [f'"{_escape(sentence)} [{number}]"' for sentence, number in quotes]
    rest = ""
    for line in reversed(lines[1:]):
        rest = f' ("\\n" {line}{rest})?'
    return f"root ::= {lines[0]}{rest}\n"


def _escape(literal: str) -> str:
    escaped = literal.replace("\\", "\\\\").replace('"', '\\"')
    return escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
