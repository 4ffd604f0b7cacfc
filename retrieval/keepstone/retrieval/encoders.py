"""The encoders of this process: the default one, which the settings name, and those tuned for single collections.

encoders = Encoders(
    configured_encoder(registry, settings), load=lambda version: open_encoder(registry.get(version), settings)
)
encoders.get(collection.encoder).encode_query("How long is the warranty?")

With one encoder for all, as in tests: `Encoders(HashEncoder())`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from keepstone.platform.errors import ModelMissing
from keepstone.platform.model_settings import EncoderSettings
from keepstone.platform.models.registry import InstalledModel, ModelRegistry
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.encoder_client import EmbeddingsClient
from keepstone.retrieval.encoder_tokens import OwnTokens
from keepstone.retrieval.sentence_encoder import SentenceEncoder
from keepstone.retrieval.url_encoder import UrlEncoder

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


def configured_encoder(registry: ModelRegistry, settings: EncoderSettings) -> Encoder:
    """Return the encoder that the settings name, behind their URL or installed; neither is asked or loaded yet.

    Raises:
        ModelMissing: it is not installed, or the tokenizer of one behind a URL is not.
        SettingsError: it cannot be as the settings want it.
    """
    if settings.url is None:
        return open_encoder(registry.get(settings.model), settings, configured=True)
    key = settings.api_key.get_secret_value() if settings.api_key else None
    return UrlEncoder(
        EmbeddingsClient(settings.url, model=settings.model, api_key=key, timeout_s=settings.timeout_s),
        dimension=settings.dimension or 0,
        max_tokens=settings.max_tokens,
        query_prompt=settings.query_prompt or "",
        document_prompt=settings.document_prompt or "",
        tokens=_tokens(registry.get(settings.tokenizer)) if settings.tokenizer else None,
    )


def open_encoder(model: InstalledModel, settings: EncoderSettings, *, configured: bool = False) -> Encoder:
    """Return the encoder of an installed model; it is loaded at the first use.

    Args:
        model: an encoder.
        settings: where and how it runs.
        configured: whether it is the one that the settings name, for which their dimension and prompts are meant.
            Others, such as those tuned for a collection, stay as they were trained.
    """
    languages = [each for each in model.details.get("languages", ()) if each != "*"]
    dimension: int | None = model.details.get("dimension")
    form = _Form.of(settings, dimension) if configured else _Form()
    return SentenceEncoder(
        model.path,
        version=f"{model.reference}{form.suffix}",
        languages=languages,
        device=settings.device,
        dtype=settings.dtype,
        batch_tokens=settings.batch_tokens,
        threads=settings.threads,
        dimension=dimension,
        truncate_dim=form.truncate_dim,
        query_prompt=form.query_prompt,
        document_prompt=form.document_prompt,
    )


@dataclass(frozen=True, slots=True)
class _Form:
    """What makes other vectors of the same model."""

    truncate_dim: int | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None

    @classmethod
    def of(cls, settings: EncoderSettings, dimension: int | None) -> _Form:
        whole = settings.dimension == dimension
        return cls(None if whole else settings.dimension, settings.query_prompt, settings.document_prompt)

    @property
    def suffix(self) -> str:
        """What a version is followed by, such as `+d256+p3fa2c81d`; nothing where all is as trained."""
        prompts = (self.query_prompt, self.document_prompt)
        dimension = f"+d{self.truncate_dim}" if self.truncate_dim else ""
        if prompts == (None, None):
            return dimension
        return f"{dimension}+p{hashlib.sha256(json.dumps(prompts).encode()).hexdigest()[:8]}"


def _tokens(model: InstalledModel) -> OwnTokens:
    from tokenizers import Tokenizer

    file = model.path / "tokenizer.json"
    if not file.is_file():
        raise ModelMissing(f"{model.name} has no tokenizer.json", fix="Name another model as encoder.tokenizer")
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return OwnTokens(tokenizer, model.reference)
