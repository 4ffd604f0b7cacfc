"""Tiny models train here."""

from tests.training.one_thread import one_thread

__all__ = ["one_thread"]
