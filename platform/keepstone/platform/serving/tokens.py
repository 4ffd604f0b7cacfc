"""How many tokens a text takes: exactly with the model's own tokenizer, else an upper estimate."""

from __future__ import annotations

import math
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from keepstone.platform.errors import ModelMissing

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Kana, CJK ideographs (with extension A), compatibility ideographs, Hangul, full-width forms, extensions B and later.
_CJK = re.compile("[\u3000-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_CHARACTERS_PER_TOKEN = 2.0
_TOKENS_PER_CJK_CHARACTER = 1.5


def estimate_tokens(text: str) -> int:
    """Return an upper estimate for prose in any language: 1 token for 2 characters, 1.5 for one CJK character."""
    cjk = len(_CJK.findall(text))
    return math.ceil(cjk * _TOKENS_PER_CJK_CHARACTER + (len(text) - cjk) / _CHARACTERS_PER_TOKEN)


class TokenCounter:
    """Counts tokens; safe to share between threads.

    Args:
        model_dir: folder of an installed model with its `tokenizer.json`, or None for the estimate.
    """

    def __init__(self, model_dir: Path | None = None) -> None:
        self._file = model_dir / "tokenizer.json" if model_dir else None

    @cached_property
    def _tokenizer(self) -> Tokenizer | None:
        from tokenizers import Tokenizer

        if self._file is None:
            return None
        if not self._file.is_file():
            raise ModelMissing(f"The tokenizer {self._file} is not there", fix="Pull the model again")
        tokenizer = Tokenizer.from_file(str(self._file))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def count(self, text: str) -> int:
        """Return the number of tokens of `text`, without special tokens."""
        if self._tokenizer is None:
            return estimate_tokens(text)
        return len(self._tokenizer.encode(text, add_special_tokens=False))
