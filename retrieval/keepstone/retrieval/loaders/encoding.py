"""Bytes of unknown encoding to text: byte order mark, UTF-8, UTF-16 without mark, then the legacy encodings.

Chinese, Japanese and Korean encodings overlap, and statistics over bytes mistake one for the other in short files;
so each is tried, and the one wins under which the characters that are frequent in its language are frequent.
charset-normalizer decides about the rest (Western, Cyrillic, Greek, Hebrew, Arabic ...).
"""

from __future__ import annotations

import codecs
import re

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.language import detect_language
from keepstone.retrieval.loaders.base import SUPPORTED, shown

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is a prefix of this one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_EAST_ASIAN = (
    ("euc_jp", re.compile("[\u3041-\u30fe]")),
    ("cp932", re.compile("[\u3041-\u30fe]")),
    (
        "gb18030",
        re.compile(
            "[的一是不了在人有我他这中大来上国个到说们为和你地出也时年用以请可须应各所于之及内本第章条后员工公司]"
        ),
    ),
    (
        "big5hkscs",
        re.compile(
            "[的一是不了在人有我他這中大來上國個到說們為和你地出也時年用以請可須應各所於之及內本第章條後員工公司]"
        ),
    ),
    ("cp949", re.compile("[이다는의에가을를고하지로한사은도기리어자인정시니그해대라나]")),
)
# GB18030 reads EUC-JP's kana as the same kana, so Japanese needs plenty of them.
_ENOUGH = {"euc_jp": 0.3, "cp932": 0.3, "gb18030": 0.08, "big5hkscs": 0.08, "cp949": 0.2}
_SAMPLE = 64 * 1024
_OTHERS = [
    "cp1252",
    "cp1250",
    "cp1251",
    "koi8_r",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
    "cp1257",
    "cp874",
    "mac_roman",
]
# What the names mean on the web (https://encoding.spec.whatwg.org/#names-and-labels).
_WEB_NAMES = {
    "iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs",
    "shift_jis": "cp932", "euc_kr": "cp949", "iso8859-9": "cp1254", "tis-620": "cp874",
}  # fmt: skip
_CONTROLS = re.compile(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def decode(data: bytes, name: str) -> str:
    """Return the text of a file.

    Raises:
        UnreadableDocument: these bytes are no text in any encoding.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace")
    wide = _wide_encoding(data)
    if wide:
        return data.decode(wide, errors="replace")
    if looks_binary(data):
        raise not_text(name)
    data = data.replace(b"\x00", b"")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        # A few bad bytes in a long UTF-8 text are damage, not another encoding.
        if _mostly_utf8(data, error.start):
            return data.decode("utf-8", errors="replace")
    return data.decode(_legacy_encoding(data), errors="replace")


def decode_declared(data: bytes, label: str, name: str) -> str:
    """Return text whose encoding the file or its sender names: UTF-8 if it is that, else what is named, else `decode`.

    Raises:
        UnreadableDocument: these bytes are no text in any encoding.
    """
    for encoding in ("utf-8", _codec(label)):
        try:
            return data.decode(encoding) if encoding else decode(data, name)
        except UnicodeError:  # also from encodings such as "undefined"
            continue
    return decode(data, name)


def not_text(name: str) -> UnreadableDocument:
    """Return the error for bytes that are neither text nor any known format."""
    return UnreadableDocument(f"{shown(name)} is binary data of an unknown kind", fix=SUPPORTED)


def looks_binary(data: bytes) -> bool:
    """Tell whether bytes without byte order mark hold too many control characters to be text."""
    sample = data[:_SAMPLE]
    zeros = sample.count(0)
    # Text files that were padded or damaged carry runs of zeros; program files carry other control bytes as well.
    return len(_CONTROLS.findall(sample)) > max(2, 0.02 * (len(sample) - zeros)) or zeros > 0.9 * len(sample)


def _codec(label: str) -> str | None:
    try:
        found = codecs.lookup(label)
    except (LookupError, ValueError):  # the second for a name with a zero byte
        return None
    if not found._is_text_encoding:  # noqa: SLF001 - there is no public name for it
        return None
    return _WEB_NAMES.get(found.name, found.name)


def _wide_encoding(data: bytes) -> str | None:
    """Return the UTF-16 or UTF-32 variant of text without a mark, told by where its zero bytes stand."""
    sample = data[: 4096 - 4096 % 4]
    zeros = [sample[offset::4].count(0) * 4 / max(len(sample), 1) for offset in range(4)]
    for encoding, high, low in (
        ("utf-32-le", (1, 2, 3), (0,)),
        ("utf-32-be", (0, 1, 2), (3,)),
        ("utf-16-le", (1, 3), (0, 2)),
        ("utf-16-be", (0, 2), (1, 3)),
    ):
        if all(zeros[i] > 0.7 for i in high) and all(zeros[i] < 0.1 for i in low):
            text = sample.decode(encoding, errors="replace")
            return encoding if text.count("\ufffd") <= 0.02 * len(text) + 1 else None
    return _wide_chinese(sample) if looks_binary(data) else None


def _wide_chinese(sample: bytes) -> str | None:
    """Return the variant of UTF-16 under which frequent Chinese characters or kana are frequent, as in other text."""
    for encoding in ("utf-16-le", "utf-16-be"):
        for legacy in ("gb18030", "big5hkscs", "cp932"):
            if _share(sample, encoding, dict(_EAST_ASIAN)[legacy]) >= _ENOUGH[legacy]:
                return encoding
    return None


def _mostly_utf8(data: bytes, first_error: int) -> bool:
    sample = data[max(0, first_error - _SAMPLE) : first_error + _SAMPLE]
    text = sample.decode("utf-8", errors="replace")
    beyond_ascii = sum(1 for character in text if character > "\x7f")
    return text.count("\ufffd") < 0.1 * beyond_ascii and beyond_ascii >= 10


def _legacy_encoding(data: bytes) -> str:
    sample = data[:_SAMPLE]
    if len(data) > _SAMPLE:  # end at a line, so that no character is cut
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    best, best_score = "", 0.0
    for encoding, frequent in _EAST_ASIAN:
        score = _share(sample, encoding, frequent)
        if score >= _ENOUGH[encoding] and score > best_score:
            best, best_score = encoding, score
    return best or _western_encoding(sample)


def _share(sample: bytes, encoding: str, frequent: re.Pattern[str]) -> float:
    """Return how many of the characters beyond ASCII are frequent ones, 0 to 1; 0 where it is not that encoding."""
    text = sample.decode(encoding, errors="replace")
    beyond_ascii = sum(1 for character in text if character > "\x7f")
    if text.count("\ufffd") > 0.01 * beyond_ascii + (0 if len(sample) < _SAMPLE // 2 else 1):
        return 0.0
    return len(frequent.findall(text)) / max(beyond_ascii, 1)


def _western_encoding(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    # Accented letters are few in these languages; their common words tell better than statistics.
    if detect_language(sample.decode("cp1252", errors="ignore")):
        return "cp1252"
    match = from_bytes(sample, cp_isolation=_OTHERS).best()
    return match.encoding if match else "cp1252"
