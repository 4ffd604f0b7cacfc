"""How vLLM is started: its arguments and environment, from the settings, the machine and the model.

launch = build_launch(settings.engine, home=settings.home, python=installed.python, model=model, machine=probe(home))
engine = launch.client()
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from keepstone.platform.errors import SettingsError
from keepstone.platform.machine import Machine
from keepstone.platform.model_settings import EngineSettings
from keepstone.platform.models.registry import InstalledModel
from keepstone.platform.serving.http import HttpEngine

_HOST = "127.0.0.1"
_GIB = 1024**3
# A small model fills its JSON with blanks where it may. vLLM wants the backend named for that.
_COMPACT_JSON = '{"backend": "xgrammar", "disable_any_whitespace": true}'
# The live one and the one that is judged against it.
_ADAPTERS_AT_ONCE = "2"
_USUAL_LORA_RANK = 32
_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# What the rest of Keepstone relies on, or what would let a model's files run code.
_RESERVED = frozenset({
    "--allowed-local-media-path", "--api-key", "--config", "--enable-lora", "--enable-prompt-embeds", "--host",
    "--lora-modules", "--max-lora-rank", "--model", "--port", "--served-model-name", "--trust-remote-code", "--uds",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """All it takes to start one vLLM and to talk to it."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    """The whole environment of the process; it holds the key, so it is never logged."""
    port: int
    model: str
    """Name under which the model is served."""
    model_dir: Path
    max_model_len: int
    api_key: str
    """Random, so that other users of this machine cannot talk to the engine past the app."""
    max_streams: int
    timeout_s: float
    max_lora_rank: int = 0
    """Widest adapter that it takes while it runs; 0: none."""

    @property
    def base_url(self) -> str:
        """Where it serves the API."""
        return f"http://{_HOST}:{self.port}/v1"

    @property
    def health_url(self) -> str:
        """What answers 200 while the engine works."""
        return f"http://{_HOST}:{self.port}/health"

    @property
    def metrics_url(self) -> str:
        """Prometheus figures, among them the number of running requests."""
        return f"http://{_HOST}:{self.port}/metrics"

    def client(
        self, explain: Callable[[], str | None] = lambda: None, *, log: Path | None = None, adapter: str | None = None
    ) -> HttpEngine:
        """Return a client of this engine.

        Args:
            explain: says why the engine is down, for error messages.
            log: where people find out more about that.
            adapter: name of a loaded adapter to ask for, instead of the model by itself.
        """
        return HttpEngine(
            self.base_url,
            model=adapter or self.model,
            max_model_len=self.max_model_len,
            api_key=self.api_key,
            model_dir=self.model_dir,
            flavour="vllm",
            max_streams=self.max_streams,
            timeout_s=self.timeout_s,
            explain=explain,
            fix=f"Run `keepstone status`{f'; its log is {log}' if log else ''}",
        )


def build_launch(
    settings: EngineSettings,
    *,
    home: Path,
    python: Path,
    model: InstalledModel,
    machine: Machine,
    port: int | None = None,
    adapter_rank: int = 0,
) -> Launch:
    """Put together how vLLM is started.

    Args:
        settings: of the engine.
        home: the folder of all state, where vLLM keeps what it compiled.
        python: of the environment that has vLLM.
        model: what it serves.
        machine: decides between CPU and GPUs, and whether they are enough without other machines.
        port: where it listens; None takes the setting.
        adapter_rank: of the adapter that it is started for; 0: for none.

    Raises:
        SettingsError: `engine.extra_args` holds an argument that is Keepstone's own, or more GPUs are asked for than
            there are on a machine that has none.
    """
    _check(settings, machine)
    known_limit = model.details.get("max_model_len")
    max_model_len = min(settings.max_model_len, int(known_limit)) if known_limit else settings.max_model_len
    api_key = secrets.token_urlsafe(32)
    max_lora_rank = _max_lora_rank(settings, machine, adapter_rank)
    arguments = [
        *("--model", str(model.path)),
        *("--served-model-name", model.name),
        *("--host", _HOST),
        *("--port", str(port or settings.port)),
        *("--max-model-len", str(max_model_len)),
        *("--max-num-seqs", str(settings.max_streams)),
        "--enable-prefix-caching",
        "--no-enable-log-requests",
        "--disable-uvicorn-access-log",
        "--disable-fastapi-docs",
        *("--structured-outputs-config", _COMPACT_JSON),
        *_adapter_arguments(max_lora_rank),
        *(_gpu_arguments(settings, machine) if machine.gpus else _cpu_arguments(settings, machine)),
        *(() if _compiles(settings, machine) else ("--enforce-eager",)),
        *settings.extra_args,
    ]
    return Launch(
        command=(str(python), "-m", "vllm.entrypoints.openai.api_server", *arguments),
        environment=_environment(home, python, api_key, distributed=_is_distributed(settings, machine)),
        port=port or settings.port,
        model=model.name,
        model_dir=model.path,
        max_model_len=max_model_len,
        api_key=api_key,
        max_streams=settings.max_streams,
        timeout_s=settings.request_timeout_s,
        max_lora_rank=max_lora_rank,
    )


def _max_lora_rank(settings: EngineSettings, machine: Machine, wanted: int) -> int:
    if settings.max_lora_rank is not None:
        return settings.max_lora_rank
    if machine.gpus:
        return _USUAL_LORA_RANK
    # On a CPU, vLLM multiplies with the slots for adapters in their full width, even while they are empty.
    return next((rank for rank in _LORA_RANKS if 0 < wanted <= rank), 0)


def _adapter_arguments(max_rank: int) -> tuple[str, ...]:
    if not max_rank:
        return ()
    return ("--enable-lora", "--max-lora-rank", str(max_rank), "--max-loras", _ADAPTERS_AT_ONCE)


def _compiles(settings: EngineSettings, machine: Machine) -> bool:
    if machine.gpus:
        return settings.compile is not False
    return settings.compile is True and shutil.which("g++") is not None


def kv_cache_bytes(settings: EngineSettings, machine: Machine) -> int:
    """Return the size of a CPU's KV cache: as set, else a tenth of the memory, between 1 and 16 GiB."""
    gibibytes = settings.kv_cache_gib or min(16.0, max(1.0, machine.memory_gib / 10))
    return int(gibibytes * _GIB)


