"""The daily commands, once in this process without an app, once through an app that runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keepstone.platform.locks import exclusive_lock, holder
from keepstone.platform.settings import default_home
from keepstone.ui.cli import ingest
from keepstone.ui.cli.files import LocalFile
from keepstone.ui.running import lock_path
from tests.stack import WAIT_S
from tests.ui.cli.conftest import ANSWER, App, Keepstone, parsed
from tests.web_server import Reply, web_server


@pytest.fixture(params=["in process", "through the app"])
def either(request: pytest.FixtureRequest) -> None:
    """Run the test twice."""
    if request.param == "through the app":
        request.getfixturevalue("running")


@pytest.mark.usefixtures("either")
def test_a_folder_is_ingested_once(keepstone: Keepstone, folder: Path) -> None:
    """Hidden files and links are passed over, names are relative to the folder, and the second time nothing is new."""
    first = keepstone("ingest", folder, "-c", "manual", "--json")
    assert first.exit_code == 1
    answer = parsed(first)
    assert answer["counts"] == {"new": 2, "failed": 1}
    assert {each["name"]: each["state"] for each in answer["files"]} == {
        "empty.txt": "failed", "sub/care.md": "ready", "warranty.md": "ready",
    }  # fmt: skip
    (folder / "empty.txt").unlink()
    (folder / "warranty.md").write_text("# Warranty\n\nThe warranty lasts three years.\n")
    (folder / "copy.md").write_text((folder / "sub" / "care.md").read_text())
    second = keepstone("ingest", folder, "-c", "manual", "--json")
    assert second.exit_code == 0
    assert parsed(second)["counts"] == {"replaced": 1, "unchanged": 1, "duplicate": 1}
    hits = parsed(keepstone("search", "How long does the warranty last?", "-c", "manual", "--json"))["hits"]
    assert "three years" in hits[0]["text"]
    assert not any("two years" in hit["text"] for hit in hits)


def test_pages_and_sitemaps_are_ingested(keepstone: Keepstone, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = {
        "/guide": Reply(b"<html><body><h1>Pump</h1><p>Clean the filter.</p></body></html>"),
        "/index.xml": Reply(b"<sitemapindex><loc>{root}/sitemap.xml</loc><loc>{root}/index.xml</loc></sitemapindex>"),
        "/sitemap.xml": Reply(b"<urlset><loc>{root}/guide</loc><loc>{root}/gone</loc></urlset>"),
    }
    with web_server(replies) as server:
        refused = keepstone("ingest", f"{server.root}/guide", "-c", "pages", "--json")
        assert refused.exit_code == 1
        assert "fetch.allowed_networks" in parsed(refused)["files"][0]["error"]
        monkeypatch.setenv("KEEPSTONE_FETCH__ALLOWED_NETWORKS", '["127.0.0.1"]')
        result = keepstone("ingest", f"{server.root}/index.xml", folder / "warranty.md", "-c", "pages", "--json")
        assert {each["name"]: each["outcome"] for each in parsed(result)["files"]} == {
            "warranty.md": "new",
            f"127.0.0.1:{server.port}/guide": "new",
            f"{server.root}/gone": "failed",
        }


@pytest.mark.usefixtures("running")
def test_people_see_what_failed_and_why(keepstone: Keepstone, folder: Path) -> None:
    result = keepstone("ingest", folder, "-c", "manual")
    assert result.exit_code == 1
    assert "2 new, 1 failed" in result.stdout
    assert "empty.txt" in result.stdout
    assert "is empty" in result.stdout
    assert "Made the collection 'manual'" in result.stderr


@pytest.mark.usefixtures("running")
def test_names_and_sizes_that_do_not_fit_fail_alone(
    keepstone: Keepstone, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is not UTF-8, a log that grows and a file that shrinks meanwhile do not hold up the others."""
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.md")).write_text("# Coffee\n\nTwo cups a day.")
    found = ingest.find_files

    def then_change(paths: list[Path]) -> list[LocalFile]:
        files = found(paths)
        (folder / "warranty.md").write_text("# Gone")
        with (folder / "sub" / "care.md").open("a") as file:
            file.write("And more.")
        return files

    monkeypatch.setattr(ingest, "find_files", then_change)
    files = parsed(keepstone("ingest", folder, "-c", "manual", "--json"))["files"]
    outcomes = {each["name"]: each["outcome"] for each in files}
    assert outcomes == {"empty.txt": "failed", "warranty.md": "failed", "caf\ufffd.md": "new", "sub/care.md": "new"}


@pytest.mark.usefixtures("running")
def test_text_that_is_not_utf8_is_no_traceback(keepstone: Keepstone) -> None:
    """A terminal in another encoding hands over bytes that Python keeps as halves of surrogate pairs."""
    keepstone("collections", "create", "manual")
    for line in (("search", "caf\udce9", "-c", "manual"), ("documents", "list", "-c", "caf\udce9")):
        result = keepstone(*line)
        assert result.exit_code == 1
        assert "not UTF-8" in result.stderr


