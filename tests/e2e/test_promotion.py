"""Promotion on the real app and engine: what was made live answers, survives a restart, and is taken back."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from benchmarks.app import App
from benchmarks.smoke import COLLECTION
from keepstone.platform.errors import KeepstoneError
from keepstone.platform.models import files

pytestmark = [pytest.mark.e2e, pytest.mark.recipes, pytest.mark.timeout(1800)]

QUESTION = "Is it OK to wipe the balance with acetone?"
MODEL = "smollm2-135m-instruct"
ENCODER = "all-minilm-l6-v2"


def test_an_adapter_becomes_live_and_goes_again(app: App, tmp_path: Path) -> None:
    base = next(each for each in app.json("models", "list") if each["name"] == MODEL)
    app.run("models", "pull", str(make_adapter(Path(base["path"]), tmp_path / "tuned")), "--name", "tuned")
    assert "has not been judged" in refusal(app, "models", "promote", "tuned")

    promoted = app.json("models", "promote", "tuned", "--force")
    assert promoted["previous"] == f"{MODEL}@{base['version']}"
    versions = answered_by(app)
    assert f"{versions['model']}@{versions['model_version']}" == promoted["model"]
    assert versions["base_model"] == promoted["previous"]
    assert bare_chat(app)["model"] == promoted["model"]

    app.run("engine", "restart")
    wait_until_ready(app)
    assert bare_chat(app)["model"] == promoted["model"]

    app.run("models", "rollback")
    assert answered_by(app)["model"] == MODEL
    assert bare_chat(app)["model"] == MODEL
    assert app.json("models", "history")[0]["undone_at"]


def test_an_adapter_for_another_model_is_refused_and_nothing_changes(app: App, tmp_path: Path) -> None:
    """vLLM itself takes such an adapter without a word."""
    app.run("models", "pull", str(make_adapter(None, tmp_path / "foreign")), "--name", "foreign")
    assert f"does not fit {MODEL}@" in refusal(app, "models", "promote", "foreign", "--force")
    assert bare_chat(app)["model"] == MODEL


def test_an_encoder_searches_one_collection_and_goes_again(app: App, tmp_path: Path) -> None:
    base = next(each for each in app.json("models", "list") if each["name"] == ENCODER)
    app.run("models", "pull", str(nudged_encoder(Path(base["path"]), tmp_path / "nudged")), "--name", "nudged")
    assert "has not been judged" in refusal(app, "models", "promote", "nudged", "--collection", COLLECTION)

    promoted = app.json("models", "promote", "nudged", "--collection", COLLECTION, "--force")
    assert answered_by(app)["encoder"] == promoted["model"]

    app.run("models", "rollback", "--collection", COLLECTION)
    assert answered_by(app)["encoder"] == f"{ENCODER}@{base['version']}"


def nudged_encoder(base: Path, folder: Path) -> Path:
    """Copy an encoder, with weights a hundredth larger."""
    shutil.copytree(base, folder)
    (folder / files.MANIFEST).unlink()
    path = folder / "model.safetensors"
    larger = {name: tensor * 1.01 for name, tensor in load_file(path).items() if tensor.is_floating_point()}
    save_file(load_file(path) | larger, path, metadata={"format": "pt"})
    return folder


def make_adapter(base: Path | None, folder: Path) -> Path:
    """Write an adapter of rank 4 that changes a little what a model says; without a base, for one of another shape."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    if base is None:
        shape = LlamaConfig(vocab_size=99, hidden_size=64, intermediate_size=64, num_hidden_layers=1)
        model: Any = LlamaForCausalLM(shape)
    else:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, local_files_only=True)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.01)
    model.peft_config["default"].base_model_name_or_path = None
    model.save_pretrained(str(folder))
    return folder


def refusal(app: App, *arguments: str) -> str:
    with pytest.raises(KeepstoneError) as caught:
        app.run(*arguments)
    return caught.value.message


def answered_by(app: App) -> dict[str, str]:
    """Ask, and return the versions from the answer's provenance."""
    answer = app.json("ask", QUESTION, "--collection", COLLECTION)
    with app.client() as http:
        record = http.get(f"/v1/answers/{answer['answer_id']}").json()
    return dict(record["versions"])


def bare_chat(app: App) -> dict[str, Any]:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}
    with app.client() as http:
        answer: dict[str, Any] = http.post("/v1/chat/completions", json=body).raise_for_status().json()
    return answer


def wait_until_ready(app: App) -> None:
    for _ in range(600):
        if app.json("status")["engine"]["state"] == "ready":
            return
        time.sleep(1)
    raise AssertionError(app.json("status"))
