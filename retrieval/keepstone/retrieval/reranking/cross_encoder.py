"""A cross-encoder: a model that reads question and passage together (Nogueira and Cho, 2019).

reranker = CrossReranker(registry.get("handbook-reranker").path, version="handbook-reranker@1f0c...")

Such models come from a hub, or are made here: `keepstone train reranker --dataset NAME`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keepstone.platform.errors import InvalidInput
from keepstone.platform.models.files import check_weights
from keepstone.retrieval.encoder_folder import check_folder

_BATCH = 16


class CrossReranker:
    """A sentence-transformers cross-encoder with one score, loaded at the first use.

    Args:
        folder: the model's files; weights in safetensors only.
        version: name and version of the model.
        device: where it runs; `auto` takes a GPU when there is one.
    """

    def __init__(self, folder: Path, *, version: str, device: str = "auto") -> None:
        self.version = version
        self._folder = folder
        self._device = None if device == "auto" else device
        self._lock = threading.Lock()
        self._model: Any = None

    def scores(self, query: str, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return how likely each passage answers the question, 0 to 1."""
        if not texts:
            return np.empty(0)
        pairs = [(_encodable(query), _encodable(text)) for text in texts]
        scores = self._loaded().predict(pairs, batch_size=_BATCH, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(scores, dtype=np.float64).reshape(len(texts))

    def _loaded(self) -> Any:
        with self._lock:
            if self._model is None:
                self._model = self._load()
            return self._model

    def _load(self) -> Any:
        check_weights(self._folder)
        if (self._folder / "modules.json").is_file():
            check_folder(self._folder)
        from sentence_transformers.cross_encoder import CrossEncoder

        model = CrossEncoder(
            str(self._folder),
            device=self._device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
        if model.num_labels != 1:
            fix = "Choose one that was made for ranking, or train one: `keepstone train reranker --dataset NAME`"
            raise InvalidInput(f"{self.version} gives {model.num_labels} scores, not one", fix=fix)
        return model


def _encodable(text: str) -> str:
    """Replace lone surrogates, since tokenizers have no place for them."""
    return text.encode("utf-8", "replace").decode()
