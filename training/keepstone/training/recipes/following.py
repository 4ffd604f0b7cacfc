"""What all recipes with a Hugging Face trainer share: arguments, progress, whole checkpoints, stopping, divergence.

Imported by recipes when they train, since it loads torch and transformers.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from keepstone.training.recipes.base import Diverged, Paths, Report, Stopped, TrainingConfig

_WHOLE = "whole"
"""File in a checkpoint that is written after all others: without it, a kill or a full disk came in between."""


def computes_bf16() -> bool:
    """Tell whether this machine's processor, or its GPU, computes bfloat16 natively."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16", "arm_bf16"))


def device() -> str:
    """Return where the training computes."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def trainer_arguments(config: TrainingConfig, paths: Paths) -> dict[str, Any]:
    """Return the arguments that all trainers get."""
    return {
        "output_dir": str(paths.checkpoints),
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "warmup_steps": config.warmup,  # below 1, a share of all steps
        "seed": config.seed,
        "data_seed": config.seed,
        "bf16": computes_bf16(),
        "use_cpu": not torch.cuda.is_available(),
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": config.save_every,
        # The one before stays until the next is whole.
        "save_total_limit": 2,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


def run_trainer(trainer: Any, paths: Paths, report: Report) -> dict[str, float]:
    """Train from the last whole checkpoint, or from the start, to the end; return the measures of the run.

    Raises:
        Stopped: the report asked to stop; the step in hand was done, and saved.
        Diverged: the loss is no number any more.
    """
    follower = _Follower(report, paths.checkpoints)
    trainer.add_callback(follower)
    trainer.remove_callback(PrinterCallback)
    last = last_checkpoint(paths.checkpoints)
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    if trainer.state.global_step < trainer.state.max_steps:
        raise Stopped
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    tenth = max(1, len(losses) // 10)
    return {
        "steps": float(trainer.state.global_step),
        "loss_first": fmean(losses[:tenth]),
        "loss_last": fmean(losses[-tenth:]),
        "seconds": time.monotonic() - started,
    }


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint, and delete those that are not whole."""
    found = {}
    for path in folder.glob("checkpoint-*"):
        step = path.name.rpartition("-")[2]
        if step.isdigit() and (path / _WHOLE).is_file():
            found[int(step)] = path
        else:
            shutil.rmtree(path, ignore_errors=True)
    return found[max(found)] if found else None


class _Follower(TrainerCallback):
    """Tells the report of each step, and makes the trainer stop when the report wants it."""

    def __init__(self, report: Report, folder: Path) -> None:
        self._report = report
        self._folder = folder

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Stop after this step, with a checkpoint, if that was asked for."""
        del args, state, kwargs
        if self._report.stopping():
            control.should_save = control.should_training_stop = True
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Pass on what was measured."""
        del args, control, kwargs
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        gradient = float(logs.get("grad_norm") or 0.0)
        if not math.isfinite(loss) or not math.isfinite(gradient):
            raise Diverged(
                f"The training broke down at step {state.global_step}: its loss is no number any more",
                fix=f"Try a smaller learning_rate, such as {float(logs.get('learning_rate') or 0) / 5 or 1e-6:.1e}",
            )
        self._report.step(
            state.global_step,
            state.max_steps,
            loss=loss,
            lr=float(logs.get("learning_rate") or 0.0),
            grad_norm=gradient,
        )

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Bring the checkpoint to the disk, and mark it as whole."""
        del args, control, kwargs
        folder = self._folder / f"checkpoint-{state.global_step}"
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb") as stream:
                    os.fsync(stream.fileno())
        (folder / _WHOLE).touch()
