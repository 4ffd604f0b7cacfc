"""Where sources may lie is written by administrators, and what could not be meant is refused with the way to do it."""

from __future__ import annotations

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


def test_credentials_of_stores_are_not_shown() -> None:
    store = {"url": "s3://bucket", "options": {"secret": "hush", "anon": False, "port": 9000}}
    loaded = load_settings(sources={"stores": {"company": store}})
    assert "hush" not in repr(loaded)
    assert loaded.sources.stores["company"].options["port"] == 9000
