"""Recipe `quantize`: a language model with 8-bit weights and activations, smaller and faster.

    keepstone quantize smollm2-135m-instruct --dataset handbook

SmoothQuant (Xiao et al., 2022) moves the outliers of the activations into the weights; GPTQ (Frantar et al., 2022)
rounds the weights, layer by layer, so that each layer's outputs on the calibration rows stay close to what they were.
The rows are the conversations of `chat/train.jsonl` in the model's own chat template: what the engine will read.
Activations get their scale a token at a time while the engine runs. A run that was killed begins anew.
"""

from __future__ import annotations

import time
from typing import Any

from pydantic import Field

from keepstone.platform.errors import InvalidInput
from keepstone.platform.machine import Machine
from keepstone.platform.models.files import check_weights, count_parameters, read_json
from keepstone.training.recipes import cost
from keepstone.training.recipes.base import Outcome, Paths, Plan, Recipe, RecipeConfig, Report
from keepstone.training.recipes.rows import chat_rows

_MIN_ROWS = 4
_STEPS = 3


class QuantizeConfig(RecipeConfig):
    """What the recipe `quantize` can be told."""

    samples: int = Field(default=128, ge=1, le=4096)
    """Conversations to calibrate on."""
    max_tokens: int = Field(default=1024, ge=16)
    """How much of each conversation is read."""
    smoothing: float = Field(default=0.8, ge=0, le=1)
    """How much of the outliers moves into the weights; 0 leaves SmoothQuant out."""
    dampening: float = Field(default=0.01, gt=0, le=1)
    """Keeps GPTQ's matrices invertible; raise it when a layer fails."""


def plan(config: QuantizeConfig, paths: Paths, machine: Machine) -> Plan:
    """Return what the run would take."""
    texts = [" ".join(message.content for message in row.messages) for row in _rows(config, paths)]
    tokens = sum(cost.count_tokens(paths.base, texts, config.max_tokens))
    weights = count_parameters(paths.base)
    memory = cost.training_memory_gib(weights, 0, config.max_tokens, paths.base)
    # Each layer reads the rows twice, and the rounding of its weights takes longer than both.
    seconds = cost.training_seconds(cost.working_parameters(paths.base), tokens, machine, factor=12.0)
    return Plan(
        rows=len(texts),
        tokens=tokens,
        steps=_STEPS,
        memory_gib=memory,
        seconds=30 + seconds,
        device=cost.device_of(machine),
        warnings=cost.too_large(memory, machine),
    )


def train(config: QuantizeConfig, paths: Paths, report: Report) -> Outcome:
    """Quantize, save."""
    check_weights(paths.base)
    if read_json(paths.base / "config.json").get("quantization_config"):
        raise InvalidInput("This model is quantized already", fix="Start from the model that it was made from")
    rows = _rows(config, paths)
    started = time.monotonic()
    import torch
    from llmcompressor.entrypoints.oneshot import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(config.seed)
    tokenizer = AutoTokenizer.from_pretrained(paths.base, local_files_only=True, trust_remote_code=False)
    if not tokenizer.chat_template:
        raise InvalidInput("This model has no chat template", fix="Choose a model that was trained to chat")
    model = AutoModelForCausalLM.from_pretrained(
        paths.base, dtype="auto", local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    report.step(1, _STEPS)
    modifiers: list[Any] = [SmoothQuantModifier(smoothing_strength=config.smoothing)] if config.smoothing else []
    modifiers.append(GPTQModifier(targets="Linear", scheme="W8A8", ignore=["lm_head"], dampening_frac=config.dampening))
    oneshot(
        model=model,
        dataset=_calibration(tokenizer, rows, config),
        recipe=modifiers,
        num_calibration_samples=len(rows),
        max_seq_length=config.max_tokens,
    )
    report.step(2, _STEPS)
    model.save_pretrained(str(paths.output), save_compressed=True)
    tokenizer.save_pretrained(str(paths.output))
    report.step(_STEPS, _STEPS)
    return Outcome(paths.output, {"rows": float(len(rows)), "seconds": time.monotonic() - started})


def _rows(config: QuantizeConfig, paths: Paths) -> list[Any]:
    rows = chat_rows(paths.dataset)
    if len(rows) < _MIN_ROWS:
        raise InvalidInput(
            f"{len(rows)} conversations are too few to calibrate on", fix=f"Build a dataset with {_MIN_ROWS} or more"
        )
    # Spread over the whole dataset, whose rows stand by document.
    step = max(1, len(rows) // config.samples)
    return rows[::step][: config.samples]


def _calibration(tokenizer: Any, rows: list[Any], config: QuantizeConfig) -> Any:
    from datasets import Dataset

    encoded = []
    for row in rows:
        text = tokenizer.apply_chat_template([message.model_dump() for message in row.messages], tokenize=False)
        ids = tokenizer(text, add_special_tokens=False, truncation=True, max_length=config.max_tokens)["input_ids"]
        encoded.append({"input_ids": ids, "attention_mask": [1] * len(ids)})
    return Dataset.from_list(encoded)


RECIPE = Recipe(
    name="quantize",
    base_kind="llm",
    config=QuantizeConfig,
    suffix="w8a8",
    make_plan=plan,
    make_model=train,
    result_kind=lambda _config: "llm",
)
