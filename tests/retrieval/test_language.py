"""Languages are told well enough to choose a tokenizer or stemmer, and never guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.retrieval.language import detect_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How long is the probation period?", "en"),
        ("Clean the filter of the pump daily", "en"),
        ("THE PUMP MUST BE CLEANED", "en"),
        ("The word 水泵 means pump in the manual", "en"),
        ("试用期多长？", "zh"),
        ("請假須提前三天提出申請", "zh"),
        ("请使用 Corvan 220 的 EcoMode 功能", "zh"),
        ("フィルターは毎日掃除してください", "ja"),
        ("従業員の休暇について", "ja"),
        ("필터는 매일 청소해야 합니다", "ko"),
        ("Фильтр необходимо чистить каждый день", "ru"),
        ("Фільтр необхідно чистити щодня", "uk"),
        ("يجب تنظيف المرشح كل يوم", "ar"),
        ("فیلتر باید هر روز تمیز شود", "fa"),
        ("יש לנקות את המסנן", "he"),
        ("Το φίλτρο πρέπει να καθαρίζεται", "el"),
        ("ต้องทำความสะอาดตัวกรองทุกวัน", "th"),
        ("फ़िल्टर को प्रतिदिन साफ करें", "hi"),
        ("Der Filter ist täglich zu reinigen", "de"),
        ("Le filtre doit être nettoyé dans la journée", "fr"),
        ("El filtro se debe limpiar todos los días", "es"),
        ("Il filtro deve essere pulito con la spazzola", "it"),
        ("O filtro não deve ser limpo com uma escova", "pt"),
        ("Het filter moet elke dag worden schoongemaakt", "nl"),
        ("", None),
        ("4711 / 0815 - 3.5", None),
        ("Lorem ipsum dolor amet", None),
        ("| 12 | 13 |", None),
    ],
)
def test_language(text: str, language: str | None) -> None:
    assert detect_language(text) == language


def test_long_text_is_judged_by_its_beginning_and_middle() -> None:
    assert detect_language("每天清洗过滤器。" * 100_000) == "zh"
    assert detect_language("the pump and the filter " * 100_000) == "en"


@given(st.text())
def test_any_text_has_a_code_or_none(text: str) -> None:
    language = detect_language(text)
    assert language is None or (len(language) == 2 and language.isalpha())
