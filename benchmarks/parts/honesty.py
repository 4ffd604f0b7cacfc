"""Whether the gate can be trusted: with models that are no better, that are damaged, and a quantized one that is fine.

Everything is judged as a person would have it judged: candidates are entered in the registry and ordered by
`Evaluations`, on held-out questions of a dataset that our own builder made.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.app import free_ports, prepared_app
from benchmarks.harness import Context, Figure
from benchmarks.parts.answerability import ingest
from benchmarks.smoke import COLLECTION, EXAMPLES
from keepstone.platform import logs
from keepstone.platform.access import Principal
from keepstone.platform.errors import EngineUnavailable, KeepstoneError
from keepstone.platform.model_settings import EngineSettings
from keepstone.platform.models import files
from keepstone.platform.models.registry import InstalledModel
from keepstone.platform.settings import LoggingSettings, load_settings
from keepstone.training.data import DatasetConfig
from keepstone.training.evaluate.gate import SPEED
from keepstone.training.evaluate.service import Evaluation
from keepstone.training.evaluate.verdicts import Verdict
from keepstone.training.runs import Order
from keepstone.ui.runtime import Runtime

_RUNS = 20
_NUDGE, _WRECK = 0.01, 1.0
"""Noise on each weight, as a share of its tensor's deviation: one changes hardly a ranking, the other all of them."""
_WAIT_S = 3600.0
_ENGINE_S = 600


def a_against_a(context: Context) -> Iterable[Figure]:
    """Yield how many of twenty candidates were promoted that are the encoder in use, itself or with a little noise."""
    with tempfile.TemporaryDirectory(prefix="keepstone-aa-", ignore_cleanup_errors=True) as scratch:
        home = Path(scratch)
        prepared_app(home, engine=False).run("models", "pull", "all-minilm-l6-v2")
        with _bench(home, EngineSettings(mode="off"), _articles(context), test_share=0.4, passages=800) as bench:
            base = bench.runtime.registry.get(bench.runtime.settings.encoder.model)
            verdicts = []
            for number in range(_RUNS):
                candidate = bench.copy(base, f"a-{number}", noise=_NUDGE if number else 0.0, seed=number)
                verdicts.append(bench.judge(candidate))
                context.say(f"{number + 1} of {_RUNS}: {verdicts[-1].outcome}")
    context.details["aa"] = [_told(verdict) for verdict in verdicts]
    yield Figure("aa_promotions", [sum(verdict.outcome == "promote" for verdict in verdicts)], f"of {_RUNS}")


def damaged_and_quantized(context: Context) -> Iterable[Figure]:
    """Yield how many of three damaged models were refused, and what quantization gains and costs."""
    with tempfile.TemporaryDirectory(prefix="keepstone-damaged-", ignore_cleanup_errors=True) as scratch:
        home = Path(scratch)
        app = prepared_app(home)
        app.run("models", "pull", "starter")
        engine = EngineSettings(python=Path(app.environment["KEEPSTONE_ENGINE__PYTHON"]), port=free_ports(1)[0])
        documents = {path.name: path.read_bytes() for path in sorted((EXAMPLES / "documents").iterdir())}
        with _bench(home, engine, documents, test_share=0.45, passages=400) as bench:
            asyncio.run(_ready(bench.runtime))
            registry, named = bench.runtime.registry, bench.runtime.settings
            damaged = [bench.judge(bench.copy(registry.get(named.encoder.model), "wreck", noise=_WRECK, seed=1))]
            # A step or two: it is there to be damaged.
            adapter = bench.train("sft", epochs=0.05)
            damaged.append(bench.judge(bench.copy(adapter, "wreck-adapter", noise=3 * _WRECK, seed=2)))
            quantized = bench.train("quantize")
            fine = bench.judge(quantized)
            damaged.append(bench.judge(bench.copy(quantized, "wreck-w8a8", noise=_WRECK, seed=3)))
    context.details["damaged"] = [_told(verdict) for verdict in damaged]
    context.details["w8a8"] = _told(fine)
    effects = {figure.name: figure.effect for figure in fine.figures}
    yield Figure("damaged_refused", [sum(verdict.outcome == "refuse" for verdict in damaged)], "of 3")
    yield Figure("w8a8_speed_ratio", [effects[SPEED].value], "x")
    yield Figure("w8a8_score_loss_points", [-100 * effects["f1"].value], "points")