@pytest.mark.usefixtures("running")
def test_collections_and_documents_come_and_go(keepstone: Keepstone, folder: Path) -> None:
    assert "No collections yet" in keepstone("collections", "list").stdout
    assert keepstone("collections", "create", "manual").exit_code == 0
    assert keepstone("collections", "create", "manual").exit_code == 1
    keepstone("ingest", folder, "-c", "manual")
    listed = parsed(keepstone("documents", "list", "-c", "manual", "--json"))
    assert [each["name"] for each in listed] == ["empty.txt", "sub/care.md", "warranty.md"]
    table = keepstone("documents", "list", "-c", "manual")
    assert listed[0]["id"] in table.stdout
    assert "is empty" in table.stderr
    failed = parsed(keepstone("documents", "list", "-c", "manual", "--state", "failed", "--json"))
    assert [each["name"] for each in failed] == ["empty.txt"]
    care = listed[1]["id"]
    assert "sub/care.md" in keepstone("documents", "show", care).stdout
    assert "Clean the filter" in keepstone("documents", "show", care, "--text").stdout
    assert keepstone("documents", "delete", care).exit_code == 1  # nobody can be asked
    assert keepstone("documents", "delete", care, "--yes").stdout == "Deleted 'sub/care.md'.\n"
    assert keepstone("documents", "show", care).exit_code == 1
    assert parsed(keepstone("documents", "retry", listed[0]["id"], "--json"))["documents"] == [listed[0]["id"]]
    assert keepstone("documents", "retry").exit_code == 1
    assert parsed(keepstone("collections", "list", "--json"))[0]["documents"] == 2
    assert "--yes" in keepstone("collections", "delete", "manual").stderr
    assert keepstone("collections", "delete", "manual", "-y").exit_code == 0
    assert parsed(keepstone("collections", "list", "--json")) == []


def test_a_collection_is_cut_in_its_own_way(keepstone: Keepstone, running: App, folder: Path) -> None:
    made = keepstone("collections", "create", "manual", "--chunker", "tokens", "--set", "max_tokens=40", "--json")
    assert parsed(made)["chunking"]["max_tokens"] == 40
    assert keepstone("collections", "rechunk", "manual").stdout.startswith("'manual' has no documents yet")
    keepstone("ingest", folder, "-c", "manual")
    [job] = parsed(keepstone("collections", "rechunk", "manual", "--chunker", "recursive", "--json"))["jobs"]
    assert running.runtime.jobs.wait(job, WAIT_S).state == "succeeded"
    assert parsed(keepstone("collections", "list", "--json"))[0]["chunking"]["chunker"] == "recursive"
    wrong = keepstone("collections", "rechunk", "manual", "--set", "max_tokens")
    assert wrong.exit_code == 1
    assert "NAME=VALUE" in wrong.stderr


@pytest.mark.usefixtures("running")
def test_jobs_tell_what_failed(keepstone: Keepstone, folder: Path) -> None:
    job = parsed(keepstone("ingest", folder, "-c", "manual", "--json"))["jobs"][0]
    assert job in keepstone("jobs", "list", "-c", "manual").stdout
    shown = keepstone("jobs", "show", job).stdout
    assert "empty.txt" in shown
    assert "2 ready" in shown
    assert "had ended" in keepstone("jobs", "cancel", job).stdout
    assert keepstone("jobs", "retry", job).exit_code == 1
    assert keepstone("jobs", "show", "job_none").exit_code == 1


@pytest.mark.usefixtures("either")
def test_keys_are_made_for_others_listed_and_revoked(keepstone: Keepstone) -> None:
    made = parsed(keepstone("keys", "create", "--for", "nora", "--scopes", "read", "--days", "3", "--json"))
    assert made["secret"].startswith("ks_")
    assert made["owner"] == "nora"
    listed = keepstone("keys", "list", "--all").stdout
    assert made["id"] in listed
    assert made["secret"] not in listed
    assert made["id"] not in keepstone("keys", "list").stdout
    assert keepstone("keys", "revoke", made["id"]).exit_code == 0
    assert made["id"] not in keepstone("keys", "list", "--all").stdout
    assert keepstone("keys", "create", "--scopes", "everything").exit_code == 1


@pytest.mark.usefixtures("running")
def test_the_secret_alone_is_on_stdout(keepstone: Keepstone) -> None:
    """So that `KEY=$(keepstone keys create)` works."""
    result = keepstone("keys", "create")
    assert result.stdout.startswith("ks_")
    assert result.stdout.count("\n") == 1


@pytest.mark.usefixtures("running")
def test_grants_are_given_and_taken(keepstone: Keepstone) -> None:
    keepstone("collections", "create", "manual")
    assert keepstone("collections", "grant", "manual", "nora").exit_code == 1
    keepstone("keys", "create", "--for", "nora")
    assert "nora is now writer" in keepstone("collections", "grant", "manual", "nora", "--role", "writer").stdout
    assert keepstone("collections", "revoke", "manual", "nora").exit_code == 0


