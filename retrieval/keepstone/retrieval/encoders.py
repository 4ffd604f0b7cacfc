"""The encoders of this process: the default one, which the settings name, and those tuned for single collections.

encoders = Encoders(open_encoder(model, settings), load=lambda version: open_encoder(registry.get(version), settings))
encoders.get(collection.encoder).encode_query("How long is the warranty?")

With one encoder for all, as in tests: `Encoders(HashEncoder())`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from keepstone.platform.errors import ModelMissing
from keepstone.platform.models.registry import InstalledModel
from keepstone.platform.settings import EncoderSettings
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.sentence_encoder import SentenceEncoder

_KEPT = 3
_FIX = (
    "Give its collections another encoder: `keepstone models rollback --collection NAME`, "
    "or install it again; see `keepstone models list`"
)


def _not_there(version: str) -> Encoder:
    raise ModelMissing(f"The encoder {version!r} is not on this machine", fix=_FIX)


class Encoders:
    """Encoders by their versions. All methods may be called from several threads at once.

    Args:
        default: the encoder of collections that follow the settings; it stays in memory.
        load: opens another one by its version, without loading its weights; raises `ModelMissing` where it is gone.
        kept: how many others stay in memory, those used last.
    """

    def __init__(self, default: Encoder, load: Callable[[str], Encoder] = _not_there, *, kept: int = _KEPT) -> None:
        self.default = default
        self._load, self._kept = load, kept
        self._others: OrderedDict[str, Encoder] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, version: str) -> Encoder:
        """Return an encoder by its version; its weights are loaded at the first use.

        Raises:
            ModelMissing: it is not installed any more; the fix names the way back.
        """
        if version == self.default.version:
            return self.default
        with self._lock:
            found = self._others.get(version)
            if found is None:
                try:
                    found = self._load(version)
                except ModelMissing as error:
                    raise ModelMissing(error.message, fix=_FIX) from error
                if found.version != version:
                    raise ModelMissing(f"There is no encoder {version!r}", fix=f"Name it in full: {found.version}")
                self._others[version] = found
            self._others.move_to_end(version)
            while len(self._others) > self._kept:
                self._others.popitem(last=False)
            return found


def open_encoder(model: InstalledModel, settings: EncoderSettings) -> Encoder:
    """Return the encoder of an installed model; it is loaded at the first use."""
    languages = [each for each in model.details.get("languages", ()) if each != "*"]
    return SentenceEncoder(
        model.path,
        version=model.reference,
        languages=languages,
        device=settings.device,
        dtype=settings.dtype,
        batch_tokens=settings.batch_tokens,
        threads=settings.threads,
        dimension=model.details.get("dimension"),
    )
