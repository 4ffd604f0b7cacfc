"""Small talk: greetings, thanks and farewells, and what is said to them without a search and without a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

Kind = Literal["greeting", "thanks", "farewell"]

_SAID: Final[dict[Kind, str]] = {
    "greeting": r"""
        (?:hi|hello|hey|howdy|greetings)(?:\s+(?:there|all|everyone|everybody|again|keepstone))?
        | good\s+(?:morning|afternoon|evening|day)
        | how\s+are\s+you(?:\s+doing)?(?:\s+today)? | how\s+do\s+you\s+do | nice\s+to\s+meet\s+you
        | who\s+are\s+you | what\s+can\s+you\s+do(?:\s+for\s+me)? | what\s+can\s+i\s+ask(?:\s+you)?
        | hallo | guten\s+(?:morgen|tag|abend) | bonjour | salut | bonsoir | hola | buenos\s+d[ií]as | ciao
        | buongiorno | (?:你|您)好[呀啊吗]? | 嗨 | 哈[喽罗] | (?:早上|上午|中午|下午|晚上)好 | 早安 | 在吗 | 你是谁
        | 你(?:能|会|可以)做什么""",
    "thanks": r"""
        (?:many\s+)?thanks(?:\s+(?:a\s+lot|so\s+much|very\s+much|again|for\s+(?:your|the)\s+help))? | thx | cheers
        | thank\s+you(?:\s+(?:very|so)\s+much)?(?:\s+for\s+(?:your|the)\s+help)?
        | (?:that(?:'s|\s+is)\s+|very\s+|so\s+)?(?:great|perfect|excellent|awesome|helpful)
        | that\s+helps(?:\s+a\s+lot)?
        | danke(?:\s+(?:schön|sehr))? | merci(?:\s+beaucoup)? | (?:muchas\s+)?gracias | grazie
        | (?:非常|十分|太)?(?:感谢|谢谢|多谢)[你您啦了]? | 辛苦了""",
    "farewell": r"""
        (?:good)?\s*bye(?:\s*bye)? | see\s+you(?:\s+(?:later|soon|tomorrow))? | good\s+night
        | have\s+a\s+(?:nice|good|great)\s+day | tschüss | auf\s+wiedersehen | au\s+revoir | adi[oó]s
        | 再见 | 拜拜 | 晚安""",
}
_SYMBOLS: Final = r"\u2190-\u2bff\ufe0f\U0001f000-\U0001faff"
_BETWEEN: Final = rf"(?:\s|[,.!?;:~，。！？、…{_SYMBOLS}]|\bok(?:ay)?\b|\band\b)*"
_ONE: Final = "|".join(f"(?P<{kind}>{said})" for kind, said in _SAID.items())
_PHRASE: Final = re.compile(rf"{_BETWEEN}(?:{_ONE})(?![^\W\u4e00-\u9fff]|['’])", re.IGNORECASE | re.VERBOSE)
_REST: Final = re.compile(_BETWEEN, re.IGNORECASE)
_LONGEST: Final = 120
_NAMED: Final = 3


def is_small_talk(message: str) -> bool:
    """Tell whether a message holds small talk and nothing else."""
    return small_talk(message) is not None


def small_talk(message: str) -> Kind | None:
    """Return what kind of small talk a message is, by its last phrase; None where it says anything else."""
    kind: Kind | None = None
    at = 0
    while len(message) <= _LONGEST and (found := _PHRASE.match(message, at)):
        kind = next(each for each in _SAID if found[each] is not None)
        at = found.end()
    return kind if _REST.fullmatch(message, at) else None


def reply_to(message: str, collections: Sequence[str]) -> str:
    """Return what is said to small talk.

    Args:
        message: what was said.
        collections: names of those that can be asked.
    """
    kind = small_talk(message) or "greeting"
    if re.search("[\u4e00-\u9fff]", message):
        return _in_chinese(kind, collections)
    if kind == "thanks":
        return "You are welcome. Ask on whenever you like."
    if kind == "farewell":
        return "Goodbye!"
    if not collections:
        return "Hello! I answer from documents, and show where each answer stands. There are none here yet."
    return (
        f"Hello! Ask me anything about the documents {_where(collections)}: a fact, how something is done, or how two "
        "things compare. I answer from what stands there, and show the passages."
    )


def _where(collections: Sequence[str]) -> str:
    if len(collections) > _NAMED:
        return f"in your {len(collections)} collections"
    return "in " + " and ".join(filter(None, [", ".join(collections[:-1]), collections[-1]]))


def _in_chinese(kind: Kind, collections: Sequence[str]) -> str:
    if kind == "thanks":
        return "不客气，欢迎继续提问。"
    if kind == "farewell":
        return "再见！"
    if not collections:
        return "你好！我根据文档回答问题，并给出出处。这里还没有文档。"
    where = "、".join(collections) if len(collections) <= _NAMED else f"您的 {len(collections)} 个集合"
    return f"你好！您可以就 {where} 中的文档提问，比如某个事实，或某件事怎么做。我只根据文档回答，并给出出处。"
