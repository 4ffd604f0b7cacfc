"""Keepstone as a model of MTEB (Muennighoff et al., 2023): its whole search for retrieval, its encoder for all tasks.

    with open_retrieval("scratch") as store:
        mteb.evaluate(MtebSearch(store), mteb.get_tasks(["SciFact"]))
        mteb.evaluate(MtebEncoder(store.encoders.default), mteb.get_tasks(["STSBenchmark"]))

For `mteb` 2, which is an extra: `pip install "keepstone[mteb]"`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from keepstone.platform.errors import InvalidInput
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.local import Retrieval
from keepstone.training.relevance.beir import add_pages, page, ranked

if TYPE_CHECKING:
    from mteb.models import ModelMeta


class MtebSearch:
    """Search as it is, words and meaning, over documents that are ingested as files are; mteb's `SearchProtocol`.

    Args:
        store: where corpora are ingested, each as a collection of its own; what is there already is not read again.
    """

    def __init__(self, store: Retrieval) -> None:
        self._store = store
        self._collection = ""
        self._names: list[str] = []

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """Name and encoder, under which mteb keeps results."""
        return _meta("search", self._store.encoders.default)

    def index(
        self, corpus: Iterable[Mapping[str, Any]], *, task_metadata: Any, hf_split: str, hf_subset: str, **_: Any
    ) -> None:
        """Ingest a corpus: rows with `id`, `text` and perhaps `title`."""
        rows = {str(row["id"]): page(row) for row in corpus}
        of = f"{task_metadata.name} {hf_subset} {hf_split}"
        self._collection = f"mteb-{hashlib.sha256(of.encode()).hexdigest()[:16]}"
        self._names = list(rows)
        add_pages(self._store, self._collection, list(rows.values()))

    def search(
        self, queries: Iterable[Mapping[str, Any]], *, top_k: int, top_ranked: Any = None, **_: Any
    ) -> dict[str, dict[str, float]]:
        """Return the best documents with their scores, by query: rows with `id` and `text`.

        Raises:
            InvalidInput: the task is one of reranking, where others have searched.
        """
        if top_ranked is not None:
            raise InvalidInput("MTEB's reranking tasks are not searched", fix="Choose tasks of retrieval")
        found = {}
        for row in queries:
            query = str(row["id"])
            best = ranked(self._store, self._collection, str(row["text"]), self._names, without=query, depth=top_k)
            found[query] = dict(best)
        return found


class MtebEncoder:
    """An encoder with its own prompts; mteb's `EncoderProtocol`.

    Args:
        encoder: makes the vectors.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """Name and version, under which mteb keeps results."""
        return _meta("encoder", self._encoder)

    def encode(
        self, inputs: Iterable[Mapping[str, Any]], *, prompt_type: str | None = None, **_: Any
    ) -> NDArray[np.float32]:
        """Return the vectors of batches of texts, shape (n, d): as questions where the prompt is that of queries."""
        texts = [text for batch in inputs for text in batch["text"]]
        if prompt_type == "query":
            vectors = [self._encoder.encode_query(text) for text in texts]
            return np.array(vectors, dtype=np.float32).reshape(-1, self._encoder.dimension)
        return self._encoder.encode_documents(texts)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> NDArray[np.float32]:
        """Return cosines, each with each: shape (n, m)."""
        product: NDArray[np.float32] = np.atleast_2d(embeddings1) @ np.atleast_2d(embeddings2).T
        return product

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> NDArray[np.float32]:
        """Return cosines, each with the one in its place: shape (n,)."""
        product: NDArray[np.float32] = np.einsum("ij,ij->i", np.atleast_2d(embeddings1), np.atleast_2d(embeddings2))
        return product


def _meta(what: str, encoder: Encoder) -> ModelMeta:
    from mteb.models import ModelMeta

    # mteb wants one slash, and makes folders of both parts.
    known = {
        "name": f"keepstone/{what}",
        "revision": encoder.version.replace("/", "_"),
        "embed_dim": encoder.dimension,
        "similarity_fn_name": "cosine",
    }
    return ModelMeta.create_empty(known)
