"""Reading the machine: whatever the system files say, the answer is usable."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepstone.platform.machine import Gpu, Machine, parse_gpus, probe


def test_probe_of_this_machine_is_plausible(tmp_path: Path) -> None:
    machine = probe(tmp_path / "not" / "there" / "yet")
    assert machine.cores >= 1
    assert machine.memory_gib > 0.1
    assert machine.free_disk_gib >= 0
    assert "\n" not in machine.summary()


def test_gpus_are_read_from_nvidia_smi() -> None:
    gpus = parse_gpus("NVIDIA A100-SXM4-80GB, 81920\nNVIDIA L4, 23034\n")
    assert gpus == (Gpu("NVIDIA A100-SXM4-80GB", 80.0), Gpu("NVIDIA L4", 23034 / 1024))
    assert parse_gpus("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.") == ()


def test_a_missing_nvidia_smi_means_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert probe(tmp_path).gpus == ()


@pytest.mark.parametrize(
    ("sizes", "machine_class"), [((), "cpu"), ((24,), "24gb"), ((80,), "80gb"), ((80, 80), "multi-gpu")]
)
def test_machine_class(sizes: tuple[float, ...], machine_class: str) -> None:
    gpus = tuple(Gpu("card", size) for size in sizes)
    machine = Machine(cores=8, memory_gib=64, free_disk_gib=100, gpus=gpus, amx=True, bf16=True)
    assert machine.machine_class == machine_class
    assert machine.summary().startswith("8 cores (AMX, bfloat16), 64 GiB memory, 100 GiB free disk, ")
