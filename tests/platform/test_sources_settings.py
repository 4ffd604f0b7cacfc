"""Where sources may lie is written by administrators, and what could not be meant is refused with the way to do it."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepstone.platform.errors import SettingsError
from keepstone.platform.settings import load_settings


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("file:///srv", "allowed_folders"),
        ("https://example.org/docs", "keepstone ingest"),
        ("s3://key:secret@bucket", "options"),
        ("simplecache::s3://bucket", "options"),
        ("bucket/manuals", "options"),
        ("s3://bucket/../other", "options"),
    ],
)
def test_stores_are_plain_urls_without_credentials(url: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=hint):
        load_settings(sources={"stores": {"company": {"url": url}}})


def test_folders_are_named_from_the_root() -> None:
    with pytest.raises(SettingsError, match="from the root"):
        load_settings(sources={"allowed_folders": ["manuals"]})


@pytest.mark.parametrize("folder", ["", "keepstone", "keepstone/blobs", "link"])
def test_what_keepstone_itself_holds_is_taken_by_nobody(tmp_path: Path, folder: str) -> None:
    """Below the home folder lie the originals of all collections, which a writer in one of them could take."""
    home = tmp_path / "keepstone"
    home.mkdir()
    (tmp_path / "link").symlink_to(home)
    with pytest.raises(SettingsError, match="allow folders beside it"):
        load_settings(home=home, sources={"allowed_folders": [tmp_path / folder]})
    assert load_settings(home=home, sources={"allowed_folders": [tmp_path / "keepstone-2"]})


def test_credentials_of_stores_are_not_shown() -> None:
    store = {"url": "s3://bucket", "options": {"secret": "hush", "anon": False, "port": 9000}}
    loaded = load_settings(sources={"stores": {"company": store}})
    assert "hush" not in repr(loaded)
    assert loaded.sources.stores["company"].options["port"] == 9000
