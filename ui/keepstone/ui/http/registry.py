"""The models on this machine, those that Keepstone knows by name, and what this machine could run."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from keepstone.platform.models.catalog import CatalogEntry, catalog, recommend
from keepstone.platform.models.registry import InstalledModel
from keepstone.platform.serving.promoted import models_in_use
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.http.listings import Listing
from keepstone.ui.recommendation import Recommendation, better_models

router = APIRouter(prefix="/v1/registry", tags=["models"])


@router.get("/installed")
def list_installed(principal: CurrentPrincipal, runtime: TheRuntime) -> Listing[dict[str, Any]]:
    """List the model versions whose files are on this machine."""
    principal.needs_scope("read")
    used = models_in_use(runtime.registry, runtime.settings)
    return Listing(data=[installed_view(model, in_use=model.reference in used) for model in runtime.registry.list()])


@router.get("/catalog")
def list_catalog(principal: CurrentPrincipal) -> Listing[CatalogEntry]:
    """List the models that `keepstone models pull` knows by name."""
    principal.needs_scope("read")
    return Listing(data=list(catalog().values()))


@router.get("/recommendation")
def get_recommendation(principal: CurrentPrincipal, runtime: TheRuntime) -> dict[str, Any]:
    """Name the best models that this machine can run, and how to get those that are better than the present ones."""
    principal.needs_scope("read")
    best = recommend(runtime.machine)
    better: list[Recommendation] = better_models(runtime.settings, runtime.machine)
    return {
        "machine": runtime.machine.summary(),
        "best": {kind: entry.name for kind, entry in best.items()},
        "better": better,
    }


def installed_view(model: InstalledModel, *, in_use: bool) -> dict[str, Any]:
    """Return an installed model as clients see it."""
    return {
        "name": model.name,
        "kind": model.kind,
        "version": model.version,
        "reference": model.reference,
        "source": model.source,
        "created_at": model.created_at,
        "in_use": in_use,
        "details": dict(model.details),
    }
