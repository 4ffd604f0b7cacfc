"""Recipe `embedding`: an encoder learns which passage answers which question.

    keepstone train embedding --dataset handbook --set epochs=2

Contrastive learning over the rows of `retrieval/train.jsonl`: of all passages of a batch, hard negatives included, the
question is to be nearest to its own (MultipleNegativesRankingLoss: Henderson et al., 2017; InfoNCE). No text stands
twice in a batch, or a right passage would be taught to be wrong. What the encoder knew of other subjects it keeps:
passages and random words are held near where they were (recipes/anchored.py), and in the end the weights are averaged
with some of those of the start (Wortsman et al., 2022; LM-Cocktail, Xiao et al., 2023).
"""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field

from keepstone.platform.machine import Machine
from keepstone.platform.models.files import count_parameters, describe, read_json
from keepstone.retrieval.encoder_folder import check_folder
from keepstone.training.recipes import cost
from keepstone.training.recipes.base import Outcome, Paths, Plan, Recipe, Report
from keepstone.training.recipes.contrast import ContrastConfig, Example, examples


class EmbeddingConfig(ContrastConfig):
    """What the recipe `embedding` can be told."""

    epochs: float = Field(default=3.0, gt=0, le=100)
    """How often each row is seen."""
    learning_rate: float = Field(default=5e-5, gt=0, le=1)
    """Highest rate; it rises over the first steps and falls linearly to 0."""
    temperature: float = Field(default=0.05, gt=0, le=1)
    """Divides the similarities: smaller is stricter."""
    anchor: float = Field(default=5.0, ge=0, le=1000)
    """How strongly passages and random words are held where the start had them; 0 lets go, and takes a quarter less
    time."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of activations left out while training. Any but 0 is slower on a CPU."""
    merge: float = Field(default=0.8, gt=0, le=1)
    """Share of the trained weights in the average with those of the start; 1 keeps the trained ones alone."""


def plan(config: EmbeddingConfig, paths: Paths, machine: Machine) -> Plan:
    """Return what the run would take."""
    rows = examples(paths.dataset, config)
    limit = _limit(config, paths)
    table = _columns(rows)
    lengths = {name: cost.count_tokens(paths.base, texts, limit) for name, texts in table.items()}
    # A batch is as long as its longest text.
    tokens = int(sum(sum(each) for each in lengths.values()) * config.epochs)
    longest = sum(sorted(each)[-max(1, len(each) // 20)] for each in lengths.values()) * config.batch_size
    weights = count_parameters(paths.base)
    memory = cost.training_memory_gib(weights, weights, longest, paths.base)
    return Plan(
        rows=len(rows),
        tokens=tokens,
        steps=math.ceil(math.ceil(len(rows) / config.batch_size) * config.epochs),
        memory_gib=memory,
        # The start reads every passage too, without learning.
        seconds=cost.training_seconds(
            cost.working_parameters(paths.base), tokens, machine, factor=8.0 if config.anchor else 6.0
        ),
        device=cost.device_of(machine),
        warnings=cost.too_large(memory, machine),
    )


def train(config: EmbeddingConfig, paths: Paths, report: Report) -> Outcome:
    """Train, average with the start, save."""
    check_folder(paths.base)
    rows = examples(paths.dataset, config)
    import torch
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.base.sampler import BatchSamplers
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    from keepstone.training.recipes import following
    from keepstone.training.recipes.anchored import AnchoredLoss

    torch.manual_seed(config.seed)
    model: Any = SentenceTransformer(
        str(paths.base),
        device=following.device(),
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={"dtype": torch.float32, "use_safetensors": True},
        config_kwargs=_dropout(config, paths),
    )
    reads, model.max_seq_length = model.max_seq_length, _limit(config, paths)
    start = {name: tensor.detach().clone().cpu() for name, tensor in model.state_dict().items()}
    table = _columns(rows)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            **following.trainer_arguments(config, paths),
            batch_sampler=BatchSamplers.NO_DUPLICATES,
            prompts=_prompts(model, list(table)),
        ),
        train_dataset=Dataset.from_dict(table),
        loss=AnchoredLoss(model, MultipleNegativesRankingLoss(model, scale=1 / config.temperature), config.anchor),
    )
    metrics = following.run_trainer(trainer, paths, report)
    _average(model, start, config.merge)
    model.max_seq_length = reads
    for name in _dropout(config, paths):
        setattr(model[0].auto_model.config, name, read_json(paths.base / "config.json")[name])
    model.save_pretrained(str(paths.output), create_model_card=False)
    return Outcome(paths.output, metrics | {"rows": float(len(rows))})


def _columns(rows: list[Example]) -> dict[str, list[str]]:
    """Return the texts by column, in the order that the loss wants: question, positive, negatives."""
    table = {"question": [row.question for row in rows], "positive": [row.positive for row in rows]}
    for number, column in enumerate(zip(*(row.negatives for row in rows), strict=True), 1):
        table[f"negative_{number}"] = list(column)
    return table


def _limit(config: EmbeddingConfig, paths: Paths) -> int:
    reads = int(describe(paths.base, "encoder").get("max_tokens") or 512)
    return min(config.max_tokens or reads, reads)


def _dropout(config: EmbeddingConfig, paths: Paths) -> dict[str, float]:
    known = read_json(paths.base / "config.json")
    return {name: config.dropout for name in known if name.endswith(("dropout", "dropout_prob"))}


def _prompts(model: Any, columns: list[str]) -> dict[str, str]:
    """Return what stands before the texts of each column, as when the encoder is used."""
    prompts = model.prompts or {}
    default = prompts.get(model.default_prompt_name or "") or ""
    document = next((prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name)), default)
    before = dict.fromkeys(columns, document) | {"question": prompts.get("query") or default}
    return {name: text for name, text in before.items() if text}


def _average(model: Any, start: dict[str, Any], share: float) -> None:
    """Set the weights to `share` of themselves and the rest of those of the start."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(start[name].to(tensor.device).lerp(tensor, share))


RECIPE = Recipe(
    name="embedding",
    base_kind="encoder",
    config=EmbeddingConfig,
    suffix="tuned",
    make_plan=plan,
    make_model=train,
    result_kind=lambda _config: "encoder",
)
