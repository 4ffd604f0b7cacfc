"""A citation is worth something only if the check behind it cannot be fooled by invented figures."""

from keepstone.agents.support import SUPPORTED, Evidence
from keepstone.agents.types import Passage


def test_a_true_sentence_is_supported_by_its_own_words(passages: tuple[Passage, ...]) -> None:
    best = Evidence(passages).best("You need a medical certificate from the fourth day of absence.")
    assert best is not None
    assert best.number == 2
    assert best.score >= SUPPORTED
    offset = passages[1].hit.start
    quoted = passages[1].text[best.start - offset : best.end - offset]
    assert quoted.startswith("A medical certificate")


def test_an_invented_number_is_not_supported(passages: tuple[Passage, ...]) -> None:
    claim = "A medical certificate is required from the 17th consecutive day of absence."
    assert Evidence(passages).best(claim) is None


def test_thousands_separators_do_not_make_another_number(passage_of: object) -> None:
    passage = passage_of(1, "The limit is 1,500 euro per trip.")  # type: ignore[operator]
    best = Evidence([passage]).best("The limit per trip is 1500 euro.")
    assert best is not None
    assert best.score >= SUPPORTED


def test_unrelated_sentences_are_not_supported(passages: tuple[Passage, ...]) -> None:
    best = Evidence(passages).best("The Sligo clinic offers excellent dental treatment near the river.")
    assert best is None or best.score < SUPPORTED


def test_the_passage_that_the_model_named_wins_when_it_holds(passage_of: object) -> None:
    same = "Visitors sign in at the front desk."
    evidence = Evidence([passage_of(1, same), passage_of(2, same)])  # type: ignore[operator]
    best = evidence.best(same, prefer=2)
    assert best is not None
    assert best.number == 2


def test_chinese_is_checked_word_by_word(passages: tuple[Passage, ...]) -> None:
    best = Evidence(passages).best("同一地点第二台起每台 420 元")
    assert best is not None
    assert (best.number, best.score >= SUPPORTED) == (3, True)


def test_short_answers_and_lead_ins_are_no_claims(passages: tuple[Passage, ...]) -> None:
    evidence = Evidence(passages)
    assert not evidence.is_claim("Yes.")
    assert not evidence.is_claim("Here is what the handbook says:")
    assert evidence.is_claim("Premium economy may be booked.")
