"""Pictures of text (.png, .jpg, .tiff), read by text recognition; each page of a TIFF is a page."""

from __future__ import annotations

import io
import warnings

from PIL import Image, ImageSequence, UnidentifiedImageError

from keepstone.platform.errors import LimitExceeded, UnreadableDocument
from keepstone.retrieval.loaders import ocr
from keepstone.retrieval.loaders.base import LoadLimits, parser_id, shown
from keepstone.retrieval.loaders.detect import JPEG, PNG, TIFF, detect
from keepstone.retrieval.loaders.writer import MarkdownWriter
from keepstone.retrieval.types import Document

_MOST_PIXELS = 100_000_000
_MOST_PAGES = 500
_DAMAGE = (OSError, ValueError, SyntaxError, KeyError, TypeError, IndexError, EOFError, OverflowError, RuntimeError)


class ImageLoader:
    """Reads pictures of text."""

    name = "image"
    media_types = frozenset({PNG, JPEG, TIFF})

    @property
    def version(self) -> str:
        """See `Loader.version`."""
        return f"1 tesseract {ocr.version()}"

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        if ocr.program() is None:
            raise UnreadableDocument(f"{shown(name)} is a picture, which needs OCR", fix=ocr.INSTALL)
        writer = MarkdownWriter(limits.max_text_chars)
        try:
            with (
                warnings.catch_warnings(action="ignore"),
                Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "TIFF")) as picture,
            ):
                pages = getattr(picture, "n_frames", 1)
                for number, frame in enumerate(ImageSequence.Iterator(picture), start=1):
                    _check_size(frame, number, name)
                    if pages > 1:
                        writer.page(number)
                    for paragraph in ocr.recognise(frame, name, limits):
                        writer.paragraph(paragraph)
        except (UnreadableDocument, LimitExceeded):
            raise
        except Image.DecompressionBombError as error:
            raise _too_large(name) from error
        except (*_DAMAGE, UnidentifiedImageError) as error:
            raise UnreadableDocument(
                f"{shown(name)} is a damaged picture", fix="Open it in its program and save it again"
            ) from error
        if writer.is_empty:
            raise UnreadableDocument(
                f"{shown(name)} is a picture in which no text was found",
                fix=f"Leave it out. {ocr.OTHER_LANGUAGES}",
            )
        return writer.document(name=name, media_type=detect(data, name), parser=parser_id(self))


def _check_size(frame: Image.Image, number: int, name: str) -> None:
    if frame.width * frame.height > _MOST_PIXELS or number > _MOST_PAGES:
        raise _too_large(name)


def _too_large(name: str) -> LimitExceeded:
    return LimitExceeded(
        f"{shown(name)} is larger than {_MOST_PIXELS // 1_000_000} million pixels or {_MOST_PAGES} pages",
        fix="Scale it down, or split it",
    )
