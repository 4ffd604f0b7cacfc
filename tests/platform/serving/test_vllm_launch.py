"""How vLLM is started on each kind of machine, and that no setting opens a door."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keepstone.platform.database.tables import utc_now
from keepstone.platform.errors import SettingsError
from keepstone.platform.machine import Gpu, Machine
from keepstone.platform.model_settings import EngineSettings
from keepstone.platform.models.registry import InstalledModel
from keepstone.platform.serving.vllm import Launch, build_launch, kv_cache_bytes

PYTHON = Path("/home/engine/venv/bin/python")


def build(
    gpus: int = 0, *, limit: int | None = 4096, memory_gib: float = 64, adapter_rank: int = 0, **settings: Any
) -> Launch:
    details = {"max_model_len": limit} if limit else {}
    model = InstalledModel(
        id="mdl_1",
        name="small",
        kind="llm",
        version="abc",
        path=Path("/home/models/small/abc"),
        source="test",
        created_at=utc_now(),
        details=details,
    )
    machine = Machine(
        cores=8, memory_gib=memory_gib, free_disk_gib=50, gpus=tuple(Gpu("H100", 80) for _ in range(gpus))
    )
    return build_launch(
        EngineSettings(**settings),
        home=Path("/home"),
        python=PYTHON,
        model=model,
        machine=machine,
        adapter_rank=adapter_rank,
    )


def value(launch: Launch, name: str) -> str | None:
    command = launch.command
    return command[command.index(name) + 1] if name in command else None


def test_on_a_cpu() -> None:
    launch = build(kv_cache_gib=2.5)
    assert launch.command[:3] == (str(PYTHON), "-m", "vllm.entrypoints.openai.api_server")
    assert value(launch, "--model") == "/home/models/small/abc"
    assert value(launch, "--served-model-name") == "small"
    assert value(launch, "--host") == "127.0.0.1"
    assert value(launch, "--port") == "8101"
    assert value(launch, "--dtype") == "bfloat16"
    assert value(launch, "--kv-cache-memory-bytes") == str(int(2.5 * 1024**3))
    assert value(launch, "--gpu-memory-utilization") is None
    assert {"--enable-prefix-caching", "--no-enable-log-requests"} <= set(launch.command)
    assert launch.environment["HF_HUB_OFFLINE"] == "1"
    assert launch.environment["VLLM_NO_USAGE_STATS"] == "1"
    assert launch.environment["VLLM_HOST_IP"] == "127.0.0.1"
    assert launch.environment["VLLM_CACHE_ROOT"] == "/home/engine/cache"
    assert (launch.base_url, launch.health_url) == ("http://127.0.0.1:8101/v1", "http://127.0.0.1:8101/health")


def test_adapters_are_taken_where_that_is_free_or_asked_for() -> None:
    assert "--enable-lora" not in build().command
    assert build().max_lora_rank == 0
    assert value(build(1), "--max-lora-rank") == "32"
    assert value(build(max_lora_rank=64), "--max-lora-rank") == "64"
    assert "--enable-lora" not in build(1, max_lora_rank=0).command
    started_for_one = build(adapter_rank=12)
    assert (value(started_for_one, "--max-lora-rank"), started_for_one.max_lora_rank) == ("16", 16)
    assert value(build(1, adapter_rank=12), "--max-lora-rank") == "32"


def test_on_one_gpu() -> None:
    launch = build(1, gpu_memory_utilization=0.8)
    assert value(launch, "--gpu-memory-utilization") == "0.8"
    for absent in ("--dtype", "--kv-cache-memory-bytes", "--tensor-parallel-size", "--distributed-executor-backend"):
        assert absent not in launch.command


def test_over_four_gpus() -> None:
    launch = build(4, tensor_parallel=4)
    assert value(launch, "--tensor-parallel-size") == "4"
    assert "--distributed-executor-backend" not in launch.command
    assert launch.environment["VLLM_HOST_IP"] == "127.0.0.1"


def test_two_copies_of_two_gpus() -> None:
    launch = build(4, tensor_parallel=2, data_parallel=2)
    assert (value(launch, "--tensor-parallel-size"), value(launch, "--data-parallel-size")) == ("2", "2")
    assert "--data-parallel-backend" not in launch.command


def test_over_several_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_HOST_IP", raising=False)
    launch = build(8, tensor_parallel=8, pipeline_parallel=2)
    assert (value(launch, "--tensor-parallel-size"), value(launch, "--pipeline-parallel-size")) == ("8", "2")
    assert value(launch, "--distributed-executor-backend") == "ray"
    assert "VLLM_HOST_IP" not in launch.environment
    copies = build(8, tensor_parallel=8, data_parallel=2)
    assert (value(copies, "--data-parallel-size-local"), value(copies, "--data-parallel-backend")) == ("1", "ray")


def test_parallel_without_gpus_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"engine\.tensor_parallel.*4 GPUs"):
        build(0, tensor_parallel=4)


@pytest.mark.parametrize(("limit", "asked", "given"), [(4096, 8192, 4096), (None, 8192, 8192), (131072, 8192, 8192)])
def test_the_length_is_what_both_model_and_settings_allow(limit: int | None, asked: int, given: int) -> None:
    launch = build(limit=limit, max_model_len=asked)
    assert (launch.max_model_len, value(launch, "--max-model-len")) == (given, str(given))


@pytest.mark.parametrize(("memory_gib", "gib"), [(4, 1), (24, 2.4), (1000, 16)])
def test_the_cpu_cache_grows_with_the_memory(memory_gib: float, gib: float) -> None:
    machine = Machine(cores=1, memory_gib=memory_gib, free_disk_gib=1)
    assert kv_cache_bytes(EngineSettings(), machine) == int(gib * 1024**3)


def test_without_compiler_or_compilation_it_runs_eagerly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--enforce-eager" in build(compile=False).command
    assert "--enforce-eager" in build().command
    assert "--enforce-eager" not in build(1).command
    assert "--enforce-eager" not in build(1, compile=True).command
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "--enforce-eager" in build(compile=True).command


def test_the_key_is_random_and_in_no_argument_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSTONE_DATABASE__URL", "postgresql://secret")
    monkeypatch.setenv("PYTHONPATH", "/ours")
    first, second = build(), build()
    assert first.environment["VLLM_API_KEY"] == first.api_key != second.api_key
    assert first.api_key not in " ".join(first.command)
    assert not [name for name in first.environment if name.startswith(("KEEPSTONE_", "PYTHONPATH"))]


@pytest.mark.parametrize("argument", ["--trust-remote-code", "--host=0.0.0.0", "--api-key=x", "--port", "--uds=/x"])
def test_arguments_that_would_open_a_door_are_refused(argument: str) -> None:
    with pytest.raises(SettingsError, match=argument.partition("=")[0]):
        build(extra_args=(argument,))
    assert build(extra_args=("--swap-space=4",)).command[-1] == "--swap-space=4"


def test_nothing_lets_a_model_run_code_or_talk_to_strangers() -> None:
    for launch in (build(), build(1), build(8, tensor_parallel=8, pipeline_parallel=2)):
        assert not {"--trust-remote-code", "--enable-prompt-embeds", "0.0.0.0"} & set(launch.command)


async def test_its_client_names_the_log(tmp_path: Path) -> None:
    client = build(port=1).client(lambda: "The engine is starting", log=tmp_path / "engine.log")
    assert (client.model, client.max_model_len) == ("small", 4096)
    assert not await client.ready()
    await client.close()