@pytest.mark.usefixtures("either")
def test_doctor_compares_the_indexes(keepstone: Keepstone, folder: Path) -> None:
    keepstone("ingest", folder, "-c", "manual")
    checks = {each["name"]: each for each in parsed(keepstone("doctor", "--indexes", "--json"))["checks"]}
    assert checks["indexes of manual"]["state"] == "ok"
    assert checks["database"]["state"] == "ok"
    assert checks["engine"]["state"] == "fail"
    assert "keepstone engine install" in checks["engine"]["fix"]


def test_work_in_this_process_holds_the_home_only_while_it_runs(keepstone: Keepstone, folder: Path) -> None:
    keepstone("ingest", folder, "-c", "manual")
    assert holder(lock_path(default_home())) is None
    with exclusive_lock(lock_path(default_home()), "busy"):
        result = keepstone("collections", "list")
        assert result.exit_code == 1
        assert str(os.getpid()) in result.stderr


def test_without_waiting_documents_are_left_to_the_app(keepstone: Keepstone, running: App, folder: Path) -> None:
    result = keepstone("ingest", folder, "-c", "manual", "--no-wait", "--json")
    assert result.exit_code == 0
    job = parsed(result)["jobs"][0]
    assert running.runtime.jobs.wait(job, 60).state == "succeeded"


def test_an_answer_is_printed_with_its_sources(keepstone: Keepstone, running: App, folder: Path) -> None:
    keepstone("ingest", folder, "-c", "manual")
    shown = keepstone("ask", "How long does the warranty last?", "-c", "manual").stdout
    assert ANSWER in shown
    assert "[1] warranty.md" in shown
    assert "The warranty lasts two years from the day of purchase." in shown
    answer = parsed(keepstone("ask", "How long does the warranty last?", "-c", "manual", "--json"))
    assert answer["content"] == ANSWER
    assert answer["sources"][0]["document"] == "warranty.md"
    everywhere = parsed(keepstone("ask", "How long does the warranty last?", "--json"))
    assert everywhere["sources"][0]["document"] == "warranty.md"
    wrong = keepstone("ask", "What?", "-c", "manuel")
    assert wrong.exit_code == 1
    assert "Did you mean 'manual'?" in wrong.stderr
    running.engine.available = False
    down = keepstone("ask", "How long does the warranty last?", "-c", "manual")
    assert down.exit_code == 1
    assert "Error: The engine does not answer" in down.stderr


def test_a_chat_remembers_what_was_said(keepstone: Keepstone, running: App, folder: Path) -> None:
    keepstone("ingest", folder, "-c", "manual")
    turns = "How long does the warranty last?\n/sources\n/what\nAnd from when on?\n/new\nWho pays?\n/quit\n"
    result = keepstone("chat", "-c", "manual", stdin=turns)
    assert result.exit_code == 0
    assert result.stdout.count(ANSWER) == 3
    assert "Commands:" in result.stderr
    asked = [" ".join(message.content for message in request.messages) for request in running.engine.history]
    second = next(text for text in reversed(asked) if "And from when on?" in text)
    assert "How long does the warranty last?" in second
    assert "warranty last" not in asked[-1].partition("Who pays?")[2]
    assert keepstone("chat", "-c", "manual", stdin="").exit_code == 0
    assert keepstone("chat", "-c", "none", stdin="").exit_code == 1


def test_status_and_login_talk_to_the_app(keepstone: Keepstone, running: App) -> None:
    status = parsed(keepstone("status", "--json"))
    assert status["running"] is True
    assert status["engine"]["state"] == "ready"
    shown = keepstone("status").stdout
    assert "scripted: ready" in shown
    assert str(default_home()) in shown
    link = parsed(keepstone("login", "--json"))["url"]
    assert "/login?token=ksl_" in link
    assert running.url


def test_status_without_an_app_says_how_to_start_it(keepstone: Keepstone) -> None:
    assert parsed(keepstone("status", "--json"))["running"] is False
    assert "keepstone up" in keepstone("status").stdout
    assert not default_home().exists()


def test_up_beside_a_running_app_says_so(keepstone: Keepstone, running: App) -> None:
    result = keepstone("up")
    assert result.exit_code == 0
    assert "running already" in result.stdout
    assert "/login?token=ksl_" in result.stdout
    told = parsed(keepstone("up", "-d", "--json"))
    assert told["already_running"] is True
    assert told["engine"]["ready"] is True
    assert running.url


def test_the_key_of_the_environment_wins_over_the_local_one(
    keepstone: Keepstone, running: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert running.url
    secret = keepstone("keys", "create", "--for", "nora", "--scopes", "read").stdout.strip()
    monkeypatch.setenv("KEEPSTONE_API_KEY", secret)
    result = keepstone("collections", "create", "manual")
    assert result.exit_code == 1
    assert "scope 'write'" in result.stderr


def test_down_without_an_app_is_no_error(keepstone: Keepstone) -> None:
    result = keepstone("down")
    assert result.exit_code == 0
    assert "not running" in result.stdout
