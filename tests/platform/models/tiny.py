"""Models of a few bytes, for tests: right in form, of no use."""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def tiny_model(folder: Path, architecture: str = "LlamaForCausalLM", *, seed: int = 0) -> Path:
    """Write a folder with configuration, weights and tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architectures": [architecture], "max_position_embeddings": 512, "hidden_size": 8}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    save_file({"weight": np.full((2, 2), seed, dtype=np.float32)}, folder / "model.safetensors")
    return folder


def tiny_wheel(folder: Path, package: str, version: str, members: dict[str, bytes]) -> Path:
    """Write a wheel that pip takes."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{package}-{version}.dist-info"
    members = members | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"{package}-{version}-py3-none-any.whl"
    lines = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in members.items()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,"]))
    return path


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
