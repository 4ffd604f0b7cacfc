"""What a small model may repeat must be sentences that can be answers, the likeliest first."""

from collections.abc import Callable

from keepstone.agents.quotes import Quote, find_quotes, read_sentences
from keepstone.agents.types import Passage
from keepstone.retrieval.encoder import HashEncoder

ENCODER = HashEncoder(256)


def quotes_of(question: str, passage: Passage) -> list[str]:
    return [quote.text for quote in quotes(question, passage)]


def quotes(question: str, passage: Passage) -> list[Quote]:
    read = read_sentences(question, [passage], ENCODER, dense_weight=0.5)
    return find_quotes(question, [passage], read, dense_weight=0.5)


def test_the_sentence_that_shares_the_question_s_words_comes_first(passage_of: Callable[..., Passage]) -> None:
    passage = passage_of(1, "The lamp is green and bright. The fuse is rated at 3 ampere. Doors are closed at noon.")
    assert quotes_of("What is the fuse rated at?", passage)[0] == "The fuse is rated at 3 ampere."


def test_questions_headings_and_table_heads_are_no_answers(passage_of: Callable[..., Passage]) -> None:
    text = (
        "# Fuse rating of the lamp\n\n## The rated fuse of the lamp is blown.\n\n3. HOW THE FUSE IS RATED\n\n"
        "What is the rated fuse of the lamp?\n\n"
        "| Fuse rated lamp | What to do | Ampere |\n| --- | --- | --- |\n| F1 | Replace the blown fuse | 3 |\n"
    )
    assert quotes_of("What is the fuse of the lamp rated at?", passage_of(1, text)) == ["F1: Replace the blown fuse; 3"]


def test_quotes_point_at_their_characters_in_the_document(passage_of: Callable[..., Passage]) -> None:
    passage = passage_of(1, "Intro of some kind. The fuse is rated at 3 ampere.", start=1000)
    [quote] = quotes("fuse rated ampere", passage)[:1]
    assert passage.text[quote.start - 1000 : quote.end - 1000] == quote.text


def test_a_passage_without_a_sentence_worth_quoting_is_quoted_whole(passage_of: Callable[..., Passage]) -> None:
    assert quotes_of("Anything?", passage_of(1, "# Title only")) == ["Title only"]


def test_no_passage_gives_nothing() -> None:
    read = read_sentences("Anything?", [], ENCODER, dense_weight=0.5)
    assert find_quotes("Anything?", [], read, dense_weight=0.5) == []


def test_a_capital_letter_among_chinese_is_no_heading(passage_of: Callable[..., Passage]) -> None:
    text = "请按报警按钮。金属粉末着火，只能使用 D 类灭火器，严禁用水。"
    assert quotes_of("金属粉末着火怎么办？", passage_of(1, text))[0] == "金属粉末着火，只能使用 D 类灭火器，严禁用水。"
