"""The split into training and test, by documents: nothing that is tested was in any form trained on.

Documents that are near-duplicates, or of which one holds most of the other, fall on the same side. A passage that
stands in documents of both sides, such as a common footer, belongs to training only.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

from keepstone.training.data.duplicates import Groups
from keepstone.training.data.rows import Side

# Documents of which the smaller shares more than this much of its passages with the other are one.
_SHARED = 0.5
# What stands in more documents than this is boilerplate, and tells nothing about two of them.
_COMMON = 10


def join_documents(alike: Sequence[int], passages: Mapping[int, Sequence[int]]) -> list[int]:
    """Return for each document the number of the first document of its group.

    Args:
        alike: the same by the likeness of whole documents.
        passages: the groups of its passages, by document.
    """
    groups = Groups(len(alike))
    for number, first in enumerate(alike):
        groups.join(number, first)
    holders: defaultdict[int, set[int]] = defaultdict(set)
    for document, held in passages.items():
        for passage in held:
            holders[passage].add(document)
    shared: Counter[tuple[int, int]] = Counter()
    for documents in holders.values():
        if len(documents) <= _COMMON:
            shared.update(combinations(sorted(documents), 2))
    for (one, other), count in shared.items():
        if count > _SHARED * min(len(set(passages[one])), len(set(passages[other]))):
            groups.join(one, other)
    return [groups.of(number) for number in range(len(alike))]


def choose_sides(
    names: Sequence[str], sizes: Sequence[int], groups: Sequence[int], *, share: float, seed: int
) -> list[Side]:
    """Return the side of each document; all of one group are on the same side, and neither side is empty.

    Args:
        names: of the documents, which decide together with the seed; their order does not matter.
        sizes: number of passages of each.
        groups: the group of each; there must be at least two.
        share: of the passages that is to be held out, roughly.
        seed: for another split.
    """
    members: defaultdict[int, list[int]] = defaultdict(list)
    for document, group in enumerate(groups):
        members[group].append(document)
    assert len(members) > 1, "one group cannot be split"
    weight = {group: sum(sizes[document] for document in found) for group, found in members.items()}
    order = sorted(members, key=lambda group: _lot(seed, min(names[document] for document in members[group])))
    total, held, test = sum(weight.values()), 0, set[int]()
    for group in order:
        # At most half as much again as asked for, so that one large document is not the whole test.
        if held < share * total and held + weight[group] <= 1.5 * share * total:
            test.add(group)
            held += weight[group]
    if not test:
        test.add(min(order, key=lambda group: weight[group]))
    return ["test" if group in test else "train" for group in groups]


def passages_of_both_sides(groups: Sequence[int], sides: Sequence[Side]) -> set[int]:
    """Return the groups of passages that stand on both sides.

    Args:
        groups: the group of each passage.
        sides: the side of each passage's document.
    """
    found: defaultdict[int, set[Side]] = defaultdict(set)
    for group, side in zip(groups, sides, strict=True):
        found[group].add(side)
    return {group for group, on in found.items() if len(on) > 1}


def _lot(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "replace")).hexdigest()
