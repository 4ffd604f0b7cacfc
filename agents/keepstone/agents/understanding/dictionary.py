"""A dictionary between Chinese questions and English documents, for encoders that know no Chinese.

terms_in_english("黑豹队的防守丢了多少分？")  # "black dark leopard panther squadron team defend protect ..."

Word by word and without a language model, every word gives its first meanings in CC-CEDICT, the community's
dictionary, which `lindera` brings along and cuts the question by. That is no translation, but words are what lexical
search wants.
"""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncGenerator, Iterator
from functools import cache
from typing import Any, Final

from anyio.to_thread import run_sync

from keepstone.agents.understanding.base import Documents, Further
from keepstone.agents.understanding.model import BoundedModel
from keepstone.agents.understanding.translation import across, bridge
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.language import detect_language

_MOST: Final = 2
# Where the meanings stand among what lindera tells of a word.
_DEFINITION: Final = 7
_EMPTY_WORDS: Final = {
    *"的了是在吗呢吧和与有哪谁几为被把对从到以而及其这那之中上下于由所会能个",
    "什么",
    "哪些",
    "多少",
    "可以",
}
_HAN: Final = re.compile("[\u4e00-\u9fff]")
_REMARKS: Final = re.compile(r"\([^)]*\)|\[[^\]]*\]")
_NO_MEANING: Final = re.compile(r"CL:|(?:old |unofficial )?variant of|see |abbr|surname|used in|also pr")
_ARTICLES: Final = re.compile(r"^(?:to|an?|the) ")
_LATIN: Final = re.compile(r"[A-Za-z0-9]+(?:[-.,/&'][A-Za-z0-9]+)*")
_loading = threading.Lock()


class Dictionary:
    """Looks the words of a Chinese question up, where documents are in English.

    Args:
        encoder: whose languages count.
    """

    name = "dictionary"
    needs_model = False

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    async def queries(self, question: str, documents: Documents, model: BoundedModel) -> AsyncGenerator[Further, None]:
        """Yield the English meanings of the question's words."""
        del model
        if detect_language(question) != "zh":
            return
        there = await documents.languages()
        if bridge("zh", there, self._encoder) != "en":
            return
        terms = await run_sync(terms_in_english, question)
        if terms:
            yield across(terms, "zh", there, self.name)


def terms_in_english(question: str) -> str:
    """Return what stands there in Latin letters, and the first English meanings of every Chinese word."""
    with _loading:
        tokenizer = _tokenizer()
    # Surrogates by themselves are no text.
    words = tokenizer.tokenize(question.encode("utf-8", "replace").decode())
    return " ".join(dict.fromkeys([*_LATIN.findall(question), *(each for word in words for each in _meanings(word))]))


def _meanings(word: Any) -> Iterator[str]:
    if word.surface not in _EMPTY_WORDS and _HAN.search(word.surface):
        # A definition that holds a comma comes in pieces.
        definition = _REMARKS.sub("", ",".join(word.details[_DEFINITION:]))
        meanings = [_ARTICLES.sub("", each.strip()) for each in definition.split("/") if not _NO_MEANING.match(each)]
        yield from [each for each in meanings if each and each != "*" and not _HAN.search(each)][:_MOST]


@cache
def _tokenizer() -> Any:
    from lindera import Tokenizer, load_dictionary

    return Tokenizer(load_dictionary("embedded://cc-cedict"), mode="normal")
