"""The catalog: models that Keepstone knows by name, and which of them suits a machine.

It is the file `catalog.toml` beside this module. Within a kind, entries stand from the weakest to the best.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from keepstone.platform.machine import Machine, MachineClass

Kind = Literal["llm", "encoder", "reranker", "adapter"]
STARTER = ("smollm2-135m-instruct", "all-minilm-l6-v2")


class WheelSource(BaseModel):
    """Weights inside a Python package: how they come to machines that reach a package mirror but no model hub."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    package: str = Field(pattern=r"^[a-z0-9-]+$")
    version: str = Field(pattern=r"^[0-9.]+$")
    member: str
    """The GGUF file, or the folder with `config.json`, inside the wheel."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the GGUF file, or of the folder's `model.safetensors`."""
    format: Literal["gguf", "folder"]


class CatalogEntry(BaseModel):
    """A model worth running."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    kind: Kind
    hub_id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str | None = None
    """Commit on the hub; None takes the newest."""
    title: str
    parameters: str
    """How many, for people: `135M`, `30B (3B active)`."""
    licence: str
    languages: tuple[str, ...]
    """ISO 639-1 codes; `*` stands for many."""
    memory_gib: float = Field(gt=0)
    """What it needs: weights in bfloat16, and room for its work."""
    machines: tuple[MachineClass, ...] = Field(min_length=1)
    """For which classes of machine it is a sensible choice."""
    cores: int = Field(default=1, ge=1)
    """On a machine without a GPU: from how many cores on it is fast enough to be pleasant."""
    gated: bool = False
    """Whether the hub asks to accept a licence first."""
    dimension: int | None = None
    """Encoders: length of the vectors."""
    max_tokens: int | None = None
    """Encoders and rerankers: longest text."""
    query_prompt: str = ""
    """Encoders: what stands before a question."""
    document_prompt: str = ""
    """Encoders: what stands before a passage."""
    wheel: WheelSource | None = None


class _Catalog(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    model: tuple[CatalogEntry, ...]


@cache
def catalog() -> dict[str, CatalogEntry]:
    """Return all entries by name, in the order of the file."""
    text = resources.files(__package__).joinpath("catalog.toml").read_text(encoding="utf-8")
    return {entry.name: entry for entry in _Catalog.model_validate(tomllib.loads(text)).model}


def recommend(machine: Machine) -> dict[Kind, CatalogEntry]:
    """Return the best LLM, encoder and reranker that the machine can run beside each other.

    The LLM may take nine tenths of the GPUs' memory, or half of the machine's where there is no GPU; encoder and
    reranker a fifth of the machine's memory each.
    """
    best: dict[Kind, CatalogEntry] = {}
    for entry in catalog().values():
        room = machine.memory_gib * 0.2
        if entry.kind == "llm":
            room = machine.gpu_memory_gib * 0.9 if machine.gpus else machine.memory_gib * 0.5
        fits = entry.memory_gib <= room and (machine.gpus or entry.cores <= machine.cores)
        if fits and machine.machine_class in entry.machines and not entry.gated:
            best[entry.kind] = entry
    return best
