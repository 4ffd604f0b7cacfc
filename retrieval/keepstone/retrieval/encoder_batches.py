"""Batches for an encoder: texts of like length, padded to the longest, at most so many tokens together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded token ids, shape (rows, length), with the row numbers they belong to."""

    rows: NDArray[np.int64]
    ids: NDArray[np.int64]
    mask: NDArray[np.int64]


def cut(rows: Sequence[int], ids: Sequence[Sequence[int]], batch_tokens: int, pad_id: int) -> list[Batch]:
    """Cut texts into batches of at most `batch_tokens` padded tokens, alike in length."""
    order = sorted(range(len(ids)), key=lambda at: -len(ids[at]))
    batches = []
    start = 0
    while start < len(order):
        longest = max(len(ids[order[start]]), 1)
        taken = order[start : start + max(batch_tokens // longest, 1)]
        batches.append(padded([rows[at] for at in taken], [ids[at] for at in taken], pad_id))
        start += len(taken)
    return batches


def padded(rows: Sequence[int], ids: Sequence[Sequence[int]], pad_id: int) -> Batch:
    """Pad token ids on the right to the longest of them."""
    longest = max(map(len, ids))
    filled = np.full((len(ids), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(ids), longest), dtype=np.int64)
    for at, one in enumerate(ids):
        filled[at, : len(one)] = one
        mask[at, : len(one)] = 1
    return Batch(np.asarray(rows, dtype=np.int64), filled, mask)
