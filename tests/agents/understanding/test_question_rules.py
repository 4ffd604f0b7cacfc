"""Rules that decide without a model have to be right: small talk taken for a question, or a question for small talk,
is what people notice at once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepstone.agents.understanding.comparison import sides
from keepstone.agents.understanding.dictionary import terms_in_english
from keepstone.agents.understanding.intent import intent_by_rules
from keepstone.agents.understanding.smalltalk import reply_to, small_talk


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("hi", "greeting"),
        ("Hello there!", "greeting"),
        ("Good morning 😀", "greeting"),
        ("你好！", "greeting"),
        ("What can you do?", "greeting"),
        ("Ok, thanks a lot.", "thanks"),
        ("Hi and thank you", "thanks"),
        ("你好，谢谢你", "thanks"),
        ("Goodbye", "farewell"),
        ("再见", "farewell"),
    ],
)
def test_small_talk_is_known(message: str, kind: str) -> None:
    assert small_talk(message) == kind
    assert intent_by_rules(message) == "chat"
    assert reply_to(message, ["handbook"])


@pytest.mark.parametrize(
    "message",
    ["", "?", "ok", "help", "hi, how long is the warranty?", "Hello World", "thanks to whom?", "你好中国", "high"],
)
def test_anything_else_is_none(message: str) -> None:
    assert small_talk(message) is None


@settings(deadline=None)  # the dictionary is loaded once
@given(st.text(st.characters(), max_size=300))
def test_no_message_breaks_the_rules(message: str) -> None:
    intent_by_rules(message)
    assert isinstance(terms_in_english(message), str)
    assert reply_to(message, [])


@pytest.mark.parametrize(
    ("question", "intent"),
    [
        ("List all products with a warranty of two years", "aggregate"),
        ("How many documents mention E14?", "aggregate"),
        ("列出所有型号", "aggregate"),
        ("How many days of leave do I get?", "search"),
        ("What is the difference between paid and unpaid leave?", "compare"),
        ("年假和病假有什么区别？", "compare"),
        ("Which of these is true?", "search"),
    ],
)
def test_what_a_question_wants_is_told_by_its_words(question: str, intent: str) -> None:
    assert intent_by_rules(question) == intent


@pytest.mark.parametrize(
    ("question", "first", "second"),
    [
        ("Compare the AF-100 with the AF-200.", "Compare the AF-100.", "Compare the AF-200."),
        (
            "Who is older, Annie Morton or Terry Richardson?",
            "Who is older, Annie Morton?",
            "Who is older, Terry Richardson?",
        ),
        ("Were Ada Lovelace and Mary Shelley poets?", "Were Ada Lovelace poets?", "Were Mary Shelley poets?"),
        ("年假和病假有什么区别？", "年假有什么区别？", "病假有什么区别？"),
    ],
)
def test_a_comparison_is_asked_about_either_side(question: str, first: str, second: str) -> None:
    assert sides(question) == (first, second)


@pytest.mark.parametrize("question", ["How long is the warranty?", "Is it true or false?", "Terms and conditions", ""])
def test_other_questions_have_no_sides(question: str) -> None:
    assert sides(question) == ()


def test_words_are_looked_up_in_their_order() -> None:
    """Latin letters and numbers stay; words that tell nothing are left out."""
    terms = terms_in_english("AF-200 的保修期有多长？").split()
    assert terms[0] == "AF-200"
    assert "guarantee" in terms
    assert not any("\u4e00" <= letter <= "\u9fff" for term in terms for letter in term)
