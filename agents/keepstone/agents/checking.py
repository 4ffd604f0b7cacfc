"""Checking an answer while it streams: every sentence is held against the passages as soon as it ends.

The model's own citation marks are taken out of the stream and serve as hints. When a sentence ends, it gets the mark
of the passage that supports it: the one the model named if that holds, else the best other one, else none.
"""

from __future__ import annotations

import re

from keepstone.agents.sentences import plain
from keepstone.agents.support import SUPPORTED, Evidence
from keepstone.agents.types import Claim

_MARK = re.compile(r"\s?\[(\d{1,3})\]")
# Of a run of full stops the first two alone are tried, or a long one would take the square of its length.
_END = re.compile(
    r"""
    [。！？]+
    | (?<!\d)(?<!\b[A-Za-z])(?<!e\.g)(?<!i\.e)(?<![.!?]{2})[.!?]+["'”’)]*(?=\s)
    | (?<=\d)[.!?]+(?=\s+[^\d\s])    # "3." at the end of a piece may go on as "3. 5"
    | \n
    """,
    re.VERBOSE,
)
# What may yet turn out to be the end of a sentence or a mark. Bounded, since it is looked at again with every piece.
_UNDECIDED = re.compile(r"[.!?\"'”’)]{0,40}\s{0,40}(?:\[\d{0,3})?$")


class StreamChecker:
    """Turns the model's raw text into checked text.

    Feed it the pieces as they come and send on what it returns; call `finish` at the end. `content` is all that was
    sent on, and `claims` point into it.
    """

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._pending = ""
        self._sentence_start = 0
        self._hint: int | None = None
        self.content = ""
        self.claims: list[Claim] = []

    def feed(self, piece: str) -> str:
        """Take a piece of raw text and return the checked text that can be shown by now."""
        before = len(self.content)
        self._pending += piece
        self._take_complete()
        undecided = _UNDECIDED.search(self._pending)
        safe = undecided.start() if undecided else len(self._pending)
        self._emit(self._pending[:safe])
        self._pending = self._pending[safe:]
        return self.content[before:]

    def finish(self) -> str:
        """Return the rest of the checked text."""
        before = len(self.content)
        self._take_complete()
        self._emit(self._pending)
        self._pending = ""
        self._close_sentence()
        return self.content[before:]

    def _take_complete(self) -> None:
        """Take marks and ended sentences out of what is pending, in their order."""
        while True:
            mark = _MARK.search(self._pending)
            # Searched together with what was sent on, so that "e.g." is seen whole.
            end = _END.search(self.content + self._pending, len(self.content))
            if end and (mark is None or end.start() - len(self.content) <= mark.start()):
                self._take_sentence(end.end() - len(self.content))
            elif mark:
                if (self.content[self._sentence_start :] + self._pending[: mark.start()]).strip():
                    self._hint = int(mark[1])
                self._pending = self._pending[: mark.start()] + self._pending[mark.end() :]
            else:
                return

    def _take_sentence(self, length: int) -> None:
        sentence, self._pending = self._pending[:length], self._pending[length:]
        self._emit(sentence.rstrip("\n"))
        self._close_sentence()
        if sentence.endswith("\n"):
            self._emit("\n")
            self._sentence_start = len(self.content)

    def _emit(self, text: str) -> None:
        self.content += text

    def _close_sentence(self) -> None:
        raw = self.content[self._sentence_start :]
        sentence = raw.strip()
        start = self._sentence_start + len(raw) - len(raw.lstrip())
        end = start + len(sentence)
        hint, self._hint = self._hint, None
        if sentence and self._evidence.is_claim(plain(sentence)):
            self.claims.append(self._check(plain(sentence), start, end, hint))
            citation = self.claims[-1].citation
            if citation is not None:
                self._emit(f" [{citation}]")
        self._sentence_start = len(self.content)

    def _check(self, sentence: str, start: int, end: int, hint: int | None) -> Claim:
        support = self._evidence.best(sentence, prefer=hint)
        if support is None or support.score < SUPPORTED:
            return Claim(start, end, citation=None, support=support.score if support else 0.0)
        return Claim(
            start,
            end,
            citation=support.number,
            support=support.score,
            quote_start=support.start,
            quote_end=support.end,
            attributed=support.number != hint,
        )
