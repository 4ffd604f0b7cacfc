"""Fetching from a hub: a stand-in on loopback speaks as much of the hub's API as its own library asks for."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from keepstone.platform.database import Database
from keepstone.platform.errors import Forbidden, ModelMissing, Unavailable
from keepstone.platform.models import hub
from keepstone.platform.models.pull import pull
from keepstone.platform.models.registry import ModelRegistry
from tests.platform.models.tiny import tiny_model

COMMIT = "c" * 40


class FakeHub:
    """Serves one repository, `someone/tiny`, from a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.status = 200
        self.error_code = ""
        self.lies = False
        self.broken = ""
        hub_itself = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub_itself.answer(self, body=False)

            def do_GET(self) -> None:
                hub_itself.answer(self, body=True)

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def answer(self, handler: Any, *, body: bool) -> None:
        path = handler.path.partition("?")[0]
        self.asked.append(path)
        if self.status != 200 and path != "/":
            self.send(handler, self.status, b"{}", {"x-error-code": self.error_code}, body=body)
        elif path in ("/", f"/api/models/someone/tiny/revision/{COMMIT}", "/api/models/someone/tiny"):
            siblings = [{"rfilename": entry["path"], "size": entry["size"], **entry} for entry in self.tree()]
            info = {"id": "someone/tiny", "sha": COMMIT, "siblings": siblings}
            self.send(handler, 200, json.dumps(info).encode(), {}, body=body)
        elif path == f"/api/models/someone/tiny/tree/{COMMIT}":
            self.send(handler, 200, json.dumps(self.tree()).encode(), {}, body=body)
        elif path.startswith(f"/someone/tiny/resolve/{COMMIT}/"):
            name = path.removeprefix(f"/someone/tiny/resolve/{COMMIT}/")
            content = (self.folder / name).read_bytes()
            if name == self.broken and body:
                handler.close_connection = True
                return
            headers = {"etag": f'"{hashlib.sha256(content).hexdigest()}"', "x-repo-commit": COMMIT}
            self.send(handler, 200, content, headers, body=body)
        else:
            self.send(handler, 404, b"{}", {"x-error-code": "RepoNotFound"}, body=body)

    def tree(self) -> list[dict[str, Any]]:
        entries = []
        for file in sorted(self.folder.rglob("*")):
            content = file.read_bytes()
            entry = {"type": "file", "path": file.name, "size": len(content), "oid": "0" * 40}
            if file.suffix == ".safetensors":
                sha = "f" * 64 if self.lies else hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": sha, "sha256": sha, "size": len(content), "pointerSize": 100}
            entries.append(entry)
        return entries

    def send(self, handler: Any, status: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        handler.send_response(status)
        for name, value in ({"content-length": str(len(content))} | headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        if body:
            handler.wfile.write(content)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    folder = tiny_model(tmp_path / "hub")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "modeling.py").write_text("1/0")
    made = FakeHub(folder)
    monkeypatch.setattr(constants, "ENDPOINT", made.url)
    template = made.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    yield made
    made.server.shutdown()
    made.thread.join()
    made.server.server_close()


@pytest.fixture
def registry(database: Database, tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(database, tmp_path / "home")


def fetch(registry: ModelRegistry) -> Any:
    (model,) = pull("someone/tiny", home=registry.folder.parent, registry=registry, progress=lambda line: None)
    return model


def test_weights_and_configuration_come_and_code_and_pickles_do_not(fake: FakeHub, registry: ModelRegistry) -> None:
    model = fetch(registry)
    assert (model.name, model.kind, model.source) == ("tiny", "llm", f"someone/tiny@{COMMIT}")
    names = {path.name for path in model.path.rglob("*")}
    assert names == {"config.json", "tokenizer.json", "model.safetensors", "keepstone-model.json"}
    assert registry.verify(model) == ()
    assert not [path for path in fake.asked if path.endswith((".py", ".bin"))]


def test_files_that_differ_from_the_hubs_list_are_not_installed(fake: FakeHub, registry: ModelRegistry) -> None:
    fake.lies = True
    with pytest.raises(Unavailable, match=r"model\.safetensors.*did not arrive whole"):
        fetch(registry)
    assert registry.list() == []


def test_a_hub_that_goes_away_in_the_middle_leaves_nothing_installed(
    fake: FakeHub, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    fake.broken = "model.safetensors"
    with pytest.raises(Unavailable):
        fetch(registry)
    assert registry.list() == []
    fake.broken = ""
    assert registry.verify(fetch(registry)) == ()


@pytest.mark.parametrize(
    ("status", "code", "error", "said"),
    [
        (401, "GatedRepo", Forbidden, "HF_TOKEN"),
        (404, "RepoNotFound", ModelMissing, "keepstone models list --catalog"),
        (500, "", Unavailable, "keepstone models pull DIR"),
    ],
)
def test_refusals_are_worded(
    fake: FakeHub, registry: ModelRegistry, status: int, code: str, error: type[Exception], said: str
) -> None:
    fake.status, fake.error_code = status, code
    with pytest.raises(error, match=said):
        fetch(registry)


def test_a_repository_of_pickles_is_refused_before_anything_is_fetched(fake: FakeHub, registry: ModelRegistry) -> None:
    (fake.folder / "model.safetensors").unlink()
    with pytest.raises(ModelMissing, match="no safetensors"):
        fetch(registry)
    assert not [path for path in fake.asked if "/resolve/" in path]


def test_offline_is_obeyed_and_an_answering_hub_is_seen(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.hub_answers()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(fake.asked)
    assert not hub.hub_answers()
    assert len(fake.asked) == asked
