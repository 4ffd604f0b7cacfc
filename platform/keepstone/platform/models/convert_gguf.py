"""Turns a GGUF file into the safetensors folder that vLLM and trainers load.

Run in a process of its own, since it needs much memory for a short time:
`python -m keepstone.platform.models.convert_gguf MODEL.gguf FOLDER`
"""

from __future__ import annotations

import sys
from pathlib import Path


def convert(source: Path, target: Path) -> None:
    """Write the weights of `source`, widened to bfloat16, with tokenizer and chat template, into the folder `target`.

    Raises:
        ValueError: the file has no chat template, so nobody could talk to the model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder, name = str(source.parent), source.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    if not tokenizer.chat_template:
        raise ValueError(f"{name} has no chat template")
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
