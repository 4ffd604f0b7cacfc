"""The pages in headless Chromium, as a person uses them: sign in, ask, read the cited passage, upload, delete."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.ui.http.app import create_app
from keepstone.ui.http.login import issue_login_token
from keepstone.ui.runtime import Runtime
from tests.stack import NEVER_DECLINES, admin, ingest, open_stack
from tests.ui.served import Served, served
from tests.ui.web.conftest import COLLECTION, FILES

pytestmark = pytest.mark.e2e

PATIENCE_MS = 20_000
ASKED = "How long does the warranty last?"
REPLY = (
    "The warranty lasts **two years**. [1] Dolphins wrote <img src=x onerror=alert(1)> the manual. "
    "![leak](https://evil.example/leak.png) [site](javascript:alert(1))"
)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    engine = ScriptedEngine(default=REPLY)
    with open_stack(tmp_path_factory.mktemp("home"), engine=engine, answering=NEVER_DECLINES) as opened:
        ingest(opened, admin(opened), COLLECTION, FILES)
        yield opened


@pytest.fixture(scope="module")
def app(runtime: Runtime) -> Iterator[Served]:
    with served(create_app(runtime)) as running:
        yield running


class Visit:
    """A browser tab, and what went wrong in it."""

    def __init__(self, page: Page, app: Served) -> None:
        self.page = page
        self.errors: list[str] = []
        self.foreign: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("dialog", lambda dialog: self.errors.append(f"dialog: {dialog.message}"))
        page.on("request", lambda sent: self.foreign.append(sent.url) if not _is_ours(sent.url, app) else None)

    def open(self, name: str) -> None:
        self.page.click(f"#navigation a[data-page={name}]")

    def reload(self) -> None:
        """Reload the page; that Gradio's open streams break off by it, which it reports, is no fault."""
        before = len(self.errors)
        self.page.reload()
        self.page.wait_for_selector("#navigation a[data-page]")
        cut_off = ("AbortError", "Connection errored out")
        self.errors[before:] = [each for each in self.errors[before:] if not any(words in each for words in cut_off)]

    def ask(self, question: str) -> None:
        box = self.page.locator("#question textarea")
        box.fill(question)
        box.press("Enter")


def _is_ours(url: str, app: Served) -> bool:
    return url.startswith((app.url, "data:", "blob:"))


