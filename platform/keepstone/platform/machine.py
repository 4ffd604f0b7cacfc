"""What this machine can run: cores, memory, disk, GPUs, and the number formats that its processor computes natively.

print(probe(settings.home).summary())
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

MachineClass = Literal["cpu", "24gb", "80gb", "multi-gpu"]
_GIB = 1024**3
_NVIDIA_SMI_TIMEOUT_S = 15


@dataclass(frozen=True, slots=True)
class Gpu:
    """One graphics processor."""

    name: str
    memory_gib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine, or the part of it that this process may use."""

    cores: int
    memory_gib: float
    free_disk_gib: float
    gpus: tuple[Gpu, ...] = ()
    bf16: bool = False
    """Whether the processor computes bfloat16 natively (AVX512-BF16, AMX, or ARM's BF16)."""
    amx: bool = False
    avx512: bool = False

    @property
    def gpu_memory_gib(self) -> float:
        """Memory of all GPUs together."""
        return sum(gpu.memory_gib for gpu in self.gpus)

    @property
    def machine_class(self) -> MachineClass:
        """The column of the model catalog that fits: several GPUs, one of 60 GiB and up, a smaller one, or none."""
        if len(self.gpus) > 1:
            return "multi-gpu"
        if self.gpus:
            return "80gb" if self.gpus[0].memory_gib >= 60 else "24gb"
        return "cpu"

    def summary(self) -> str:
        """Describe the machine in one line."""
        formats = [name for name, has in (("AMX", self.amx), ("AVX-512", self.avx512), ("bfloat16", self.bf16)) if has]
        cores = f"{self.cores} core{'s' if self.cores != 1 else ''}"
        parts = [f"{cores} ({', '.join(formats)})" if formats else cores, f"{self.memory_gib:.0f} GiB memory"]
        parts.append(f"{self.free_disk_gib:.0f} GiB free disk")
        parts += [f"{gpu.name} ({gpu.memory_gib:.0f} GiB)" for gpu in self.gpus] or ["no GPU"]
        return ", ".join(parts)


def probe(home: Path) -> Machine:
    """Look at the machine; `home` names the disk whose free space counts."""
    flags = _cpu_flags()
    return Machine(
        cores=_cores(),
        memory_gib=_memory_bytes() / _GIB,
        free_disk_gib=shutil.disk_usage(_existing(home)).free / _GIB,
        gpus=_gpus(),
        bf16=bool(flags & {"avx512_bf16", "amx_bf16", "bf16"}),
        amx="amx_tile" in flags,
        avx512="avx512f" in flags,
    )


def available_memory_gib() -> float:
    """Return how much memory could be taken now without pushing anything out."""
    free = int(psutil.virtual_memory().available)
    limit, used = _read("/sys/fs/cgroup/memory.max").strip(), _read("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit():
        # What the kernel merely keeps of files in memory counts as used there, though it would give it up.
        cached = re.search(r"^inactive_file (\d+)$", _read("/sys/fs/cgroup/memory.stat"), re.MULTILINE)
        free = min(free, int(limit) - int(used) + int(cached[1] if cached else 0))
    return max(0.0, free / _GIB)


def free_gpu_memory_gib() -> tuple[float, ...]:
    """Return how much memory each GPU has left now."""
    return tuple(gpu.memory_gib for gpu in _gpus("memory.free"))


def has_nvidia_gpu() -> bool:
    """Tell whether `nvidia-smi` answers and names a GPU."""
    return bool(_gpus())


def parse_gpus(text: str) -> tuple[Gpu, ...]:
    """Read the lines `NAME, MIB` that `nvidia-smi --query-gpu=name,memory.total` prints."""
    found = re.findall(r"^(.+), *(\d+)\s*$", text, re.MULTILINE)
    return tuple(Gpu(name.strip(), int(mebibytes) / 1024) for name, mebibytes in found)


def _gpus(memory: str = "memory.total") -> tuple[Gpu, ...]:
    command = ["nvidia-smi", f"--query-gpu=name,{memory}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_NVIDIA_SMI_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_gpus(done.stdout)


def _cores() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # A container's share of the processors: "QUOTA PERIOD", or "max PERIOD".
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        usable = min(usable, max(1, int(quota) // int(period)))
    return usable


def _memory_bytes() -> int:
    total = int(psutil.virtual_memory().total)
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    return min(total, int(limit)) if limit.isdigit() else total


def _cpu_flags() -> frozenset[str]:
    key = "Features" if platform.machine() == "aarch64" else "flags"
    found = re.search(rf"^{key}\s*:(.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())
