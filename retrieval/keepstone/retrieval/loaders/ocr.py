"""Text recognition (OCR) by tesseract, where that program is installed; a picture in, its paragraphs out.

It runs in the languages that are installed with it, one picture at a time, under the caps of the process that asks.
"""

from __future__ import annotations

import csv
import io
import math
import os
import resource
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from typing import Final

from PIL import Image, ImageOps

from keepstone.platform.errors import LimitExceeded, UnreadableDocument
from keepstone.retrieval.loaders.base import LoadLimits, shown

INSTALL: Final = (
    "Install text recognition: `apt-get install tesseract-ocr`, and the languages of your documents, such as"
    " `tesseract-ocr-deu` or `tesseract-ocr-chi-sim`"
)
"""The fix where a picture cannot be read."""
OTHER_LANGUAGES: Final = (
    "For text in other languages install these for OCR, such as `apt-get install tesseract-ocr-deu`"
)
"""The fix where nothing was found in a picture."""

_LONGEST_SIDE = 4000
# Each further language makes it slower, and mistakes more likely.
_MOST_LANGUAGES = 6
# Mean confidence, 0 to 100, below which "words" are the texture of a photograph.
_LEAST_CONFIDENCE = 40.0
_WORD_LEVEL = "5"


@cache
def program() -> str | None:
    """Return the path of tesseract, None where it is not installed."""
    return shutil.which("tesseract")


@cache
def version() -> str:
    """Return the version of tesseract."""
    return _run(["--version"], b"", 20).partition("\n")[0].removeprefix("tesseract ").strip()


def recognise(picture: Image.Image, name: str, limits: LoadLimits) -> list[str]:
    """Return the paragraphs of a picture in reading order.

    Args:
        picture: of text.
        name: of the file, for messages.
        limits: the caps that hold.

    Raises:
        UnreadableDocument: tesseract is not installed, or fails.
        LimitExceeded: it takes too long.
    """
    if program() is None:
        raise UnreadableDocument(f"{shown(name)} holds text in pictures, which needs OCR", fix=INSTALL)
    upright = _prepared(picture)
    try:
        # Tesseract finds out which way is up where there is enough text to tell.
        return _read(upright, limits) or _read(upright.transpose(Image.Transpose.ROTATE_180), limits)
    except subprocess.TimeoutExpired as error:
        raise LimitExceeded(
            f"Recognising the text of {shown(name)} takes longer than {limits.timeout_s:g} seconds",
            fix="Split the file, or raise `ingestion.load_timeout_s` in keepstone.toml",
        ) from error
    except (subprocess.CalledProcessError, OSError) as error:
        raise UnreadableDocument(f"The text of {shown(name)} could not be recognised", fix=INSTALL) from error


def _read(picture: Image.Image, limits: LoadLimits) -> list[str]:
    languages = _languages()
    layout = "1" if "osd" in languages else "3"
    chosen = "+".join([each for each in languages if each not in ("osd", "equ")][:_MOST_LANGUAGES])
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=1)
    table = _run(["stdin", "stdout", "-l", chosen, "--psm", layout, "tsv"], stream.getvalue(), limits.timeout_s)
    return _paragraphs(table)


@cache
def _languages() -> tuple[str, ...]:
    # English first: it reads digits and Latin letters best.
    found = _run(["--list-langs"], b"", 20).split("\n")[1:]
    return tuple(sorted((each.strip() for each in found if each.strip()), key=lambda each: (each != "eng", each)))


def _run(arguments: Sequence[str], data: bytes, timeout_s: float) -> str:
    path = program()
    assert path is not None
    environment = {each: os.environ[each] for each in ("PATH", "TESSDATA_PREFIX") if each in os.environ}
    environment |= {"OMP_THREAD_LIMIT": "1", "LANG": "C.UTF-8"}
    command = [path, *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        seconds = math.ceil(timeout_s)
        try:
            # Whoever asked may be killed meanwhile; then this ends it.
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (seconds, seconds))
            output, _ = process.communicate(data, timeout=timeout_s)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return output.decode("utf-8", errors="replace")


def _prepared(picture: Image.Image) -> Image.Image:
    """Return a grey picture, upright and of bounded size, on white where it was transparent."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        white.alpha_composite(picture)
        picture = white
    picture = picture.convert("L")
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return picture


def _paragraphs(table: str) -> list[str]:
    """Return the paragraphs of tesseract's table of words."""
    lines: dict[tuple[str, str], dict[str, list[str]]] = {}
    confidences: dict[tuple[str, str], list[float]] = {}
    for row in csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE):
        word = (row.get("text") or "").strip()
        if row["level"] == _WORD_LEVEL and word:
            place = (row["block_num"], row["par_num"])
            lines.setdefault(place, {}).setdefault(row["line_num"], []).append(word)
            confidences.setdefault(place, []).append(float(row["conf"]))
    return [
        _joined([" ".join(words) for words in of_paragraph.values()])
        for place, of_paragraph in lines.items()
        if sum(confidences[place]) / len(confidences[place]) >= _LEAST_CONFIDENCE
    ]


def _joined(lines: Sequence[str]) -> str:
    """Return one paragraph of its lines; a word that is broken at a line's end becomes whole."""
    text = ""
    for line in lines:
        if text.endswith("-") and text[-2:-1].isalpha() and line[:1].islower():
            text = text[:-1] + line
        else:
            text = f"{text} {line}" if text else line
    return text
