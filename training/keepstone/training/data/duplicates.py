"""Near-duplicates: texts whose sets of overlapping character runs (shingles) are nearly the same.

MinHash signatures estimate the Jaccard similarity of those sets, and locality-sensitive hashing finds the pairs worth
comparing (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3). Runs of characters rather than words
serve every script alike.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

_PERMUTATIONS: Final = 128
# Of two texts this alike, one stands for both when others are compared: a thousand equal pages cost a thousand
# comparisons, not a million.
_SAME = 0.95
_NOISE = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Likeness:
    """When two texts count as near-duplicates."""

    shingle: int
    """Length of the runs, in characters; long texts need longer ones, since they share every short one."""
    least: float
    """Estimated Jaccard similarity, 0 to 1."""
    bands: int
    rows: int
    """Texts are compared when all `rows` values of one of `bands` agree: a pair of similarity s is found with the
    probability 1 - (1 - s ** rows) ** bands, here above 0.98 from `least` on."""


QUESTIONS: Final = Likeness(shingle=4, least=0.8, bands=25, rows=5)
PASSAGES: Final = Likeness(shingle=5, least=0.75, bands=25, rows=5)
DOCUMENTS: Final = Likeness(shingle=9, least=0.6, bands=32, rows=4)


class Groups:
    """Numbers that belong together, joined pair by pair (union-find)."""

    def __init__(self, count: int = 0) -> None:
        self._parents = list(range(count))

    def add(self) -> int:
        """Begin a group of one, and return its number."""
        self._parents.append(len(self._parents))
        return len(self._parents) - 1

    def __len__(self) -> int:
        return len(self._parents)

    def join(self, one: int, other: int) -> None:
        """Make two groups one, which is named by the smallest number in it."""
        first, second = sorted((self.of(one), self.of(other)))
        self._parents[second] = first

    def of(self, number: int) -> int:
        """Return the name of a number's group."""
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number


def near_duplicates(texts: Iterable[str], likeness: Likeness) -> list[int]:
    """Return for each text the number of the first text of its group; texts that are like no other name themselves."""
    finder = NearDuplicates(likeness)
    for text in texts:
        finder.add(text)
    return finder.groups()


class NearDuplicates:
    """Finds near-duplicates among texts that come one after the other, of which it keeps signatures only."""

    def __init__(self, likeness: Likeness) -> None:
        from datasketch import MinHash, MinHashLSH  # type: ignore[import-untyped]

        self._likeness = likeness
        self._blank: Any = MinHash(num_perm=_PERMUTATIONS, hashfunc=zlib.crc32)
        self._index: Any = MinHashLSH(num_perm=_PERMUTATIONS, params=(likeness.bands, likeness.rows))
        self._kept: dict[int, Any] = {}
        self._equal: dict[bytes, int] = {}
        self._groups = Groups()

    def add(self, text: str) -> list[int]:
        """Take in the next text and return the numbers of earlier ones that it is like."""
        number = self._groups.add()
        signature = self._blank.copy()
        signature.update_batch(shingles(text, self._likeness.shingle))
        like = list(self._like(signature))
        for other, _ in like:
            self._groups.join(number, other)
        if all(similarity < _SAME for _, similarity in like):
            self._index.insert(number, signature)
            self._kept[number] = signature
        self._equal.setdefault(signature.hashvalues.tobytes(), number)
        return [other for other, _ in like]

    def groups(self) -> list[int]:
        """Return for each text so far the number of the first text of its group."""
        return [self._groups.of(number) for number in range(len(self._groups))]

    def _like(self, signature: Any) -> Iterator[tuple[int, float]]:
        equal = self._equal.get(signature.hashvalues.tobytes())
        if equal is not None:
            yield equal, 1.0
            return
        for other in sorted(self._index.query(signature)):
            similarity = float(signature.jaccard(self._kept[other]))
            if similarity >= self._likeness.least:
                yield other, similarity


def shingles(text: str, length: int) -> list[bytes]:
    """Return the set of a text's runs of characters, sorted; case, punctuation and white space do not matter."""
    plain = _NOISE.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()
    runs = {plain[start : start + length] for start in range(max(len(plain) - length, 0) + 1)}
    return sorted(run.encode("utf-8", "replace") for run in runs)
