"""Text to search terms, for the lexical index: the same for passages and for questions.

tokens("Torque of the AF-200 pumps")  # ["torqu", "af200", "af", "200", "pump"]
tokens("定期更换滤芯")  # ["定期", "更换", "滤芯"]

Words of alphabetic scripts are folded (NFKC, case, accents) and stemmed. Codes such as `ISO-9001` give themselves in
one piece and in parts. Chinese is cut into words by jieba; other scripts that write words without blanks give bigrams.
"""

from __future__ import annotations

import logging
import re
import threading
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

ANALYSIS_VERSION = "1"
"""Changes whenever `tokens` does; an index made by another version is built anew."""

# Lucene's list: words that tell nothing about what a passage is about.
_STOP_WORDS = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was
will with
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

# Longer runs are noise, such as encoded binary data.
_MAX_TERM = 64
# jieba's working memory grows with the run that it cuts.
_MAX_RUN = 2000

_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
# Kana, Thai, Lao, Burmese, Khmer: no blanks between words. Hangul: particles cling to the words.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\uac00-\ud7af"
# Vowel signs of Indic scripts, which `\w` leaves out; U+0964 and U+0965 are full stops.
_MARKS = "\u0300-\u036f\u0900-\u0963\u0966-\u0dff"
_FIRST_UNSPACED = "\u0e00"


def _pattern(word: str) -> re.Pattern[str]:
    return re.compile(rf"{word}(?:[-_.,/'’:&]{word})*[+#]{{0,2}}|[{_HAN}{_UNSPACED}]+")


_LETTER = rf"[^\W_{_HAN}{_UNSPACED}]"
_TOKENS = _pattern(f"{_LETTER}+")
_TOKENS_WITH_MARKS = _pattern(f"(?:{_LETTER}|[{_MARKS}])+")
_HAS_MARKS = re.compile(f"[{_MARKS}]")
_ACCENTS = re.compile("[\u0300-\u036f]")
_SEPARATORS = re.compile("[-_.,/'’:&]+")
_CLITIC = re.compile("['’](?:s|re|ll|ve|d|m)$")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_DECIMAL = re.compile(r"\d+[.,]\d+")
_RUNS = re.compile(r"\d+|[^\d]+")
_ONLY_HAN = re.compile(f"[{_HAN}]+")


def tokens(text: str) -> list[str]:
    """Return the search terms of a text, in its order, repeated as often as they stand in it.

    No term is longer than 64 characters or holds a blank; a text without letters or digits has none.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    pattern = _TOKENS if folded.isascii() or not _HAS_MARKS.search(folded) else _TOKENS_WITH_MARKS
    found: list[str] = []
    for token in pattern.findall(folded):
        if token[0] >= _FIRST_UNSPACED and token[-1] >= _FIRST_UNSPACED:
            found += _unspaced_terms(token)
        elif len(token) <= _MAX_TERM:
            found += _terms(token)
        else:
            found += _long_terms(token)
    return found


@lru_cache(maxsize=1 << 16)
def _terms(token: str) -> tuple[str, ...]:
    """Return the terms of one word, number or code."""
    if not token.isascii():
        token = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", token)))
    token = _CLITIC.sub("", token)
    if not token or token in STOP_WORDS:
        return ()
    if token.isalpha():
        return (_stem(token),)
    if token.isdecimal():
        return (token,)
    if _THOUSANDS.fullmatch(token):
        return (token.replace(",", ""),)
    if _DECIMAL.fullmatch(token):
        return (token.replace(",", "."),)
    return tuple(dict.fromkeys(_compound_terms(token)))


def _compound_terms(token: str) -> Iterator[str]:
    """Return the terms of `e-mail`, `iso-9001`, `af200`, `snake_case`, `10.0.0.1` or `c++`: the whole and its parts."""
    bare = token.rstrip("+#")
    pieces = [piece for piece in _SEPARATORS.split(bare) if piece]
    if not pieces:
        return
    if bare != token:
        yield token
    if all(piece.isdecimal() for piece in pieces):
        yield ".".join(pieces)
    elif len(pieces) <= 2 or any(piece.isdecimal() for piece in pieces):
        yield _stem("".join(pieces))
    for piece in pieces:
        parts = _RUNS.findall(piece)
        if len(parts) == 1:
            if piece not in STOP_WORDS:
                yield _stem(piece)
            continue
        yield piece
        # The 2 of h2o says nothing; the 200 of af200 does.
        yield from (part for part in parts if len(part) > 1)


def _long_terms(token: str) -> Iterator[str]:
    for piece in _SEPARATORS.split(token):
        if len(piece) <= _MAX_TERM:
            yield from _terms(piece) if piece else ()


def _unspaced_terms(run: str) -> Iterator[str]:
    """Return the terms of a run of Chinese, Japanese, Korean, Thai or the like."""
    if _ONLY_HAN.fullmatch(run):
        for start in range(0, len(run), _MAX_RUN):
            yield from _chinese_terms(run[start : start + _MAX_RUN])
    elif len(run) == 1:
        yield run
    else:
        yield from _bigrams(run)


def _chinese_terms(run: str) -> Iterator[str]:
    """Return the dictionary's words, the shorter words in them, and for what no word covers characters and bigrams.

    jieba's guesses at unknown words depend on what stands around them; bigrams do not, find as much, and cost less.
    """
    segmenter = _segmenter()
    known = segmenter.FREQ.get
    before = ""
    for word in segmenter.cut(run, HMM=False):
        if len(word) == 1:
            if before:
                yield before + word
            before = word
        else:
            before = ""
            if len(word) > 2:
                yield from (part for part in _bigrams(word) if known(part))
            if len(word) > 3:
                yield from (part for part in map("".join, zip(word, word[1:], word[2:], strict=False)) if known(part))
        yield word[:_MAX_TERM]


def _bigrams(run: str) -> Iterator[str]:
    return (first + second for first, second in pairwise(run))


def _stem(word: str) -> str:
    [stem] = _stemmer().analyze(word) or [word]
    return str(stem)


@cache
def _stemmer() -> Any:
    from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

    return TextAnalyzerBuilder(Tokenizer.raw()).filter(Filter.stemmer("english")).build()


_segmenter_lock = threading.Lock()


def _segmenter() -> Any:
    with _segmenter_lock:
        return _load_segmenter()


@cache
def _load_segmenter() -> Any:
    """Load jieba's dictionary without the cache that it would read from, and write to, the shared temporary folder."""
    logging.getLogger("jieba").setLevel(logging.CRITICAL)
    import jieba

    jieba.setLogLevel(logging.CRITICAL)
    segmenter = jieba.Tokenizer()
    segmenter.FREQ, segmenter.total = segmenter.gen_pfdict(segmenter.get_dict_file())
    segmenter.initialized = True
    return segmenter