def _check(settings: EngineSettings, machine: Machine) -> None:
    for argument in settings.extra_args:
        name = argument.partition("=")[0]
        if name in _RESERVED:
            raise SettingsError(f"engine.extra_args may not hold {name}", fix="Take it out of keepstone.toml")
    asked = settings.tensor_parallel * settings.pipeline_parallel * settings.data_parallel
    if asked > 1 and not machine.gpus:
        raise SettingsError(
            f"engine.tensor_parallel, pipeline_parallel and data_parallel ask for {asked} GPUs, and there is none",
            fix="Set them to 1, or check that `nvidia-smi` works",
        )


def _cpu_arguments(settings: EngineSettings, machine: Machine) -> tuple[str, ...]:
    return ("--dtype", "bfloat16", "--kv-cache-memory-bytes", str(kv_cache_bytes(settings, machine)))


def _gpu_arguments(settings: EngineSettings, machine: Machine) -> list[str]:
    arguments = ["--gpu-memory-utilization", f"{settings.gpu_memory_utilization:g}"]
    if settings.tensor_parallel > 1:
        arguments += ["--tensor-parallel-size", str(settings.tensor_parallel)]
    if settings.pipeline_parallel > 1:
        arguments += ["--pipeline-parallel-size", str(settings.pipeline_parallel)]
    per_copy = settings.tensor_parallel * settings.pipeline_parallel
    if settings.data_parallel > 1:
        arguments += ["--data-parallel-size", str(settings.data_parallel)]
        here = max(1, len(machine.gpus) // per_copy)
        if here < settings.data_parallel:
            arguments += ["--data-parallel-size-local", str(here), "--data-parallel-backend", "ray"]
    if per_copy > len(machine.gpus):
        arguments += ["--distributed-executor-backend", "ray"]
    return arguments


def _is_distributed(settings: EngineSettings, machine: Machine) -> bool:
    """Tell whether other machines take part, which are reached through Ray."""
    asked = settings.tensor_parallel * settings.pipeline_parallel * settings.data_parallel
    return asked > max(1, len(machine.gpus))


def _environment(home: Path, python: Path, api_key: str, *, distributed: bool) -> dict[str, str]:
    """Return ours without our secrets and without what would lead the other Python to our packages."""
    dropped = ("KEEPSTONE_", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "VLLM_PLUGINS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    environment |= {
        "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "VLLM_API_KEY": api_key,
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_CACHE_ROOT": str(home / "engine" / "cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(home / "engine" / "cache" / "inductor"),
        "PYTHONUNBUFFERED": "1",
    }
    if not distributed:
        # Its processes find each other on loopback, not on whatever address the machine has.
        environment["VLLM_HOST_IP"] = _HOST
    return environment