@pytest.fixture
def visit(browser: Browser, app: Served, runtime: Runtime) -> Iterator[Visit]:
    """Return a tab of somebody who has just opened the one-time link; at the end nothing may have gone wrong in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    visiting = Visit(context.new_page(), app)
    visiting.page.goto(f"{app.url}/login?token={issue_login_token(runtime, admin(runtime))}")
    visiting.page.wait_for_selector(".welcome h2")
    yield visiting
    context.close()
    assert visiting.errors == []
    assert visiting.foreign == []


def test_strangers_are_sent_to_the_login_page(browser: Browser, app: Served) -> None:
    page = browser.new_page()
    page.goto(f"{app.url}/")
    assert page.url == f"{app.url}/login"
    page.close()


def test_asking_and_reading_the_cited_passage(visit: Visit) -> None:
    page = visit.page
    assert page.title() == "Keepstone"
    visit.ask(ASKED)
    answer = page.locator("#turns .turn .answer")
    expect(answer.locator("strong", has_text="two years")).to_be_visible()
    expect(answer.locator(".unsupported")).not_to_have_count(0)
    answer.locator("button.cite").first.click()
    reader = page.locator("#reader")
    expect(reader).to_be_visible()
    expect(reader.locator("h3")).to_have_text("Warranty.md")
    expect(reader.locator("mark.quote")).to_contain_text("The warranty lasts two years.")
    expect(reader.locator("mark.quote")).to_be_in_viewport()
    expect(reader.get_by_role("link", name="Original")).to_have_attribute(
        "href", re.compile(r"/v1/documents/doc_\w+/original")
    )
    page.keyboard.press("Escape")
    expect(reader).to_be_hidden()


def test_the_agents_steps_are_folded_above_its_answer(visit: Visit) -> None:
    page = visit.page
    page.get_by_label("Agent").check()
    visit.ask(ASKED)
    steps = page.locator("#turns .turn .agent-steps").first
    expect(steps.locator("summary").first).to_have_text(re.compile(r"1 step: searched"))
    expect(steps.locator("ol")).to_be_hidden()
    steps.locator("summary").first.click()
    expect(steps.locator("code")).to_have_text("search")
    expect(page.locator("#turns .turn .answer strong", has_text="two years")).to_be_visible()
    visit.reload()
    expect(page.locator("#turns .turn .agent-steps summary").first).to_be_visible()
    expect(page.get_by_label("Agent")).to_be_checked()


def test_hostile_answers_stay_text(visit: Visit) -> None:
    visit.ask(ASKED)
    answer = visit.page.locator("#turns .turn .answer-text")
    expect(answer).to_contain_text("<img src=x onerror=alert(1)>")
    expect(answer).to_contain_text("[leak]")
    assert answer.locator("img, script, a, iframe").count() == 0


def test_conversations_are_kept_rated_reopened_and_deleted(visit: Visit) -> None:
    page = visit.page
    visit.ask("Is damage by water covered?")
    page.get_by_role("button", name="Bad answer").click()
    page.get_by_label("What was wrong?").fill("It is not about dolphins")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Your comment is stored")).to_be_visible()
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".welcome")).to_be_visible()
    page.locator("#conversations").get_by_role("button", name="Is damage by water covered?", exact=True).click()
    expect(page.locator("#turns .question")).to_have_text("Is damage by water covered?")
    visit.reload()
    expect(page.locator("#turns .question")).to_have_text("Is damage by water covered?")
    expect(page.get_by_role("button", name="Bad answer")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Delete conversation: Is damage by water covered?").click()
    page.locator("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".welcome")).to_be_visible()


def test_uploading_reading_and_deleting_a_document(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    file = tmp_path / "食堂 lunch (new).md"
    file.write_text("# Lunch\n\nThe canteen opens at 11:45.\n")
    visit.open("documents")
    expect(page.locator("#documents-table")).to_contain_text("is empty")
    page.set_input_files("#upload input[type=file]", file)
    row = page.locator("#documents-table tr", has_text=file.name)
    expect(row.locator(".state-ready")).to_be_visible()
    row.get_by_role("button", name=file.name, exact=True).click()
    expect(page.locator("#reader .document-text")).to_contain_text("The canteen opens at 11:45.")
    page.get_by_role("button", name="Close reader").click()
    page.get_by_role("button", name=f"Delete document: {file.name}").click()
    page.locator("dialog").get_by_role("button", name="Cancel").click()
    expect(row).to_be_visible()
    page.get_by_role("button", name=f"Delete document: {file.name}").click()
    page.locator("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)


def test_a_collection_is_made_asked_and_deleted(visit: Visit, tmp_path: Path) -> None:
    """The chat knows of it without a reload, and one click alone deletes nothing."""
    page = visit.page
    visit.open("documents")
    page.get_by_label("New collection").fill("Kitchen")
    page.get_by_role("button", name="Create").click()
    chosen = page.locator("#documents-collection input")
    expect(chosen).to_have_value("Kitchen")
    file = tmp_path / "lunch.md"
    file.write_text("# Lunch\n\nThe canteen opens at 11:45.\n")
    page.set_input_files("#upload input[type=file]", file)
    expect(page.locator("#documents-table .state-ready")).to_be_visible()
    visit.open("chat")
    page.locator("#chat-collection input").click()
    page.get_by_role("option", name="Kitchen").click()
    expect(page.locator(".welcome")).to_contain_text("1 document in Kitchen")
    visit.open("documents")
    page.get_by_role("button", name="Delete collection").click()
    dialog = page.locator("dialog")
    expect(dialog).to_contain_text("Delete the collection “Kitchen” with its 1 document?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(chosen).to_have_value("Kitchen")
    page.get_by_role("button", name="Delete collection").click()
    dialog.get_by_role("button", name="Delete collection").click()
    expect(chosen).to_have_value(COLLECTION)
    visit.open("chat")
    expect(page.locator("#chat-collection input")).to_have_value("All collections")


def test_searching_marking_and_reading_a_passage(visit: Visit) -> None:
    """A mark is there again when the same is asked after a reload."""
    page = visit.page
    for relevant in ("true", "false"):
        visit.open("search")
        page.get_by_label("Question or words").fill(ASKED)
        page.get_by_role("button", name="Search", exact=True).click()
        first = page.locator("#found li").first
        expect(first.locator("mark").first).to_have_text(re.compile("warranty", re.IGNORECASE))
        button = first.get_by_role("button", name="relevant to the question")
        expect(button).to_have_attribute("aria-pressed", "false" if relevant == "true" else "true")
        button.click()
        expect(button).to_have_attribute("aria-pressed", relevant)
        visit.reload()
    page.get_by_label("Question or words").fill(ASKED)
    page.keyboard.press("Enter")
    expect(first.get_by_text("By words (BM25)")).to_be_hidden()
    first.get_by_text("Why here?").click()
    expect(first.get_by_text("By words (BM25)")).to_be_visible()
    first.locator("button.source").click()
    expect(page.locator("#reader mark.passage").first).to_contain_text("Warranty")


def test_every_page_works_on_a_narrow_screen(visit: Visit) -> None:
    page = visit.page
    page.set_viewport_size({"width": 390, "height": 844})
    for name in ("documents", "search", "status", "chat"):
        visit.open(name)
        expect(page.locator(f"#page-{name}")).to_be_visible()
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, name
    page.get_by_role("button", name="Conversations").click()
    expect(page.get_by_role("button", name="New conversation")).to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(page.locator("#history")).to_be_hidden()


def test_the_question_box_is_reached_and_sent_by_keyboard(visit: Visit) -> None:
    page = visit.page
    expect(page.get_by_label("Your question")).to_be_focused()
    page.keyboard.type(ASKED)
    page.keyboard.press("Enter")
    expect(page.locator("#turns .turn .cite").first).to_be_visible()
    page.locator("#turns .turn .cite").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#reader .document-text")).to_be_focused()


def test_an_ended_session_leads_to_the_login_page(visit: Visit, runtime: Runtime) -> None:
    page = visit.page
    page.context.clear_cookies()
    visit.ask(ASKED)
    page.wait_for_url("**/login")
    visit.errors.clear()  # the refused calls
