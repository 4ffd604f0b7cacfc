"""`indexes.vectors = "int8"` or `"binary"`: another way to keep vectors of a folder that is there, and back."""

from __future__ import annotations

from pathlib import Path

import httpx

from keepstone.retrieval.indexes.hnsw import HnswIndex
from keepstone.retrieval.indexes.scan import ScanIndex
from keepstone.ui.http.app import create_app
from keepstone.ui.runtime import Runtime
from tests.stack import admin, ingest, open_stack
from tests.ui.served import client_of, key_of

_FILES = {f"{word}.md": f"The {word} lasts two years.".encode() for word in ("warranty", "battery", "guarantee")}


async def _found(runtime: Runtime) -> list[str]:
    async with client_of(create_app(runtime, web=False), key_of(runtime)) as client:
        answer: httpx.Response = await client.post("/v1/search", json={"query": "How long does the battery last?"})
        return [hit["text"] for hit in answer.json()["hits"]]


async def test_another_way_to_keep_vectors_is_filled_from_the_database(tmp_path: Path) -> None:
    with open_stack(tmp_path) as runtime:
        ingest(runtime, admin(runtime), "manual", _FILES)
        expected = await _found(runtime)
    for vectors, kind in (("int8", ScanIndex), ("binary", ScanIndex), ("hnsw", HnswIndex)):
        with open_stack(tmp_path, indexes={"vectors": vectors}) as runtime:
            [collection] = runtime.library.collections(admin(runtime))
            runtime.indexes.catch_up(collection.id)
            index = runtime.indexes.get(collection.id).vectors
            assert isinstance(index, kind)
            assert index.count == len(_FILES)
            assert runtime.indexes.verify(collection.id).ok
            assert await _found(runtime) == expected
