"""Our HTTP API against vLLM's own, and how long both take to start."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx

from benchmarks.app import App, free_ports, prepared_app, with_key
from benchmarks.compare import interleaved
from benchmarks.harness import Context, Figure
from keepstone.platform.database import Database
from keepstone.platform.errors import EngineUnavailable
from keepstone.platform.machine import probe
from keepstone.platform.model_settings import EngineSettings
from keepstone.platform.models.registry import ModelRegistry
from keepstone.platform.serving.vllm import Launch, build_launch

_STREAMS = 8
_MAX_TOKENS = 96
STARTER = "smollm2-135m-instruct"
_START_TIMEOUT_S = 900
_QUESTION = {"role": "user", "content": "Tell me a long story about a lighthouse keeper and the sea."}


@dataclass(frozen=True, slots=True)
class Load:
    """What a burst of concurrent chats gave."""

    tokens_per_s: float
    first_token_ms: float
    """Median over the streams."""


def launch_for(home: Path, python: str, name: str = STARTER) -> Launch:
    """Return how vLLM is started for a model installed in `home`, on a free port."""
    database = Database(f"sqlite:///{home / 'keepstone.db'}")
    model = ModelRegistry(database, home).get(name)
    database.close()
    settings = EngineSettings(port=free_ports(1)[0])
    return build_launch(settings, home=home, python=Path(python), model=model, machine=probe(home))


@contextmanager
def bare_engine(launch: Launch) -> Iterator[float]:
    """Run vLLM by itself and yield the seconds from its start to the first answer."""
    started = time.perf_counter()
    process = subprocess.Popen(
        launch.command, env=dict(launch.environment), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_until_healthy(launch, process)
        asyncio.run(_burst(launch.base_url, launch.api_key, 1, 1, model=launch.model))
        yield time.perf_counter() - started
    finally:
        process.terminate()
        process.wait(timeout=60)


def gateway(context: Context, home: Path, python: str) -> Iterable[Figure]:
    """Yield throughput and time to the first token through our API, against vLLM asked directly."""
    launch = launch_for(home, python)
    with bare_engine(launch):
        app = prepared_app(
            home,
            engine=False,
            engine__mode="external",
            engine__url=launch.base_url,
            engine__api_key=launch.api_key,
            engine__model=STARTER,
        )
        app.run("up", "--detach", "--no-browser")
        try:
            app = with_key(app)
            ours: list[Load] = []
            theirs: list[Load] = []
            compared = interleaved(
                lambda: _measured(f"{app.url}/v1", app.key, ours),
                lambda: _measured(launch.base_url, launch.api_key, theirs),
                runs=max(context.runs, 5),
            )
        finally:
            app.run("down", check=False)
    count = len(compared.ours)
    yield compared.ratio("http_throughput_ratio")
    yield Figure("http_tokens_per_s", compared.ours, "tokens/s")
    yield Figure("vllm_tokens_per_s", compared.theirs, "tokens/s")
    overheads = [a.first_token_ms - b.first_token_ms for a, b in zip(ours[-count:], theirs[-count:], strict=True)]
    yield Figure("first_token_overhead_ms", overheads, "ms")


def restarts(context: Context, app: App, python: str, question: str, collection: str) -> Iterable[Figure]:
    """Yield how much longer than the bare engine a stopped app takes from `up` to its first answer."""

    def engine_alone() -> float:
        with bare_engine(launch_for(app.home, python)) as seconds:
            return seconds

    def app_to_answer() -> float:
        started = time.perf_counter()
        app.run("up", "--detach", "--no-browser")
        app.run("ask", question, "--collection", collection)
        seconds = time.perf_counter() - started
        app.run("down")
        return seconds

    compared = interleaved(app_to_answer, engine_alone, runs=min(context.runs, 2), warmup=0)
    yield compared.ratio("restart_ratio")
    yield Figure("restart_s", compared.ours, "s")
    yield Figure("engine_start_s", compared.theirs, "s")


def _measured(base_url: str, key: str, loads: list[Load]) -> float:
    loads.append(asyncio.run(_burst(base_url, key, _STREAMS, _MAX_TOKENS)))
    return loads[-1].tokens_per_s


async def _burst(base_url: str, key: str, streams: int, max_tokens: int, *, model: str = STARTER) -> Load:
    async with httpx.AsyncClient(
        base_url=base_url, headers={"authorization": f"Bearer {key}"}, timeout=300, trust_env=False
    ) as client:
        started = time.perf_counter()
        results = await asyncio.gather(*(_stream(client, model, max_tokens) for _ in range(streams)))
        seconds = time.perf_counter() - started
    return Load(sum(tokens for _, tokens in results) / seconds, median(first for first, _ in results) * 1000)


async def _stream(client: httpx.AsyncClient, model: str, max_tokens: int) -> tuple[float, int]:
    """Return the seconds to the first token and the number of tokens of one chat."""
    body = {
        "model": model,
        "messages": [_QUESTION],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    started = time.perf_counter()
    first, tokens = 0.0, 0
    async with client.stream("POST", "/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            if not first and event["choices"] and event["choices"][0]["delta"].get("content"):
                first = time.perf_counter() - started
            tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
    return first, tokens


def _wait_until_healthy(launch: Launch, process: subprocess.Popen[bytes]) -> None:
    deadline = time.perf_counter() + _START_TIMEOUT_S
    with httpx.Client(trust_env=False, timeout=2) as client:
        while time.perf_counter() < deadline and process.poll() is None:
            try:
                if client.get(launch.health_url).status_code == httpx.codes.OK:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
    raise EngineUnavailable("vLLM did not start", fix="Start the app and read its logs/engine.log")
