"""`GET /v1/models`: what `model` may name, in OpenAI's format: collections, the language model and the encoder.

The field `keepstone` tells which of them each is: `{"kind": "collection" | "collections" | "llm" | "encoder", ...}`;
`collections` is `*`, all that the caller may read.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from keepstone.platform.access import Principal
from keepstone.platform.errors import NotFound, did_you_mean
from keepstone.retrieval.library import CollectionInfo
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.http.targets import EVERYWHERE, LLM_PREFIX
from keepstone.ui.runtime import Runtime

router = APIRouter(prefix="/v1/models", tags=["openai"])


@router.get("")
def list_models(principal: CurrentPrincipal, runtime: TheRuntime) -> dict[str, Any]:
    """List all that `model` may name."""
    return {"object": "list", "data": _models(runtime, principal)}


@router.get("/{name:path}")
def get_model(name: str, principal: CurrentPrincipal, runtime: TheRuntime) -> dict[str, Any]:
    """Return one of them."""
    models = _models(runtime, principal)
    for model in models:
        if model["id"] == name:
            return model
    if name == f"{LLM_PREFIX}{runtime.engine.model}":
        return _llm(runtime, name)
    raise NotFound(f"No model or collection {name!r}", fix=did_you_mean(name, [model["id"] for model in models]))


def _models(runtime: Runtime, principal: Principal) -> list[dict[str, Any]]:
    principal.needs_scope("read")
    collections = runtime.library.collections(principal)
    taken = {info.name for info in collections}
    bare, encoder = runtime.engine.model, runtime.settings.encoder.model
    models = [_collection(info) for info in collections]
    models.append(
        _model(EVERYWHERE, 0, {"kind": "collections", "documents": sum(each.documents for each in collections)})
    )
    models.append(_llm(runtime, f"{LLM_PREFIX}{bare}" if bare in taken else bare))
    about = {"kind": "encoder", "version": runtime.encoder.version, "dimension": runtime.encoder.dimension}
    models.append(_model(encoder, 0, about))
    return models


def _collection(info: CollectionInfo) -> dict[str, Any]:
    about = {
        "kind": "collection",
        "id": info.id,
        "description": info.description,
        "documents": info.documents,
        "chunks": info.chunks,
        "encoder": info.encoder,
    }
    return _model(info.name, int(info.created_at.timestamp()), about)


def _llm(runtime: Runtime, name: str) -> dict[str, Any]:
    return _model(name, 0, {"kind": "llm", "max_model_len": runtime.engine.max_model_len})


def _model(name: str, created: int, about: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "keepstone", "keepstone": about}
