"""The agent of an app uses the tools of a foreign MCP server that the settings list."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import httpx

from keepstone.platform.serving.engine import ChatRequest
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.ui.http.app import create_app
from tests.agents.mcp import foreign_server
from tests.stack import NEVER_DECLINES, admin, ingest, open_stack
from tests.ui.served import key_of, served

CALL = {"thought": "Ask the other.", "calls": [{"tool": "other_echo", "arguments": {"text": "two years, they say"}}]}
READY = {"thought": "I have it.", "answer": True}


def test_a_foreign_tool_is_called_in_a_run_and_is_no_source(tmp_path: Path) -> None:
    def decided(request: ChatRequest) -> str:
        if not request.json_schema:
            return "The warranty lasts two years. [1]"
        asked = "they say" in request.messages[-1].content
        offered = "other_echo" in json.dumps(request.json_schema)
        return json.dumps(CALL if offered and not asked else READY)

    command = [sys.executable, str(Path(foreign_server.__file__))]
    with open_stack(
        tmp_path,
        engine=ScriptedEngine(default=decided),
        answering=NEVER_DECLINES,
        mcp={"servers": {"other": {"command": command, "tools": ["echo"]}}},
    ) as runtime:
        ingest(runtime, admin(runtime), "manual", {"warranty.md": b"# Warranty\n\nThe warranty lasts two years."})
        headers = {"authorization": f"Bearer {key_of(runtime)}"}
        with (
            served(create_app(runtime, web=False)) as server,
            httpx.Client(base_url=server.url, headers=headers, timeout=60) as client,
        ):
            assert runtime.foreign_tools is not None
            deadline = time.monotonic() + 60
            while not runtime.foreign_tools.known() and time.monotonic() < deadline:
                time.sleep(0.05)
            answer = client.post("/v1/agent/runs", json={"question": "How long is the warranty?", "stream": True})
        lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
        events = [json.loads(line) for line in lines]
    assert [each["tool"] for each in events if each["type"] == "call"] == ["search", "other_echo"]
    observed = [each for each in events if each["type"] == "observation"][-1]
    assert observed["text"] == "two years, they say"
    assert not observed["failed"]
    assert {each["document"] for each in events[-1]["keepstone"]["sources"]} == {"warranty.md"}
