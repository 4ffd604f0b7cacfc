"""The shipped catalog is sound, and every kind of machine gets a sensible recommendation."""

from __future__ import annotations

import pytest

from keepstone.platform.machine import Gpu, Machine
from keepstone.platform.models.catalog import STARTER, catalog, recommend


def machine(cores: int = 8, memory_gib: float = 32, gpus: tuple[float, ...] = ()) -> Machine:
    return Machine(cores=cores, memory_gib=memory_gib, free_disk_gib=100, gpus=tuple(Gpu("card", one) for one in gpus))


def test_every_entry_is_complete() -> None:
    for entry in catalog().values():
        assert (entry.kind == "encoder") == (entry.dimension is not None), entry.name
        assert (entry.kind in ("encoder", "reranker")) == (entry.max_tokens is not None), entry.name


def test_names_and_hub_ids_are_unique() -> None:
    assert len({entry.hub_id.lower() for entry in catalog().values()}) == len(catalog())


def test_the_starter_comes_without_a_hub() -> None:
    assert [catalog()[name].kind for name in STARTER] == ["llm", "encoder"]
    assert all(catalog()[name].wheel for name in STARTER)


@pytest.mark.parametrize(
    ("where", "llm"),
    [
        (machine(2, 4), "smollm2-135m-instruct"),
        (machine(2, 24), "qwen2.5-0.5b-instruct"),
        (machine(8, 16), "qwen2.5-1.5b-instruct"),
        (machine(64, 256), "qwen3-4b-instruct-2507"),
        (machine(8, 64, (24,)), "qwen3-8b"),
        (machine(8, 256, (80,)), "qwen3-30b-a3b-instruct-2507"),
        (machine(8, 512, (80, 80, 80, 80)), "qwen2.5-72b-instruct"),
        (machine(8, 2000, (80,) * 8), "qwen3-235b-a22b-instruct-2507"),
    ],
)
def test_recommendations_grow_with_the_machine(where: Machine, llm: str) -> None:
    best = recommend(where)
    assert best["llm"].name == llm
    assert {"encoder", "reranker"} <= set(best)


@pytest.mark.parametrize("memory_gib", [1, 2, 8, 64, 512])
@pytest.mark.parametrize("gpus", [(), (16,), (80,), (80, 80)])
def test_what_is_recommended_fits(memory_gib: float, gpus: tuple[float, ...]) -> None:
    for kind, entry in recommend(machine(4, memory_gib, gpus)).items():
        assert entry.kind == kind
        assert entry.memory_gib <= (sum(gpus) if gpus and kind == "llm" else memory_gib)
        assert not entry.gated
