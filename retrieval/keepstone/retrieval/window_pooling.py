"""Which tokens of a window make the vector of which passage: the pooling of late chunking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from keepstone.retrieval.encoder import Window

if TYPE_CHECKING:
    from tokenizers import Encoding


def token_weights(window: Window, encoding: Encoding, *, prompt_chars: int, left_out: int) -> NDArray[np.float32]:
    """Return the weight of each token for each passage: shape (passages, tokens), rows that add up to 1.

    What stands before the window's text, special tokens included, counts for a passage that begins with it, and the
    special tokens behind it for one that ends with it: so a passage that is the whole window is pooled as if it were
    read alone.

    Args:
        window: what was read.
        encoding: of the prompt, the window's head and its text, with offsets.
        prompt_chars: length of the prompt.
        left_out: how many tokens at the beginning are never pooled.
    """
    special = np.array(encoding.special_tokens_mask, dtype=bool)
    # By their ends, since a token may begin with the space before its word.
    ends = np.array([end for _, end in encoding.offsets], dtype=np.int64) - prompt_chars - len(window.head)
    own = np.flatnonzero(~special)
    behind = np.arange(len(special)) > (own[-1] if len(own) else 0)
    ahead = ~behind & (special | (ends <= 0))
    weights = np.zeros((len(window.spans), len(special)), dtype=np.float32)
    for row, (start, end) in zip(weights, window.spans, strict=True):
        row[~special & (ends > start) & (ends <= end)] = 1
        if start == 0:
            row[ahead] = 1
        if end == len(window.text):
            row[behind] = 1
        row[:left_out] = 0
        if not row.any():  # nothing of it is in the vocabulary, or the window was cut before it
            row[:] = 1
    unit: NDArray[np.float32] = weights / weights.sum(axis=1, keepdims=True)
    return unit
