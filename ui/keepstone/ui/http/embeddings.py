"""`POST /v1/embeddings`, as OpenAI has it: vectors of texts by the encoder that the collections are indexed with."""

from __future__ import annotations

import base64
from typing import Any, Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from keepstone.platform.errors import InvalidInput, LimitExceeded, NotFound
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime

router = APIRouter(prefix="/v1", tags=["openai"])

_MAX_TEXTS: Final = 2048
_MAX_CHARACTERS: Final = 1_000_000


class EmbeddingRequest(BaseModel, extra="forbid"):
    """Texts to encode."""

    model: str
    input: Any
    """A text or a list of texts. Token ids are refused: they would have to be of this encoder's vocabulary."""
    encoding_format: Literal["float", "base64"] = "float"
    """`base64`: little-endian float32."""
    dimensions: int | None = None
    """Only the encoder's own number is taken."""
    user: str | None = None
    """Ignored."""
    input_type: Literal["document", "query"] = "document"
    """Extension: encoders with prompts encode a question otherwise than a passage."""


@router.post("/embeddings")
def create_embeddings(asked: EmbeddingRequest, principal: CurrentPrincipal, runtime: TheRuntime) -> dict[str, Any]:
    """Encode texts."""
    principal.needs_scope("read")
    name, encoder = runtime.settings.encoder.model, runtime.encoder
    if asked.model not in (name, encoder.version):
        raise NotFound(f"No encoder {asked.model!r}", fix=f"Use {name!r}")
    if asked.dimensions not in (None, encoder.dimension):
        raise InvalidInput(f"{name} has {encoder.dimension} dimensions", fix="Leave `dimensions` out")
    texts = _texts(asked.input)
    if asked.input_type == "query":
        vectors = [encoder.encode_query(text) for text in texts]
    else:
        vectors = list(encoder.encode_documents(texts))
    tokens = sum(min(encoder.count_tokens(text), encoder.max_tokens) for text in texts)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _shown(vector, asked.encoding_format)}
            for index, vector in enumerate(vectors)
        ],
        "model": name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise InvalidInput("input is missing or empty", fix="Give a text or a list of texts")
    if any(isinstance(text, int | list) for text in texts):
        raise InvalidInput("input holds token ids", fix="Give texts (in LangChain: `check_embedding_ctx_length=False`)")
    if not all(isinstance(text, str) and text for text in texts):
        raise InvalidInput("input holds something that is no text, or an empty one")
    if len(texts) > _MAX_TEXTS or sum(map(len, texts)) > _MAX_CHARACTERS:
        raise LimitExceeded(
            f"{len(texts)} texts with {sum(map(len, texts))} characters",
            fix=f"Send at most {_MAX_TEXTS} texts and {_MAX_CHARACTERS} characters at once",
        )
    return texts


def _shown(vector: Any, encoding: str) -> str | list[float]:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(value) for value in vector]
