"""Whether a folder holds an encoder that can be loaded without trusting it."""

from __future__ import annotations

import json
from pathlib import Path

from keepstone.platform.errors import InvalidInput, ModelMissing


def check_folder(folder: Path) -> None:
    """Check that a folder holds a sentence-transformers model which loads without running anybody's code.

    Raises:
        ModelMissing: there is no model, or its weights are missing.
        InvalidInput: it wants pickled weights, or code of its own.
    """
    fix = "Get it again: `keepstone models pull starter`, or name another encoder in keepstone.toml"
    if not (folder / "config.json").is_file():
        raise ModelMissing(f"There is no encoder in {folder}", fix=fix)
    if not (folder / "modules.json").is_file():
        raise InvalidInput(f"{folder} is no sentence-transformers model: it has no modules.json", fix=fix)
    if not any(folder.glob("model*.safetensors")):
        raise ModelMissing(f"The encoder in {folder} has no weights in safetensors format", fix=fix)
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        paths = [(str(each["path"]), str(each["type"])) for each in modules]
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInput(f"{folder / 'modules.json'} is damaged", fix=fix) from error
    for path, kind in paths:
        if not kind.startswith("sentence_transformers."):
            raise InvalidInput(f"The encoder in {folder} wants to run its own code ({kind})", fix=fix)
        part = (folder / path).resolve()
        if not part.is_relative_to(folder.resolve()):
            raise InvalidInput(f"The encoder in {folder} refers to files outside its folder", fix=fix)
        if any(part.glob("*.bin")) and not any(part.glob("*.safetensors")):
            raise InvalidInput(f"{part} holds pickled weights, which could run code", fix=fix)
