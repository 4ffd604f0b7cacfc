"""Declining must rest on how the best passage stands out and how near a sentence is, and never shut a small
collection up."""

from dataclasses import replace

from keepstone.agents.evidence import (
    ABSTAIN_BELOW,
    BY_LIKENESS,
    BY_MEANING,
    BY_WORDS,
    Signs,
    evidence_strength,
    read_signs,
)
from keepstone.agents.quotes import read_sentences
from keepstone.agents.types import Passage
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.types import Hit

ENCODER = HashEncoder(256)
MINILM = "all-minilm-l6-v2@0123456789abcdef"


def signs_of(hits: list[Hit], passages: tuple[Passage, ...], *, dense_weight: float = 0.5) -> Signs:
    return read_signs(hits, read_sentences("How is the fuse rated?", passages, ENCODER, dense_weight=dense_weight))


def test_a_passage_that_stands_out_has_the_lead(passages: tuple[Passage, ...]) -> None:
    ahead = [replace(passages[0].hit, fused_score=score) for score in (3.0, 0.5, *[0.2] * 18)]
    level = [replace(passages[0].hit, fused_score=score) for score in (0.6, 0.5, *[0.2] * 18)]
    far, near = signs_of(ahead, passages).lead, signs_of(level, passages).lead
    assert far is not None
    assert near is not None
    assert round(far - near, 6) == 2.4


def test_the_likeness_is_that_of_the_nearest_sentence(passages: tuple[Passage, ...]) -> None:
    hits = [replace(passages[0].hit, fused_score=0.0)] * 20
    near = [replace(passages[0], text="Doors are closed at noon. How is the fuse rated today by us.")]
    far = [replace(passages[0], text="Doors are closed at noon. Lamps are green and very bright.")]
    likeness = [signs_of(hits, (each,)).likeness for (each,) in (near, far)]
    assert likeness[0] is not None
    assert likeness[1] is not None
    assert likeness[0] > likeness[1]


def test_likeness_has_no_say_in_a_language_that_the_encoder_does_not_know(passages: tuple[Passage, ...]) -> None:
    hits = [replace(passages[0].hit, fused_score=0.0)] * 20
    assert signs_of(hits, passages, dense_weight=0.0).likeness is None


def test_both_signs_count_for_an_encoder_whose_cosines_are_known() -> None:
    weak, led, like = Signs(0.8, 0.4, alike=True), Signs(3.5, 0.4, alike=True), Signs(0.8, 0.8, alike=True)
    assert evidence_strength(weak, MINILM) < ABSTAIN_BELOW
    assert evidence_strength(led, MINILM) > ABSTAIN_BELOW
    assert evidence_strength(like, MINILM) > ABSTAIN_BELOW


def test_the_cosines_of_an_unknown_encoder_are_not_trusted() -> None:
    strengths = {evidence_strength(Signs(1.5, likeness, alike=True), "other@1") for likeness in (0.1, 0.9)}
    assert len(strengths) == 1


def test_more_of_a_sign_is_never_weaker_evidence() -> None:
    for weights in (BY_WORDS, BY_MEANING, *BY_LIKENESS.values()):
        assert weights.lead > 0
        assert weights.likeness >= 0


def test_a_handful_of_passages_answers_whatever_is_alike(passages: tuple[Passage, ...]) -> None:
    hits = [passage.hit for passage in passages]
    assert evidence_strength(signs_of(hits, passages), MINILM) == 1.0
    unlike = [replace(hit, lexical_score=0.0, dense_score=0.1) for hit in hits]
    assert evidence_strength(signs_of(unlike, passages), MINILM) == 0.0
    assert evidence_strength(signs_of([], ()), MINILM) == 0.0
