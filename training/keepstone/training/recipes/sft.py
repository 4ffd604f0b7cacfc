"""Recipe `sft`: a language model learns to answer as the dataset answers (supervised fine-tuning).

    keepstone train sft --dataset handbook --set epochs=2 --set method=lora

The rows of `chat/train.jsonl` are put into the model's own chat template, which the engine uses too: the prompt as the
engine gets it, then the answer up to the token that ends it. Only the answer's tokens count in the loss. `lora` trains
small matrices beside the weights (Hu et al., 2021) and makes an adapter that vLLM loads while it runs; `full` trains
all weights and makes a model.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from keepstone.platform.errors import InvalidInput
from keepstone.platform.machine import Machine
from keepstone.platform.models.files import check_weights, count_parameters, read_json
from keepstone.training.data.rows import ChatRow
from keepstone.training.recipes import cost
from keepstone.training.recipes.base import Outcome, Paths, Plan, Recipe, Report, TrainingConfig
from keepstone.training.recipes.rows import chat_rows

_MIN_ROWS = 4
_IGNORED = -100


class SftConfig(TrainingConfig):
    """What the recipe `sft` can be told."""

    method: Literal["lora", "full"] = "lora"
    """`lora`: an adapter beside the model. `full`: all weights, with four times their memory."""
    batch_size: int = Field(default=8, ge=1, le=4096)
    """Conversations a step."""
    at_once: int = Field(default=1, ge=1, le=4096)
    """How many of them go through the model together, best a divisor of batch_size: more takes more memory, and is
    faster on a GPU."""
    learning_rate: float | None = Field(default=None, gt=0, le=1)  # type: ignore[assignment]
    """Highest rate; unset, 2e-4 for `lora` and 2e-5 for `full`."""
    max_tokens: int = Field(default=4096, ge=32)
    """Longer conversations are left out: cut, they would teach answers to evidence that is not there."""
    rank: int = Field(default=16, ge=1, le=256)
    """`lora`: width of the matrices. vLLM takes up to 16 unless it is told otherwise."""
    alpha: int = Field(default=32, ge=1, le=1024)
    """`lora`: their weight, divided by the rank."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """`lora`: share of their inputs left out while training."""


def plan(config: SftConfig, paths: Paths, machine: Machine) -> Plan:
    """Return what the run would take."""
    rows, left_out = _encoded(config, paths)
    lengths = [len(row["input_ids"]) for row in rows]
    tokens = int(sum(lengths) * config.epochs)
    weights = count_parameters(paths.base)
    full = config.method == "full"
    memory = cost.training_memory_gib(
        weights,
        weights if full else _adapter_weights(paths.base, config.rank),
        max(lengths) * min(config.at_once, config.batch_size),
        paths.base,
        weight_bytes=4 if full else 2,
    )
    warnings = cost.too_large(memory, machine)
    if left_out:
        warnings += (f"{left_out} conversations are longer than {config.max_tokens} tokens and are left out",)
    working = cost.working_parameters(paths.base)
    return Plan(
        rows=len(rows),
        tokens=tokens,
        steps=math.ceil(math.ceil(len(rows) / config.batch_size) * config.epochs),
        memory_gib=memory,
        seconds=cost.training_seconds(working, tokens, machine, factor=6.0 if full else 4.0),
        device=cost.device_of(machine),
        warnings=warnings,
    )


def train(config: SftConfig, paths: Paths, report: Report) -> Outcome:
    """Train, save."""
    check_weights(paths.base)
    rows, left_out = _encoded(config, paths)
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.trainer.sft_config import SFTConfig as TrainerConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from keepstone.training.recipes import following

    torch.manual_seed(config.seed)
    tokenizer = AutoTokenizer.from_pretrained(paths.base, local_files_only=True, trust_remote_code=False)
    lora = config.method == "lora"
    # An adapter learns in float32 beside weights that stay; weights that learn need float32 themselves.
    stays = torch.bfloat16 if following.computes_bf16() else torch.float32
    model: Any = AutoModelForCausalLM.from_pretrained(
        paths.base,
        dtype=stays if lora else torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    rate = config.learning_rate or (2e-4 if lora else 2e-5)
    at_once = math.gcd(config.at_once, config.batch_size)
    arguments = following.trainer_arguments(config, paths) | {
        "learning_rate": rate,
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": config.batch_size // at_once,
    }
    trainer: Any = SFTTrainer(
        model=model,
        args=TrainerConfig(
            **arguments,
            max_length=None,
            packing=False,
            gradient_checkpointing=torch.cuda.is_available(),
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=_lora(config) if lora else None,
    )
    metrics = following.run_trainer(trainer, paths, report)
    if not lora:
        model.to({"float32": torch.float32, "float16": torch.float16}.get(_stored(paths.base), torch.bfloat16))
    if lora:
        # The registry knows the base; a path of this machine would make another version of the same adapter elsewhere.
        trainer.model.peft_config["default"].base_model_name_or_path = None
    else:
        tokenizer.save_pretrained(str(paths.output))
    trainer.model.save_pretrained(str(paths.output))
    return Outcome(paths.output, metrics | {"rows": float(len(rows)), "left_out": float(left_out)})


def encode(tokenizer: Any, row: ChatRow) -> dict[str, list[int]]:
    """Return the tokens of a conversation as the engine would meet them, and the labels: those of the answer alone.

    Raises:
        InvalidInput: the chat template writes a prompt differently once its answer is there.
    """
    messages = [message.model_dump() for message in row.messages]
    prompt = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    if not whole.startswith(prompt):
        raise InvalidInput(
            "This model's chat template writes a prompt differently once its answer is there",
            fix="Choose another model: this one cannot be trained on the answer alone",
        )
    answer = whole[len(prompt) :]
    # What the template puts behind the last token of the answer is never the model's to write.
    end = answer.rfind(tokenizer.eos_token) if tokenizer.eos_token else -1
    answer = answer[: end + len(tokenizer.eos_token)] if end >= 0 else answer
    # Apart, since the engine has the tokens of the prompt before those of the answer exist.
    given = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    wanted = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return {"input_ids": given + wanted, "labels": [_IGNORED] * len(given) + wanted}


def _encoded(config: SftConfig, paths: Paths) -> tuple[list[dict[str, list[int]]], int]:
    """Return the encoded rows that are short enough, and how many are not."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(paths.base, local_files_only=True, trust_remote_code=False)
    if not tokenizer.chat_template:
        raise InvalidInput("This model has no chat template", fix="Choose a model that was trained to chat")
    rows = [encode(tokenizer, row) for row in chat_rows(paths.dataset)]
    short = [row for row in rows if len(row["input_ids"]) <= config.max_tokens]
    if len(short) < _MIN_ROWS:
        raise InvalidInput(
            f"{len(short)} conversations of {config.max_tokens} tokens or less are too few to learn from",
            fix=f"Build a dataset with {_MIN_ROWS} or more, or raise max_tokens",
        )
    return short, len(rows) - len(short)


def _lora(config: SftConfig) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.lora_dropout,
        target_modules="all-linear",
    )


def _stored(base: Path) -> str:
    """Return the number format of the model's files."""
    config = read_json(base / "config.json")
    return str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")


def _adapter_weights(base: Path, rank: int) -> int:
    config = read_json(base / "config.json")
    width, inner = int(config.get("hidden_size") or 0), int(config.get("intermediate_size") or 0)
    # Four square matrices and three of the feed-forward part a layer, a pair of thin ones beside each.
    return int(config.get("num_hidden_layers") or 0) * rank * (8 * width + 3 * (width + inner))


RECIPE = Recipe(
    name="sft",
    base_kind="llm",
    config=SftConfig,
    suffix="sft",
    make_plan=plan,
    make_model=train,
    result_kind=lambda config: "adapter" if config.method == "lora" else "llm",
)
