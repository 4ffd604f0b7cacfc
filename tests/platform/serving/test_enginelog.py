"""What a death in the engine's log means to a person."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepstone.platform.serving.enginelog import engine_log, explain_death, open_log

WARNING = (
    "(APIServer pid=1) WARNING 11-22 03:01:45 [x.py:1] This can cause fd limit errors like `OSError: too many files`"
)


@pytest.mark.parametrize(
    ("lines", "code", "said", "fix"),
    [
        (
            ["INFO up", "ValueError: KV cache is needed, which is larger"],
            1,
            "KV cache is needed",
            "engine.max_model_len",
        ),
        ([WARNING, "RuntimeError: broken"], 1, "RuntimeError: broken", "engine.log"),
        ([WARNING], 137, "killed", "engine.log"),
        (["first", "last words"], 1, "last words", "engine.log"),
        (["api_server.py: error: unrecognized arguments: --nonsense"], 2, "--nonsense", "engine.extra_args"),
        ([], None, "stopped answering", "engine.log"),
    ],
)
def test_explain(tmp_path: Path, lines: list[str], code: int | None, said: str, fix: str) -> None:
    with open_log(tmp_path) as log:
        log.write("\n".join(lines).encode())
    reason, mends = explain_death(engine_log(tmp_path), code)
    assert said in reason
    assert "too many files" not in reason
    assert fix in mends


def test_a_log_that_is_gone_or_binary_is_no_further_trouble(tmp_path: Path) -> None:
    assert explain_death(tmp_path / "none", 1)[0] == "It ended with exit code 1"
    with open_log(tmp_path) as log:
        log.write(bytes(range(256)) * 1000)
    assert len(explain_death(engine_log(tmp_path), 1)[0]) < 500
