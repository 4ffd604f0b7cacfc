"""What search and answering get for one held-out question, by the names of the figures.

A question that the documents do not answer is made of one that they do: its document is left out of the search. It
counts only where nothing else that is found holds the answer, too. Abstention is the share of right decisions: to
answer with the document, to decline without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from keepstone.agents.support import SUPPORTED, Evidence
from keepstone.agents.types import Answer, Claim, Passage
from keepstone.retrieval.types import Hit
from keepstone.training.evaluate.held_out import HeldOut
from keepstone.training.evaluate.metrics import exact_match, ndcg, recall, token_f1

Scores = Mapping[str, float]
K = 10
_MARK = re.compile(r"\s?\[\d{1,3}\]")


def search_scores(question: HeldOut, hits: Sequence[Hit]) -> dict[str, float]:
    """Return what a ranking is worth.

    Args:
        question: what was asked.
        hits: at least ten where there are so many, best first; one that was widened to hold the passage counts as it.
    """
    ranked = list(dict.fromkeys(question.chunk_id if _holds(hit, question) else hit.chunk_id for hit in hits))
    relevant = {question.chunk_id}
    return {f"ndcg@{K}": ndcg(ranked, relevant, K), f"recall@{K}": recall(ranked, relevant, K)}


def _holds(hit: Hit, question: HeldOut) -> bool:
    return hit.document_id == question.document_id and hit.start <= question.start and question.end <= hit.end


def answer_scores(question: HeldOut, answer: Answer) -> dict[str, float]:
    """Return what an answer is worth; a figure that does not apply to it is left out.

    A citation is right where the span that it points to touches the passage that answers. Precision is the share of
    right citations; recall is whether there is any, since one passage answers.
    """
    scores: dict[str, float] = {}
    declined = answer.outcome == "declined"
    if question.answer:
        said = "" if declined else _MARK.sub("", answer.content)
        scores["exact_match"] = exact_match(said, question.answer, question.language)
        scores["f1"] = token_f1(said, question.answer, question.language)
    passages = {passage.number: passage for passage in answer.passages}
    right = [_points_at(claim, passages, question) for claim in answer.claims if claim.citation in passages]
    scores["citation_recall"] = float(any(right) and not declined)
    if right and not declined:
        scores["citation_precision"] = sum(right) / len(right)
    return scores


def abstention(*, declined: bool, declined_without: bool | None) -> float:
    """Return the share of right decisions about one question.

    Args:
        declined: whether it was declined with its document at hand.
        declined_without: the same without the document; None where other documents answer as well.
    """
    right = [not declined] if declined_without is None else [not declined, declined_without]
    return sum(right) / len(right)


def answered_elsewhere(question: HeldOut, passages: Sequence[Passage]) -> bool:
    """Tell whether passages of other documents hold the answer; where it is not known, they may."""
    if not question.answer:
        return True
    support = Evidence(passages).best(question.answer)
    return support is not None and support.score >= SUPPORTED


def _points_at(claim: Claim, passages: Mapping[int, Passage], question: HeldOut) -> bool:
    assert claim.citation is not None
    hit = passages[claim.citation].hit
    if hit.document_id != question.document_id:
        return False
    if claim.quote_start is None or claim.quote_end is None:
        return hit.chunk_id == question.chunk_id
    return claim.quote_start < question.end and question.start < claim.quote_end
