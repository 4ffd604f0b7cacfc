"""The settings of foreign MCP servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keepstone.platform.errors import SettingsError
from keepstone.platform.settings import load_settings


def load(tmp_path: Path, **server: Any) -> Any:
    """Return the settings with one server named `wiki`."""
    return load_settings(home=tmp_path, mcp={"servers": {"wiki": server}}).mcp.servers["wiki"]


def test_a_server_is_a_program_or_an_address(tmp_path: Path) -> None:
    assert load(tmp_path, command=["wiki-server", "--stdio"], tools=["find"]).command == ("wiki-server", "--stdio")
    assert load(tmp_path, url="https://wiki.example/mcp", tools=["find"]).url == "https://wiki.example/mcp"
    for wrong in ({}, {"command": ["a"], "url": "https://b.example"}):
        with pytest.raises(SettingsError, match="give either command or url"):
            load(tmp_path, **wrong, tools=["find"])
    with pytest.raises(SettingsError, match="no address"):
        load(tmp_path, url="file:///etc/passwd", tools=["find"])


def test_tools_are_named_one_by_one(tmp_path: Path) -> None:
    """What a server offers later must not reach the agent by itself."""
    with pytest.raises(SettingsError, match="tools"):
        load(tmp_path, url="https://wiki.example/mcp")


def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, ulr="https://wiki.example/mcp", tools=["find"])
    assert error.value.fix is not None
    assert "'mcp.servers.wiki.url'" in error.value.fix


def test_a_name_that_could_not_be_part_of_a_tools_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="should match pattern"):
        load_settings(home=tmp_path, mcp={"servers": {"my wiki": {"url": "https://a.example", "tools": ["a"]}}})


def test_servers_may_come_as_json_and_their_secrets_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = {"url": "https://wiki.example/mcp", "tools": ["find"], "headers": {"Authorization": "Bearer swordfish"}}
    monkeypatch.setenv("KEEPSTONE_MCP__SERVERS", json.dumps({"wiki": server}))
    settings = load_settings(home=tmp_path)
    assert settings.mcp.servers["wiki"].headers["Authorization"].get_secret_value() == "Bearer swordfish"
    assert "swordfish" not in repr(settings)
    assert "swordfish" not in settings.model_dump_json()
