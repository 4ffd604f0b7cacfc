"""Which language a text is in, told in microseconds: by script, and among Latin scripts by function words.

Made for choosing a tokenizer or stemmer per chunk and per query, not for naming rare languages: None is the honest
answer for anything that the evidence does not settle.
"""

from __future__ import annotations

import re

_SAMPLE = 1500

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
_KANA = re.compile("[\u3041-\u30ff\uff66-\uff9f]")
_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")
_WORD = re.compile("[a-z\u00df-\u00f6\u00f8-\u017f']+")
# Other scripts, each with its commonest language and, where one letter betrays another, that one.
_SCRIPTS: tuple[tuple[str, re.Pattern[str], str, re.Pattern[str] | None], ...] = (
    ("ru", re.compile("[\u0400-\u04ff]"), "uk", re.compile("[іїєґІЇЄҐ]")),
    ("ar", re.compile("[\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc]"), "fa", re.compile("[پچژگی]")),
    ("he", re.compile("[\u0590-\u05ff]"), "", None),
    ("el", re.compile("[\u0370-\u03ff\u1f00-\u1fff]"), "", None),
    ("hi", re.compile("[\u0900-\u097f]"), "", None),
    ("bn", re.compile("[\u0980-\u09ff]"), "", None),
    ("ta", re.compile("[\u0b80-\u0bff]"), "", None),
    ("th", re.compile("[\u0e00-\u0e7f]"), "", None),
    ("ka", re.compile("[\u10a0-\u10ff]"), "", None),
    ("hy", re.compile("[\u0530-\u058f]"), "", None),
)
_FUNCTION_WORDS = {
    "en": "the of and to in is that it for was on are with as be this by at from or an not which you have has can "
    "will if how what when where who why do does may must should your our their they we all any each per were been "
    "i my me many much long there about into than",
    "de": "der die das und ist nicht ein eine einen einem einer zu den dem des mit von auf für im sich wird werden "
    "auch als bei oder aus wie wenn kann sind nach durch über ich sie wir ihr was wer wo wann",
    "fr": "le la les et des est une un du en dans que qui pour pas sur au aux avec ce cette par plus sont ou vous nous "
    "il elle être à où comment quel quelle",
    "es": "el la los las de que es un una del en por con para no se al como más su sus está son lo esta este qué "
    "cómo cuál dónde",
    "it": "il la le gli di che è un una del della dei per con non si al alla come più sono nel nella lo da cosa "
    "quale dove",
    "pt": "os as de que é um uma do da dos das em por com para não se ao como mais no na são ou qual onde",
    "nl": "de het een en van is dat niet in op te met voor zijn aan er wordt ook als bij of naar uit moet worden "
    "elke deze wat hoe wie waar",
}
_LANGUAGES_OF: dict[str, tuple[str, ...]] = {}
for _language, _words in _FUNCTION_WORDS.items():
    for _one in _words.split():
        _LANGUAGES_OF[_one] = (*_LANGUAGES_OF.get(_one, ()), _language)
# A character of Chinese or Korean says more than a letter does; about this many make a word.
_HAN_PER_WORD, _HANGUL_PER_WORD, _LETTERS_PER_WORD = 1.6, 2.5, 5.0


def detect_language(text: str) -> str | None:
    """Return the ISO 639-1 code of the dominant language, None where it cannot be told.

    Languages are weighed by words, so a Chinese sentence stays Chinese when it names products in Latin letters. Only
    the beginning and the middle of a long text are read.
    """
    if len(text) > 2 * _SAMPLE:
        middle = len(text) // 2
        text = text[:_SAMPLE] + "\n" + text[middle : middle + _SAMPLE]
    words = _WORD.findall(text.lower())
    if text.isascii():
        return _by_function_words(words)
    weights = _other_scripts(text)
    latin = float(len(words))
    best = max(weights, key=lambda language: weights[language], default="")
    if best and weights[best] >= latin:
        return best
    return _by_function_words(words) or (best if best and weights[best] >= 0.5 * latin else None)


def _other_scripts(text: str) -> dict[str, float]:
    """Return the number of words, roughly, in each language that is told by its script."""
    weights: dict[str, float] = {}
    kana, han = len(_KANA.findall(text)), len(_HAN.findall(text))
    if kana > 0.08 * (kana + han):
        weights["ja"] = (kana + han) / _HAN_PER_WORD
    elif han:
        weights["zh"] = han / _HAN_PER_WORD
    hangul = len(_HANGUL.findall(text))
    if hangul:
        weights["ko"] = hangul / _HANGUL_PER_WORD
    for language, script, other, betrayed_by in _SCRIPTS:
        letters = len(script.findall(text))
        if letters:
            if betrayed_by and len(betrayed_by.findall(text)) > 0.01 * letters:
                language = other  # noqa: PLW2901 - the script's second language
            weights[language] = letters / _LETTERS_PER_WORD
    return weights


def _by_function_words(words: list[str]) -> str | None:
    counts = dict.fromkeys(_FUNCTION_WORDS, 0)
    for word in words:
        for language in _LANGUAGES_OF.get(word, ()):
            counts[language] += 1
    best, second = sorted(counts, key=lambda language: counts[language], reverse=True)[:2]
    if counts[best] < max(1.0, 0.06 * len(words)):
        return None
    if best == "en":  # it comes first among equals
        return best
    # One word alone is as likely a name or an English homograph: "die", "son", "van".
    return best if counts[best] > max(1, counts[second]) else None
