"""Settings: every key is documented, every mistake is named with what mends it, nothing unsafe is accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from keepstone.platform.errors import SettingsError
from keepstone.platform.settings import Settings, is_loopback, load_settings, setting_names


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    """Return the path of keepstone.toml in the home folder of this test."""
    path = tmp_path / "home" / "keepstone.toml"
    path.parent.mkdir()
    return path


def test_without_any_source_everything_has_a_default(tmp_path: Path) -> None:
    """A newcomer configures nothing."""
    settings = load_settings()
    assert settings.home == tmp_path / "home"
    assert settings.database_url == f"sqlite:///{settings.home / 'keepstone.db'}"
    assert settings.jobs_url == f"sqlite:///{settings.home / 'jobs.db'}"
    assert settings.blob_url == (settings.home / "blobs").as_uri()
    assert settings.app_url == "http://127.0.0.1:8080"
    assert settings.app.require_sign_in


def test_arguments_win_over_variables_and_those_over_the_file(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order that the documentation promises, key by key."""
    toml.write_text("[app]\nport = 1001\nmax_body_mb = 11\nsession_days = 3\n")
    monkeypatch.setenv("KEEPSTONE_APP__PORT", "1002")
    monkeypatch.setenv("KEEPSTONE_APP__MAX_BODY_MB", "12")
    app = load_settings(app={"port": 1003}).app
    assert (app.port, app.max_body_mb, app.session_days) == (1003, 12, 3)


def test_a_file_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KEEPSTONE_CONFIG names it; a name that leads nowhere is no silent default."""
    monkeypatch.setenv("KEEPSTONE_CONFIG", str(tmp_path / "mine.toml"))
    with pytest.raises(SettingsError, match=r"mine\.toml"):
        load_settings()
    (tmp_path / "mine.toml").write_text("[app]\nport = 1001\n")
    assert load_settings().app.port == 1001


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[engine]\nprot = 1", "Unknown setting 'engine.prot'. Did you mean 'engine.port'"),
        ("[enigne]\nport = 1", "Unknown setting 'enigne'. Did you mean 'engine'"),
        ("port = 1", "Unknown setting 'port'"),
        ("[engine]\nport = 'x'", "Setting 'engine.port'"),
        ("[engine]\nport = 99999", "Setting 'engine.port'"),
        ("[engine]\nmode = 'auto'", "'managed', 'external' or 'off'"),
        ("engine = 3", "Setting 'engine' is a section, not a value. Write [engine]"),
        ("[engine\n", "not valid TOML"),
        ("[engine]\nmode = 'external'", "engine.url is not set"),
        ("[engine]\nurl = '127.0.0.1:8000/v1'", "engine.url is no address"),
        ("[engine]\nurl = 'http:/x'", "engine.url is no address"),
        ("[chunking]\nmax_tokens = 100\noverlap_tokens = 51", "at most half"),
    ],
)
def test_mistakes_in_the_file(toml: Path, text: str, said: str) -> None:
    """The message names the place, the fault, and the file."""
    toml.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert said in str(caught.value)
    assert "keepstone.toml" in str(caught.value)


def test_a_file_that_is_no_text(toml: Path) -> None:
    """Saved in another encoding, or a folder of that name."""
    toml.write_bytes(b"[app]\nhost = '\xe9'\n")
    with pytest.raises(SettingsError, match=r"is not UTF-8 text\. Save it as UTF-8"):
        load_settings()
    toml.unlink()
    toml.mkdir()
    with pytest.raises(SettingsError, match="is a folder"):
        load_settings()


def test_a_file_with_a_byte_order_mark(toml: Path) -> None:
    """Editors on Windows write one; nobody sees it."""
    toml.write_bytes(b"\xef\xbb\xbf[app]\nport = 9001\n")
    assert load_settings().app.port == 9001


def test_a_home_that_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command says so, before any of them trips over it."""
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("KEEPSTONE_HOME", str(tmp_path / "file"))
    with pytest.raises(SettingsError, match="Set KEEPSTONE_HOME to a folder"):
        load_settings()


def test_the_hint_is_the_fix(toml: Path) -> None:
    """Clients of --json read the fix apart from the message."""
    toml.write_text("[engine]\nprot = 1")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.message == "Unknown setting 'engine.prot'"
    assert str(caught.value.fix).startswith("Did you mean 'engine.port'?")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("KEEPSTONE_ENGINE__PROT", "1", "Did you mean 'KEEPSTONE_ENGINE__PORT'"),
        ("KEEPSTONE_ENGINE_PORT", "1", "Did you mean 'KEEPSTONE_ENGINE__PORT'"),
        ("KEEPSTONE_HOEM", "/x", "Did you mean 'KEEPSTONE_HOME'"),
        ("KEEPSTONE_ENGINE__PORT", "x", "engine.port"),
        ("KEEPSTONE_APP__TRUSTED_ORIGINS", "https://a.example", "KEEPSTONE_APP__TRUSTED_ORIGINS cannot be read"),
        ("KEEPSTONE_ENGINE", "not json", "KEEPSTONE_ENGINE cannot be read"),
    ],
)
def test_mistakes_in_variables(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    """A variable that is misspelt is refused, not ignored."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert said in str(caught.value)


def test_lists_and_whole_sections_in_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are written as JSON."""
    monkeypatch.setenv("KEEPSTONE_APP__TRUSTED_ORIGINS", '["https://a.example"]')
    monkeypatch.setenv("KEEPSTONE_ENGINE", '{"port": 1234}')
    settings = load_settings()
    assert settings.app.trusted_origins == ("https://a.example",)
    assert settings.engine.port == 1234


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "example.org", "127.0.0.1.example.org", "127.x"])
def test_a_public_address_needs_sign_in(host: str) -> None:
    """Nobody opens their documents to a network by one wrong setting."""
    with pytest.raises(SettingsError, match="require_sign_in"):
        load_settings(app={"host": host, "require_sign_in": False})
    assert load_settings(app={"host": host}).app.require_sign_in


