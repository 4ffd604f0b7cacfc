"""What a run takes: tokens are counted, memory and time are estimated from them and from the model's size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keepstone.platform.errors import InvalidInput
from keepstone.platform.machine import Machine
from keepstone.platform.models.files import count_parameters, read_json

# Floating point operations a second, as measured in training small models: by core with and without native bfloat16.
_CORE_BF16, _CORE_FP32 = 70e9, 20e9
# By GPU: a third of what an A100 can do; nobody has measured it here.
_GPU = 100e12
_GIB = 2**30
# Python, torch and transformers, before any model.
_LIBRARIES_GIB = 1.0


def count_tokens(base: Path, texts: Sequence[str], limit: int) -> list[int]:
    """Return how many tokens the model's own tokenizer makes of each text, special tokens included, cut at `limit`.

    Raises:
        InvalidInput: the model has no tokenizer.json.
    """
    from tokenizers import Tokenizer

    path = base / "tokenizer.json"
    if not path.is_file():
        raise InvalidInput(f"The model in {base} has no tokenizer.json", fix="Choose a model that has one")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    return [len(encoding) for encoding in tokenizer.encode_batch_fast(list(texts))]


def working_parameters(base: Path) -> int:
    """Return how many weights each token passes through: all but those of the embedding table."""
    config = read_json(base / "config.json")
    table = int(config.get("vocab_size") or 0) * int(config.get("hidden_size") or 0)
    total = count_parameters(base)
    # A causal model multiplies by the table once, at its end.
    causal = any(str(name).endswith("ForCausalLM") for name in config.get("architectures") or ())
    return max(total - (0 if causal else table), total // 10)


def training_seconds(parameters: int, tokens: int, machine: Machine, *, factor: float = 6.0) -> float:
    """Estimate the time of a run: 6 operations a weight and token forwards and backwards (Kaplan et al., 2020).

    Args:
        parameters: weights that each token passes through.
        tokens: tokens of the whole run.
        machine: where it runs.
        factor: operations a weight and token; 2 where nothing is learned, 4 where only a few weights are.
    """
    speed = len(machine.gpus[:1]) * _GPU or machine.cores * (_CORE_BF16 if machine.bf16 else _CORE_FP32)
    return factor * parameters * tokens / speed


def training_memory_gib(weights: int, trained: int, tokens_a_batch: int, base: Path, *, weight_bytes: int = 4) -> float:
    """Estimate the memory of a run: weights; gradients and two moments of those trained; activations.

    Args:
        weights: all weights of the model.
        trained: those that learn.
        tokens_a_batch: padded tokens of one step.
        base: the model, for its width and depth.
        weight_bytes: size of a weight while training.
    """
    config = read_json(base / "config.json")
    width = int(config.get("hidden_size") or 0) * int(config.get("num_hidden_layers") or 0)
    # About 34 bytes a token, layer and channel (Korthikanti et al., 2022), and some more for attention.
    activations = tokens_a_batch * width * 40
    return _LIBRARIES_GIB + (weights * weight_bytes + trained * 12 + activations) / _GIB


def device_of(machine: Machine) -> str:
    """Return where a run would compute."""
    return "cuda" if machine.gpus else "cpu"


def too_large(memory_gib: float, machine: Machine) -> tuple[str, ...]:
    """Return the warning that a run needs more memory than there is, if so."""
    room = machine.gpus[0].memory_gib if machine.gpus else machine.memory_gib
    if memory_gib <= room * 0.9:
        return ()
    return (f"It may need {memory_gib:.1f} GiB of memory, and this machine has {room:.1f}: set a smaller batch_size",)
