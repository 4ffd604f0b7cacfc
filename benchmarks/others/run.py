"""One other system on one collection, by itself: run under the Python of `constraints/peers.txt`, by benchmarks.peers.

    PEERS_PYTHON benchmarks/others/run.py NAME FOLDER

FOLDER holds documents.jsonl and questions.jsonl (`id`, `text`) and the path of the encoder in model.txt. Each system is
used as its own introduction does, with that encoder. Prints JSON: seconds of ingestion, seconds of all searches without
encoding where the system lets them be told apart, MiB that the process took on, and the ids found for each question.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

K = 10
Pairs = Sequence[tuple[str, str]]
Encode = Callable[[Sequence[str]], Any]
"""Texts to vectors, shape (n, d)."""
Search = Callable[[Any], list[str]]
"""The ids found, best first: for the vector of a question, or for its text where the system itself encodes it."""


def chroma(folder: Path, model: str, documents: Pairs) -> tuple[Search, Encode]:
    """Chroma with its persistent client."""
    import chromadb

    encode = _encoder(model)
    client = chromadb.PersistentClient(path=str(folder / "chroma"))
    collection = client.create_collection("documents", configuration={"hnsw": {"space": "cosine"}})
    for some in _batches(documents, 1000):
        texts = [text for _, text in some]
        collection.add(ids=[name for name, _ in some], embeddings=encode(texts), documents=texts)
    return lambda vector: collection.query(query_embeddings=[vector], n_results=K)["ids"][0], encode


def lancedb(folder: Path, model: str, documents: Pairs) -> tuple[Search, Encode]:
    """LanceDB with an HNSW index."""
    import lancedb as library

    encode = _encoder(model)
    vectors = encode([text for _, text in documents])
    rows = [
        {"id": name, "text": text, "vector": vector} for (name, text), vector in zip(documents, vectors, strict=True)
    ]
    table = library.connect(str(folder / "lance")).create_table("documents", data=rows)
    table.create_index(metric="cosine", index_type="IVF_HNSW_SQ", num_partitions=1)
    return lambda vector: [row["id"] for row in table.search(vector).limit(K).select(["id"]).to_list()], encode


def faiss(folder: Path, model: str, documents: Pairs) -> tuple[Search, Encode]:
    """FAISS with an HNSW graph; it keeps no texts."""
    import faiss as library

    encode = _encoder(model)
    vectors = encode([text for _, text in documents])
    index = library.IndexHNSWFlat(vectors.shape[1], 32, library.METRIC_INNER_PRODUCT)
    index.add(vectors)
    library.write_index(index, str(folder / "faiss"))
    names = [name for name, _ in documents]
    return lambda vector: [names[at] for at in index.search(vector[None], K)[1][0] if at >= 0], encode


def qdrant(folder: Path, model: str, documents: Pairs) -> tuple[Search, Encode]:
    """Qdrant's local mode, which compares with every vector."""
    from qdrant_client import QdrantClient
    from qdrant_client.models import Distance, PointStruct, VectorParams

    encode = _encoder(model)
    client = QdrantClient(path=str(folder / "qdrant"))
    vectors = encode([text for _, text in documents])
    client.create_collection("documents", VectorParams(size=vectors.shape[1], distance=Distance.COSINE))
    points = [
        PointStruct(id=at, vector=vectors[at].tolist(), payload={"name": name, "text": text})
        for at, (name, text) in enumerate(documents)
    ]
    client.upload_points("documents", points)

    def search(vector: Any) -> list[str]:
        found = client.query_points("documents", query=vector.tolist(), limit=K, with_payload=["name"])
        return [point.payload["name"] for point in found.points]

    return search, encode


def txtai(folder: Path, model: str, documents: Pairs) -> tuple[Search, None]:
    """The hybrid of vectors and BM25 of txtai."""
    from txtai import Embeddings

    index = Embeddings(path=model, hybrid=True, content=True)
    index.index([(name, text, None) for name, text in documents])
    index.save(str(folder / "txtai"))
    return lambda question: [row["id"] for row in index.search(question, K)], None


def langchain(folder: Path, model: str, documents: Pairs) -> tuple[Search, None]:
    """LangChain's usual pipeline: RecursiveCharacterTextSplitter 1000/200, HuggingFaceEmbeddings, Chroma."""
    from langchain_chroma import Chroma
    from langchain_core.documents import Document
    from langchain_huggingface import HuggingFaceEmbeddings
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    splitter = RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=200)
    parts = splitter.split_documents([Document(text, metadata={"name": name}) for name, text in documents])
    store = Chroma(
        collection_name="documents",
        embedding_function=HuggingFaceEmbeddings(model_name=model),
        persist_directory=str(folder / "langchain"),
    )
    for some in _batches(parts, 1000):
        store.add_documents(some)

    def search(question: str) -> list[str]:
        # Parts of one document count once.
        found = store.similarity_search(question, k=3 * K)
        return list(dict.fromkeys(each.metadata["name"] for each in found))[:K]

    return search, None


def llamaindex(folder: Path, model: str, documents: Pairs) -> tuple[Search, None]:
    """LlamaIndex's usual pipeline: its sentence splitter and its in-memory index."""
    from llama_index.core import Document, Settings, VectorStoreIndex
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding

    Settings.embed_model = HuggingFaceEmbedding(model_name=model)
    index = VectorStoreIndex.from_documents([Document(text=text, metadata={"name": name}) for name, text in documents])
    index.storage_context.persist(str(folder / "llamaindex"))
    retriever = index.as_retriever(similarity_top_k=3 * K)

    def search(question: str) -> list[str]:
        return list(dict.fromkeys(node.metadata["name"] for node in retriever.retrieve(question)))[:K]

    return search, None


SYSTEMS = {each.__name__: each for each in (chroma, lancedb, faiss, qdrant, txtai, langchain, llamaindex)}


def main(name: str, folder: Path) -> None:
    """Run one system and print what was measured."""
    model = (folder / "model.txt").read_text().strip()
    documents, questions = _pairs(folder / "documents.jsonl"), _pairs(folder / "questions.jsonl")
    if name not in ("txtai", "langchain", "llamaindex"):
        _encoder(model)(["warm up"])
    before = psutil.Process().memory_info().rss
    started = time.perf_counter()
    search, encode = SYSTEMS[name](folder, model, documents)
    ingested = time.perf_counter() - started
    memory = psutil.Process().memory_info().rss - before
    asked = [text for _, text in questions]
    inputs: Sequence[Any] = asked if encode is None else encode(asked)
    search(inputs[0])
    started = time.perf_counter()
    found = [search(each) for each in inputs]
    seconds = time.perf_counter() - started
    result = {
        "ingest_s": ingested,
        "search_s": seconds,
        "with_encoding": encode is None,
        "memory_mib": memory / 2**20,
        "found": {question: ids for (question, _), ids in zip(questions, found, strict=True)},
    }
    sys.stdout.write(json.dumps(result) + "\n")


def _encoder(model: str) -> Encode:
    from sentence_transformers import SentenceTransformer

    loaded = _loaded.get(model) or SentenceTransformer(model, device="cpu", local_files_only=True)
    _loaded[model] = loaded
    return lambda texts: loaded.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)


_loaded: dict[str, Any] = {}


def _batches(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _pairs(path: Path) -> list[tuple[str, str]]:
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [(row["id"], row["text"]) for row in rows]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
