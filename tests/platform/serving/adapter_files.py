"""Models and adapters of a few numbers, as files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

LAYER = "model.layers.0.self_attn.q_proj"


def write_base(folder: Path, *, width: int = 8) -> Path:
    """Write the one layer of a model."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({f"{LAYER}.weight": np.zeros((width, width), np.float32)}, folder / "model.safetensors")
    return folder


def write_adapter(folder: Path, *, width: int = 8, rank: int = 4, layer: str = LAYER, **config: object) -> Path:
    """Write an adapter for that layer."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "target_modules": ["q_proj"], **config}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    prefix = f"base_model.model.{layer}"
    matrices = {
        f"{prefix}.lora_A.weight": np.zeros((rank, width), np.float32),
        f"{prefix}.lora_B.weight": np.zeros((width, rank), np.float32),
    }
    save_file(matrices, folder / "adapter_model.safetensors")
    return folder
