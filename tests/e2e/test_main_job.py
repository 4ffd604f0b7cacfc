"""The main job on the real parts: documents in, checked answers out, through CLI, API and browser."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest
from openai import AuthenticationError, NotFoundError, OpenAI
from playwright.sync_api import Browser, expect

from benchmarks.app import App
from benchmarks.smoke import COLLECTION

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

QUESTION = "Is it OK to wipe the balance with acetone?"
MODEL = "smollm2-135m-instruct"
BACK_WITHIN_S = 300


@pytest.fixture
def client(app: App) -> OpenAI:
    return OpenAI(base_url=f"{app.url}/v1", api_key=app.key, max_retries=0, timeout=300)


def test_cli_answers_with_a_citation_of_the_right_document(app: App) -> None:
    answer = app.json("ask", QUESTION, "--collection", COLLECTION)
    assert "acetone" in str(answer).casefold()
    assert "Corvan 220 User Manual.pdf" in str(answer)


def test_openai_client_gets_the_answer_and_its_sources(client: OpenAI) -> None:
    asked = [{"role": "user", "content": QUESTION}]
    whole = client.chat.completions.create(model=COLLECTION, messages=asked)  # type: ignore[call-overload]
    evidence = whole.model_extra["keepstone"]
    cited = [source for source in evidence["sources"] if source["cited"]]
    assert evidence["outcome"] == "answered"
    assert "Corvan 220 User Manual.pdf" in [source["document"] for source in cited]
    assert re.search(r"\[\d\]", whole.choices[0].message.content)
    streamed = client.chat.completions.create(model=COLLECTION, messages=asked, stream=True)  # type: ignore[call-overload]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
    assert text == whole.choices[0].message.content


def test_a_citation_quotes_its_document_word_for_word(app: App, client: OpenAI) -> None:
    asked = [{"role": "user", "content": QUESTION}]
    evidence = client.chat.completions.create(model=COLLECTION, messages=asked).model_extra["keepstone"]  # type: ignore[call-overload]
    [source, *_] = [each for each in evidence["sources"] if each["cited"]]
    with app.client() as http:
        document = http.get(f"/v1/documents/{source['document_id']}/text").json()
    quote = source["quote"]
    assert document["text"][quote["start"] : quote["end"]] == quote["text"]


def test_the_bare_model_embeddings_and_the_list_of_models(client: OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    assert {COLLECTION, MODEL} <= names
    reply = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Say hello."}], max_tokens=8
    )
    assert reply.choices[0].message.content
    assert client.completions.create(model=MODEL, prompt="The sea is", max_tokens=4).choices[0].text
    assert len(client.embeddings.create(model="all-minilm-l6-v2", input=["a", "b"]).data) == 2


def test_without_a_key_nothing_and_unknown_models_are_named(app: App, client: OpenAI) -> None:
    with pytest.raises(AuthenticationError):
        OpenAI(base_url=f"{app.url}/v1", api_key="ks_wrong", max_retries=0).models.list()
    with pytest.raises(NotFoundError, match="exampels"):
        client.chat.completions.create(model="exampels", messages=[{"role": "user", "content": "Hi"}])


def test_chinese_questions_find_chinese_documents(client: OpenAI) -> None:
    asked = [{"role": "user", "content": "机床里的金属粉末烧起来了，能用水浇吗？"}]
    evidence = client.chat.completions.create(model=COLLECTION, messages=asked).model_extra["keepstone"]  # type: ignore[call-overload]
    assert evidence["sources"][0]["document"] == "苏州工厂安全操作规程.md"


def test_a_deleted_document_is_gone_from_the_next_answer(app: App, tmp_path: Path) -> None:
    path = tmp_path / "secret.md"
    path.write_text("# Vault\n\nThe vault's colour is heliotrope with silver stars.\n")
    app.run("ingest", str(path), "--collection", COLLECTION)
    found = app.json("search", "What colour is the vault?", "--collection", COLLECTION)
    assert "heliotrope" in str(found)
    [document] = [each for each in app.json("documents", "list", "-c", COLLECTION) if each["name"] == path.name]
    app.run("documents", "delete", document["id"], "--yes")
    assert "heliotrope" not in str(app.json("search", "What colour is the vault?", "--collection", COLLECTION))


def test_the_web_page_answers_and_shows_the_cited_passage(app: App, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(app.json("login")["url"])
    page.wait_for_url(re.compile(rf"{re.escape(app.url)}/?$"), timeout=30_000)
    box = page.locator("#question textarea")
    box.fill(QUESTION)
    box.press("Enter")
    # Only a finished answer knows which words of the passage each citation rests on.
    expect(page.get_by_role("button", name="Bad answer")).to_be_visible(timeout=120_000)
    page.locator("button.cite").first.click()
    expect(page.locator("#reader mark.quote").first).to_contain_text("Acetone", timeout=30_000)
    page.close()


def test_a_killed_engine_gives_a_clear_error_and_comes_back_by_itself(app: App) -> None:
    with app.client() as http:
        before = _engine_processes(app)
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Count to 500."}], "stream": True}
        with http.stream("POST", "/v1/chat/completions", json=body | {"max_tokens": 2000}) as response:
            lines = response.iter_lines()
            next(lines)
            for process in before:
                os.kill(process.pid, signal.SIGKILL)
            rest = "".join(lines)
        assert "error" in rest
        assert "[DONE]" not in rest or "engine" in rest
        deadline = time.monotonic() + BACK_WITHIN_S
        while time.monotonic() < deadline and not _answers(http):
            time.sleep(1)
        assert _answers(http)
    assert not {process.pid for process in before} & {process.pid for process in _engine_processes(app)}


def _answers(http: httpx.Client) -> bool:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    return http.post("/v1/chat/completions", json=body).status_code == httpx.codes.OK


def _engine_processes(app: App) -> list[psutil.Process]:
    """Return vLLM's server of this app, which is told its port on the command line."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "vllm.entrypoints.openai.api_server" in line and str(app.engine_port) in line:
            found.append(process)
    return found
