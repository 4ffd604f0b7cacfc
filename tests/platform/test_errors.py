"""Errors: one tree, drawn as it is, each error with a stable code and words that help."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from keepstone.platform import errors
from keepstone.platform.errors import KeepstoneError, StorageFull, did_you_mean, storage_errors


def _tree(cls: type[KeepstoneError] = KeepstoneError) -> Iterator[type[KeepstoneError]]:
    yield cls
    for each in cls.__subclasses__():
        if each.__module__ == errors.__name__:
            yield from _tree(each)


@pytest.mark.parametrize("cls", list(_tree()), ids=lambda cls: cls.__name__)
def test_every_error_has_a_code_and_stands_in_the_drawing(cls: type[KeepstoneError]) -> None:
    """Clients branch on the code, readers on the drawing."""
    assert "code" in vars(cls), "each class has a code of its own"
    assert f" {cls.__name__} " in (errors.__doc__ or "").replace("\n", " \n")
    assert [other for other in _tree() if other.code == cls.code] == [cls]


def test_the_fix_follows_the_message() -> None:
    """What people read."""
    assert str(KeepstoneError("The disk is full", fix="Free some space")) == "The disk is full. Free some space"
    assert str(KeepstoneError("The disk is full")) == "The disk is full"


def test_the_nearest_valid_value_is_suggested() -> None:
    """A typing error is named as one; otherwise all valid values are listed."""
    assert did_you_mean("hanbook", ["handbook", "manual"]) == "Did you mean 'handbook'?"
    assert did_you_mean("xyz", ["manual", "handbook"]) == "Valid: handbook, manual"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named(number: int) -> None:
    """Also when it is only the quota."""
    with pytest.raises(StorageFull, match="while writing the index") as caught, storage_errors("writing the index"):
        raise OSError(number, "no space")
    assert caught.value.fix


def test_other_errors_of_the_system_pass() -> None:
    """A missing file is not a full disk."""
    with pytest.raises(FileNotFoundError), storage_errors("reading"):
        raise FileNotFoundError(errno.ENOENT, "no such file")
