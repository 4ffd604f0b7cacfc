"""The rerankers of this process, by name: two that need the encoder alone, the language model, and installed ones.

rerankers = Rerankers(encoder, load=lambda name: open_reranker(registry.get(name), settings))
rerankers.get("late").scores("How long is the warranty?", ["Two years.", "It weighs three kilograms."])
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from keepstone.platform.errors import InvalidInput, ModelMissing
from keepstone.platform.model_settings import EncoderSettings
from keepstone.platform.models.registry import InstalledModel
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.reranking.base import Reranker
from keepstone.retrieval.reranking.bi_encoder import CosineReranker, LateReranker
from keepstone.retrieval.reranking.cross_encoder import CrossReranker

OFF: Final = "off"
COSINE: Final = "cosine"
LATE: Final = "late"
LLM: Final = "llm"
_KEPT: Final = 2


def _not_there(name: str) -> Reranker:
    raise ModelMissing(f"The reranker {name!r} is not on this machine", fix=f"Use {COSINE!r} or {LATE!r}")


class Rerankers:
    """Rerankers by name. All methods may be called from several threads at once.

    Args:
        encoder: of `cosine` and `late`.
        load: opens another one by its name, without loading its weights; raises `ModelMissing` where there is none.
        listwise: `llm`; None where there is no language model.
    """

    def __init__(
        self, encoder: Encoder, load: Callable[[str], Reranker] = _not_there, *, listwise: Reranker | None = None
    ) -> None:
        self._encoder, self._load, self._listwise = encoder, load, listwise
        self._opened: OrderedDict[str, Reranker] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> Reranker:
        """Return a reranker: `cosine`, `late`, `llm`, or the name of an installed one.

        Raises:
            ModelMissing: there is none of that name.
            InvalidInput: the name is that of another kind of model, or the encoder cannot do `late`.
        """
        if name == COSINE:
            return CosineReranker(self._encoder)
        if name == LATE:
            return LateReranker(self._encoder)
        if name == LLM and self._listwise is not None:
            return self._listwise
        found = self._load(name)
        with self._lock:
            # A version that is installed under the same name later is another one.
            kept = self._opened.setdefault(found.version, found)
            self._opened.move_to_end(found.version)
            while len(self._opened) > _KEPT:
                self._opened.popitem(last=False)
            return kept


def open_reranker(model: InstalledModel, settings: EncoderSettings) -> Reranker:
    """Return the reranker of an installed model; it is loaded at the first use.

    Raises:
        InvalidInput: it is no reranker.
    """
    if model.kind != "reranker":
        fix = f"Use {COSINE!r}, {LATE!r}, or a reranker: see `keepstone models list`"
        raise InvalidInput(f"{model.name} is no reranker but of the kind {model.kind!r}", fix=fix)
    return CrossReranker(model.path, version=model.reference, device=settings.device)
