"""A second engine starts only where it fits: two that fill the memory would both die."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from keepstone.platform.errors import LimitExceeded
from keepstone.platform.machine import Gpu, Machine, available_memory_gib
from keepstone.platform.model_settings import EngineSettings
from keepstone.platform.serving import room
from keepstone.platform.serving.room import require_room
from tests.platform.serving.adapter_files import write_base
from tests.platform.serving.test_live_engine import language_model

MACHINE = Machine(cores=2, memory_gib=16, free_disk_gib=50)


def test_on_a_cpu_program_weights_and_cache_must_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = replace(language_model("two").base, path=write_base(tmp_path))
    settings = EngineSettings(kv_cache_gib=3)
    monkeypatch.setattr(room, "available_memory_gib", lambda: 5.1)
    require_room(settings, MACHINE, model)
    monkeypatch.setattr(room, "available_memory_gib", lambda: 4.9)
    with pytest.raises(LimitExceeded, match=r"two@1 needs about 5\.0 GiB of memory; 4\.9 GiB are free.*kv_cache_gib"):
        require_room(settings, MACHINE, model)


def test_on_gpus_each_must_have_the_share_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = replace(MACHINE, gpus=(Gpu("H100", 80), Gpu("H100", 80)))
    model = language_model("two").base
    monkeypatch.setattr(room, "free_gpu_memory_gib", lambda: (45.0, 5.0))
    require_room(EngineSettings(gpu_memory_utilization=0.5), machine, model)
    for refused in (
        EngineSettings(gpu_memory_utilization=0.9),
        EngineSettings(gpu_memory_utilization=0.5, tensor_parallel=2),
    ):
        with pytest.raises(LimitExceeded, match=r"less is free.*gpu_memory_utilization"):
            require_room(refused, machine, model)


def test_memory_is_what_is_free_now() -> None:
    assert 0 < available_memory_gib() < 100_000
