"""Declining must rest on how the best passage stands out, and never shut a small collection up."""

from dataclasses import replace

from keepstone.agents.evidence import ABSTAIN_BELOW, evidence_strength
from keepstone.agents.types import Passage


def test_a_passage_that_stands_out_is_strong_evidence(passages: tuple[Passage, ...]) -> None:
    field = [replace(passages[0].hit, score=score) for score in (3.0, 0.5, *[0.2] * 18)]
    flat = [replace(passages[0].hit, score=score) for score in (0.6, 0.5, *[0.2] * 18)]
    assert evidence_strength(field) > ABSTAIN_BELOW > evidence_strength(flat)


def test_a_handful_of_passages_answers_whatever_is_alike(passages: tuple[Passage, ...]) -> None:
    hits = [passage.hit for passage in passages]
    assert evidence_strength(hits) > ABSTAIN_BELOW
    unlike = [replace(hit, lexical_score=0.0, dense_score=0.1) for hit in hits]
    assert evidence_strength(unlike) < ABSTAIN_BELOW
    assert evidence_strength([]) == 0.0
