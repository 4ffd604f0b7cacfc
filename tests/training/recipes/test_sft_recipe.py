"""The recipe `sft`, on a tiny language model: what it learns from, and that full and LoRA runs can be resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from keepstone.platform.errors import InvalidInput
from keepstone.platform.machine import Machine
from keepstone.platform.models.files import check_weights, detect_kind
from keepstone.training.recipes import recipe
from keepstone.training.recipes.base import Paths, Stopped
from keepstone.training.recipes.rows import chat_rows
from keepstone.training.recipes.sft import encode
from tests.training.notes import Notes, same, weights
from tests.training.tiny_models import chat_dataset, chat_row, tiny_llm

pytestmark = pytest.mark.recipes
SFT = recipe("sft")
FAST = {"epochs": 4, "batch_size": 4, "learning_rate": 1e-2, "save_every": 4}
FILES = {"lora": "adapter_model.safetensors", "full": "model.safetensors"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llm(tmp_path_factory.mktemp("llm"))


@pytest.fixture
def paths(base: Path, tmp_path: Path) -> Paths:
    return Paths(base=base, dataset=chat_dataset(tmp_path / "data"), work=tmp_path / "run")


def run(paths: Paths, notes: Notes, **values: Any) -> dict[str, float]:
    return SFT.train(SFT.configure(FAST | values), paths, notes).metrics


def test_only_the_answer_is_learned(base: Path) -> None:
    """The labels are the answer and the token that ends it; before it stands what the engine makes of the prompt."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    asked = chat_row("one", "Be short.", "Where?", "Here.")
    row = encode(tokenizer, asked)
    learned = [token for token in row["labels"] if token != -100]
    assert tokenizer.decode(learned) == "Here.<|im_end|>"
    prompt = tokenizer.apply_chat_template(
        [message.model_dump() for message in asked.messages[:-1]], add_generation_prompt=True
    )["input_ids"]
    assert row["input_ids"] == [*prompt, *learned]


def test_a_template_that_rewrites_the_prompt_is_refused(base: Path) -> None:
    """Training on a context that the engine never shows would teach the wrong thing."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = "{% if add_generation_prompt %}think{% endif %}{{ messages[0]['content'] }}"
    with pytest.raises(InvalidInput, match="chat template"):
        encode(tokenizer, chat_row("one", "Be short.", "Where?", "Here."))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_it_learns_and_a_broken_run_ends_as_an_unbroken_one(paths: Paths, tmp_path: Path, method: str) -> None:
    """The loss falls; the files are what they should be; resumed, the weights are the same to the last bit."""
    metrics = run(paths, Notes(), method=method)
    assert metrics["loss_last"] < metrics["loss_first"]
    assert metrics["rows"] == 12
    check_weights(paths.output)
    assert detect_kind(paths.output) == SFT.result_kind(SFT.configure({"method": method}))
    broken = Paths(base=paths.base, dataset=paths.dataset, work=tmp_path / "broken")
    with pytest.raises(Stopped):
        run(broken, Notes(5), method=method)
    run(broken, Notes(), method=method)
    assert same(weights(paths, FILES[method]), weights(broken, FILES[method]))


def test_the_results_load(paths: Paths, tmp_path: Path) -> None:
    """The adapter onto its base; the model by itself, in the base's number format and with its chat template."""
    from peft import PeftModel

    run(paths, Notes(), method="lora", epochs=1)
    start = AutoModelForCausalLM.from_pretrained(paths.base, local_files_only=True)
    tokens = torch.arange(8)[None]
    before = start(tokens).logits
    adapted = PeftModel.from_pretrained(start, str(paths.output))
    assert not torch.equal(adapted(tokens).logits, before)
    full = Paths(base=paths.base, dataset=paths.dataset, work=tmp_path / "full")
    run(full, notes := Notes(), method="full", epochs=1, at_once=2)
    assert [point["step"] for point in notes.points] == [1, 2, 3]
    assert AutoModelForCausalLM.from_pretrained(full.output, dtype="auto").dtype == torch.bfloat16
    assert AutoTokenizer.from_pretrained(full.output).chat_template


def test_long_conversations_are_left_out_and_counted(paths: Paths) -> None:
    """The plan warns of it; none left is an error that says so."""
    machine = Machine(cores=2, memory_gib=8, free_disk_gib=10)
    whole = SFT.plan(SFT.configure(FAST), paths, machine)
    assert (whole.rows, whole.steps, whole.warnings) == (12, 12, ())
    longest = max(len(row.messages[-1].content) for row in chat_rows(paths.dataset)) * 2 + 100
    part = SFT.plan(SFT.configure(FAST | {"max_tokens": longest}), paths, machine)
    assert part.rows <= 12
    with pytest.raises(InvalidInput, match="too few"):
        SFT.plan(SFT.configure(FAST | {"max_tokens": 32}), paths, machine)
