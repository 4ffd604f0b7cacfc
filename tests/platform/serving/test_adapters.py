"""An adapter that does not fit its base is refused before vLLM sees it: vLLM 0.32 takes some of those silently."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keepstone.platform.errors import InvalidInput
from keepstone.platform.serving.adapters import check_adapter
from tests.platform.serving.adapter_files import write_adapter, write_base
from tests.platform.serving.test_live_engine import language_model


def check(folder: Path, *, base_width: int = 8, base_id: str | None = "mdl_base", **adapter: Any) -> None:
    made = language_model("base", "tuned")
    assert made.adapter is not None
    base = replace(made.base, path=write_base(folder / "base", width=base_width))
    tuned = replace(made.adapter, path=write_adapter(folder / "tuned", **adapter), base_id=base_id)
    check_adapter(tuned, base, max_rank=32)


def test_one_that_fits_passes(tmp_path: Path) -> None:
    check(tmp_path)
    check(tmp_path, base_id=None)


def test_one_for_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="tuned@1 was made for another model than base@1"):
        check(tmp_path, base_id="mdl_other")
    with pytest.raises(InvalidInput, match=r"does not fit base@1: model\.layers\.0\.self_attn\.q_proj differs"):
        check(tmp_path, base_width=16, base_id=None)
    with pytest.raises(InvalidInput, match=r"layers\.7.* differs"):
        check(tmp_path, layer="model.layers.7.self_attn.q_proj", base_id=None)


def test_one_that_is_too_wide_is_refused_with_the_setting(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"rank 64.*up to 32.*engine\.max_lora_rank"):
        check(tmp_path, rank=64)
    with pytest.raises(InvalidInput, match="rank 128"):
        check(tmp_path, rank_pattern={"q_proj": 128})


@pytest.mark.parametrize("config", [{"peft_type": "IA3"}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}])
def test_other_kinds_are_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="no plain LoRA"):
        check(tmp_path, **config)


def test_broken_files_are_named(tmp_path: Path) -> None:
    made = language_model("base", "tuned")
    assert made.adapter is not None
    base = replace(made.base, path=write_base(tmp_path / "base"))
    tuned = replace(made.adapter, path=write_adapter(tmp_path / "tuned"))
    (tuned.path / "adapter_model.safetensors").write_bytes(b"half")
    with pytest.raises(InvalidInput, match=r"adapter_model\.safetensors cannot be read"):
        check_adapter(tuned, base, max_rank=32)
