"""The recipe `quantize`, on a tiny language model."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from keepstone.platform.errors import InvalidInput
from keepstone.platform.machine import Machine
from keepstone.platform.models.files import check_weights, describe, read_json
from keepstone.training.recipes import recipe
from keepstone.training.recipes.base import Paths
from tests.training.notes import Notes
from tests.training.tiny_models import chat_dataset, tiny_llm

pytestmark = pytest.mark.recipes
QUANTIZE = recipe("quantize")


def test_weights_become_bytes_in_the_engines_format(tmp_path: Path) -> None:
    """8-bit integers, marked as vLLM reads them; the output head stays; quantizing twice is refused."""
    base, dataset = tiny_llm(tmp_path / "base"), chat_dataset(tmp_path / "data")
    paths = Paths(base=base, dataset=dataset, work=tmp_path / "run")
    config = QUANTIZE.configure({"samples": 8, "max_tokens": 128})
    plan = QUANTIZE.plan(config, paths, Machine(cores=2, memory_gib=8, free_disk_gib=10))
    assert plan.rows == 8
    QUANTIZE.train(config, paths, notes := Notes())
    assert notes.points[-1] == {"step": plan.steps, "of": plan.steps}
    check_weights(paths.output)
    assert describe(paths.output, "llm")["quantization"] == "compressed-tensors"
    tensors = load_file(paths.output / "model.safetensors")
    kinds = {str(tensor.dtype) for name, tensor in tensors.items() if name.endswith("proj.weight")}
    assert kinds == {"torch.int8"}
    assert str(tensors["lm_head.weight"].dtype) == "torch.bfloat16"
    group = read_json(paths.output / "config.json")["quantization_config"]["config_groups"]["group_0"]
    assert (group["weights"]["num_bits"], group["input_activations"]["num_bits"]) == (8, 8)
    again = Paths(base=paths.output, dataset=dataset, work=tmp_path / "again")
    with pytest.raises(InvalidInput, match="quantized already"):
        QUANTIZE.train(config, again, Notes())
