"""Grammars that bound what the language model can write (xgrammar's EBNF, as vLLM takes it)."""

from __future__ import annotations

from collections.abc import Sequence


def citing_grammar(numbers: Sequence[int]) -> str:
    """Return a grammar for free text in which brackets can only hold one of the passages' numbers.

    The text begins with a word. It also keeps Markdown links and images out of the answer, since both need brackets.

    Args:
        numbers: of the passages, at least one.
    """
    ids = " | ".join(f'"{number}"' for number in numbers)
    return f'root ::= [^\\[\\] \\n\\t] piece*\npiece ::= [^\\[\\]] | "[" id "]"\nid ::= {ids}\n'


def choosing_grammar(count: int) -> str:
    """Return a grammar for the numbers of some of `count` sentences: the first, then perhaps the next ones.

    The first is always taken: the sentences come in the order in which search ranks them, and the models that are asked
    to choose are too small to know better.
    """
    rest = ""
    for number in range(count, 1, -1):
        rest = f' (" {number}"{rest})?'
    return f'root ::= "1"{rest}\n'