@dataclass(frozen=True, slots=True)
class _Bench:
    """A runtime with a dataset of a collection."""

    runtime: Runtime
    me: Principal
    dataset: str
    scratch: Path

    def train(self, recipe: str, **config: Any) -> InstalledModel:
        """Return what a recipe makes from the dataset."""
        order = Order(recipe=recipe, dataset=self.dataset, config=config)
        run = self.runtime.runs.start(self.me, order)
        self._wait(run)
        return self.runtime.registry.get(str(self.runtime.runs.get(self.me, run).model))

    def judge(self, candidate: InstalledModel) -> Verdict:
        """Return what the gate says of a candidate."""
        job = self.runtime.evaluations.submit(self.me, Evaluation(candidate=candidate.reference, dataset=self.dataset))
        self._wait(job)
        return self.runtime.verdicts.get(self.me, job)

    def copy(self, model: InstalledModel, name: str, *, noise: float, seed: int) -> InstalledModel:
        """Return a model entered under another name, with noise on its weights."""
        folder = shutil.copytree(model.path, self.scratch / name)
        (folder / files.MANIFEST).unlink(missing_ok=True)
        chance = torch.Generator().manual_seed(seed)
        for path in folder.glob("*.safetensors") if noise else ():
            tensors = load_file(path)
            # Of quantized weights, the scales carry the noise: bytes have no small changes.
            noisy = {key: _noisy(key, tensor, noise, chance) for key, tensor in tensors.items()}
            save_file(noisy, path, metadata={"format": "pt"})
        return self.runtime.registry.add(
            name=name,
            kind=model.kind,
            version=files.version_of(files.hash_files(folder)),
            path=folder,
            source=f"{model.reference} with noise {noise}",
            details=model.details,
            base_id=model.base_id if model.kind == "adapter" else model.id,
        )

    def _wait(self, job: str) -> None:
        row = self.runtime.jobs.wait(job, _WAIT_S)
        if row.state != "succeeded":
            raise KeepstoneError(f"The job {row.kind} was {row.state}: {row.error}")


@contextmanager
def _bench(
    home: Path, engine: EngineSettings, documents: dict[str, bytes], *, test_share: float, passages: int
) -> Iterator[_Bench]:
    logs.configure(LoggingSettings(level="error"))
    with Runtime.open(load_settings(home=home, engine=engine), start_engine=engine.mode == "managed") as runtime:
        me = ingest(runtime, COLLECTION, documents)
        config = DatasetConfig(collection=COLLECTION, source="sentences", test_share=test_share, passages=passages)
        row = runtime.jobs.wait(runtime.dataset_builder.submit(me, config), _WAIT_S)
        if row.state != "succeeded":
            raise KeepstoneError(f"No dataset was built: {row.error}")
        yield _Bench(runtime, me, runtime.datasets.list(me)[0].id, home)


async def _ready(runtime: Runtime) -> None:
    for _ in range(_ENGINE_S):
        if await runtime.engine.ready():
            return
        await asyncio.sleep(1)
    raise EngineUnavailable("vLLM did not start", fix="Start the app and read its logs/engine.log")


def _noisy(key: str, tensor: torch.Tensor, noise: float, chance: torch.Generator) -> torch.Tensor:
    if not tensor.is_floating_point() or tensor.numel() < 2:
        return tensor
    draw, exact = torch.randn(tensor.shape, generator=chance), tensor.float()
    if key.endswith("scale"):
        return (exact * (1 + noise * draw).abs()).to(tensor.dtype)
    # An adapter that hardly learned has weights near zero.
    spread = max(float(exact.std()), 0.1 if "lora" in key else 0.0)
    return (exact + noise * spread * draw).to(tensor.dtype)


def _articles(context: Context) -> dict[str, bytes]:
    """Return the articles of XQuAD as documents."""
    content = json.loads((context.dataset("xquad") / "xquad.en.json").read_text(encoding="utf-8"))
    found = {}
    for article in content["data"]:
        title = str(article["title"]).replace("_", " ")
        sections = [f"## Part {n}\n\n{each['context']}" for n, each in enumerate(article["paragraphs"], 1)]
        found[f"{title.replace('/', ' ')}.md"] = "\n\n".join([f"# {title}", *sections]).encode()
    return found


def _told(verdict: Verdict) -> dict[str, Any]:
    return {
        "candidate": verdict.case.candidate,
        "outcome": verdict.outcome,
        "reasons": verdict.reasons,
        "figures": [figure.text for figure in verdict.figures],
    }