@pytest.mark.parametrize("origin", ["*", "null", "https://*", "intranet.example", "https://a.example/path", "file://a"])
def test_only_an_origin_is_trusted(origin: str) -> None:
    """Above all not every origin: without sign-in, each page in a browser here could read the documents."""
    with pytest.raises(SettingsError, match="no origin such as"):
        load_settings(app={"trusted_origins": ["https://a.example:8443/", origin]})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_a_private_address_may_do_without(host: str) -> None:
    """On one's own machine sign-in may be switched off."""
    assert is_loopback(host)
    assert not load_settings(app={"host": host, "require_sign_in": False}).app.require_sign_in


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:8080"), ("::1", "http://[::1]:8080"), ("box.example", "http://box.example:8080")],
)
def test_the_printed_address_can_be_opened(host: str, url: str) -> None:
    """0.0.0.0 is no address to browse to, and IPv6 wants brackets."""
    assert load_settings(app={"host": host}).app_url == url


def test_postgresql_keeps_the_steps_of_jobs_too() -> None:
    """Several app processes share them; a file could not be shared."""
    url = "postgresql+psycopg://ann:hunter2@db.example/keepstone"
    settings = load_settings(database={"url": url})
    assert settings.database_url == settings.jobs_url == url
    assert load_settings(database={"url": "sqlite:////x/y.db"}).jobs_url.endswith("jobs.db")


def test_secrets_are_not_shown() -> None:
    """Printing the settings, as `doctor` does, must not print passwords."""
    settings = load_settings(database={"url": "postgresql://a:hunter2@db/x"}, engine={"api_key": "sk-hunter2"})
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_wrong_secrets_are_not_shown_either() -> None:
    """An error message ends up in logs and chats."""
    with pytest.raises(SettingsError) as caught:
        load_settings(database={"url": ["hunter2"]}, engine={"api_key": {"hunter2": 1}})
    assert "hunter2" not in str(caught.value)


def test_settings_cannot_change_afterwards() -> None:
    """What was read at the start holds for the whole process."""
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.app.port = 1  # type: ignore[misc]


def _fields() -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, field in Settings.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        if inner is None:
            found.append((name, field))
        else:
            found += [(f"{name}.{key}", each) for key, each in inner.items()]
            assert field.annotation.__doc__, f"the section {name} says nothing about itself"  # type: ignore[union-attr]
    return found


@pytest.mark.parametrize(("name", "field"), _fields(), ids=[name for name, _ in _fields()])
def test_every_setting_is_documented(name: str, field: Any) -> None:
    """The web page and the documentation show this sentence."""
    assert name in setting_names()
    assert field.description, f"{name} lacks its sentence"
    assert field.description[0].isupper() or field.description[0] == "`"
    assert field.description.endswith(".")


def test_secret_settings_are_typed_as_such() -> None:
    """What is named like a secret, or may hold one, is masked."""
    for name, field in _fields():
        if name.endswith(("api_key", "password", "secret")) or name == "database.url":
            assert SecretStr in (field.annotation, *getattr(field.annotation, "__args__", ())), name


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        ({"url": "http://127.0.0.1:8000/v1"}, "url needs dimension"),
        ({"url": "127.0.0.1:8000", "dimension": 384}, "url is no address"),
        ({"url": "https://key:secret@embeddings.example/v1", "dimension": 384}, "a key belongs into api_key"),
        ({"dimension": 0}, "encoder.dimension"),
    ],
)
def test_an_encoder_behind_a_url_is_described_in_full(encoder: dict[str, Any], said: str) -> None:
    """The server may be away when Keepstone starts, and addresses are shown in errors."""
    with pytest.raises(SettingsError, match=said):
        load_settings(encoder=encoder)


def test_what_other_servers_run_need_not_be_here() -> None:
    """`keepstone up` fetches what is needed, and nothing else."""
    assert load_settings().needed_models == ["all-minilm-l6-v2", "smollm2-135m-instruct"]
    there: dict[str, Any] = {"url": "http://127.0.0.1:8000/v1", "dimension": 384, "model": "bge-m3"}
    assert load_settings(encoder=there, engine={"mode": "off"}).needed_models == []
    assert load_settings(encoder={**there, "tokenizer": "bge"}, engine={"mode": "off"}).needed_models == ["bge"]
