"""Recipe `reranker`: a cross-encoder learns to tell passages that answer a question from those that seem to.

    keepstone train reranker --dataset handbook --set epochs=2

It starts from the weights of an encoder, with a new last layer (or from a reranker, with its own), reads question and
passage together, and learns from the rows of `retrieval/train.jsonl` by binary cross-entropy: 1 for the positive, 0 for
the negatives (Nogueira and Cho, 2019).
"""

from __future__ import annotations

import math

from pydantic import Field

from keepstone.platform.machine import Machine
from keepstone.platform.models.files import check_weights, count_parameters, describe, read_json
from keepstone.training.recipes import cost
from keepstone.training.recipes.base import Outcome, Paths, Plan, Recipe, Report
from keepstone.training.recipes.contrast import ContrastConfig, examples


class RerankerConfig(ContrastConfig):
    """What the recipe `reranker` can be told. Its `max_tokens` are those of question and passage together."""

    negatives: int = Field(default=3, ge=1, le=32)
    """Negatives a question; passages of other rows stand in for missing ones."""


def plan(config: RerankerConfig, paths: Paths, machine: Machine) -> Plan:
    """Return what the run would take."""
    questions, passages, _labels = _pairs(config, paths)
    limit = _limit(config, paths)
    counted = (cost.count_tokens(paths.base, texts, limit) for texts in (questions, passages))
    lengths = [min(limit, one + other - 1) for one, other in zip(*counted, strict=True)]
    tokens = int(sum(lengths) * config.epochs)
    weights = count_parameters(paths.base)
    memory = cost.training_memory_gib(weights, weights, max(lengths) * config.batch_size, paths.base)
    return Plan(
        rows=len(lengths),
        tokens=tokens,
        steps=math.ceil(math.ceil(len(lengths) / config.batch_size) * config.epochs),
        memory_gib=memory,
        seconds=cost.training_seconds(cost.working_parameters(paths.base), tokens, machine),
        device=cost.device_of(machine),
        warnings=cost.too_large(memory, machine),
    )


def train(config: RerankerConfig, paths: Paths, report: Report) -> Outcome:
    """Train, save."""
    check_weights(paths.base)
    questions, passages, labels = _pairs(config, paths)
    import torch
    from datasets import Dataset
    from sentence_transformers.cross_encoder import (
        CrossEncoder,
        CrossEncoderTrainer,
        CrossEncoderTrainingArguments,
    )
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

    from keepstone.training.recipes import following

    torch.manual_seed(config.seed)
    model = CrossEncoder(
        str(paths.base),
        num_labels=1,
        max_length=_limit(config, paths),
        device=following.device(),
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={"dtype": torch.float32, "use_safetensors": True},
    )
    # Without it, ones that are rarer than zeros would be answered with zero.
    weight = torch.tensor(float(config.negatives))
    trainer = CrossEncoderTrainer(
        model=model,
        args=CrossEncoderTrainingArguments(**following.trainer_arguments(config, paths)),
        train_dataset=Dataset.from_dict({"question": questions, "passage": passages, "label": labels}),
        loss=BinaryCrossEntropyLoss(model, pos_weight=weight),
    )
    metrics = following.run_trainer(trainer, paths, report)
    model.save_pretrained(str(paths.output), create_model_card=False)
    return Outcome(paths.output, metrics | {"rows": float(len(labels))})


def _pairs(config: RerankerConfig, paths: Paths) -> tuple[list[str], list[str], list[float]]:
    """Return questions, passages and whether the passage answers the question, as columns."""
    questions: list[str] = []
    passages: list[str] = []
    labels: list[float] = []
    for example in examples(paths.dataset, config):
        wrong = example.negatives
        questions += [example.question] * (1 + len(wrong))
        passages += [example.positive, *wrong]
        labels += [1.0, *([0.0] * len(wrong))]
    return questions, passages, labels


def _limit(config: RerankerConfig, paths: Paths) -> int:
    reads = int(read_json(paths.base / "config.json").get("max_position_embeddings") or 512)
    reads = min(reads, 2 * int(describe(paths.base, "encoder").get("max_tokens") or reads))
    return min(config.max_tokens or reads, reads)


RECIPE = Recipe(
    name="reranker",
    base_kind="encoder",
    config=RerankerConfig,
    suffix="reranker",
    make_plan=plan,
    make_model=train,
    result_kind=lambda _config: "reranker",
)
