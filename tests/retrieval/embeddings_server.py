"""A server with OpenAI's `/embeddings` on a loopback port, for tests: around an encoder, or with answers set before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from keepstone.retrieval.encoder import Encoder
from tests.ui.served import served


@dataclass
class EmbeddingsServer:
    """What the server does, and what it was asked."""

    encoder: Encoder
    url: str = ""
    answers: deque[Response] = field(default_factory=deque)
    """Given once each, before those of the encoder."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[EmbeddingsServer]:
        """Serve until the block ends."""
        app = FastAPI()

        @app.post("/v1/embeddings")
        async def embed(request: Request) -> Response:
            body = await request.json()
            self.asked.append(body)
            self.keys.append(request.headers.get("authorization"))
            if self.answers:
                return self.answers.popleft()
            if not all(body["input"]):
                return JSONResponse({"error": {"message": "an empty text"}}, 400)
            vectors = 3 * self.encoder.encode_documents(body["input"])
            rows = [{"index": at, "embedding": row.tolist()} for at, row in enumerate(vectors)]
            return JSONResponse({"data": rows[::-1], "model": body["model"]})

        with served(app) as running:
            self.url = f"{running.url}/v1"
            yield self
