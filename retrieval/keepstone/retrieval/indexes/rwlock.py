"""A lock for many readers or one writer that starves neither."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


class ReadWriteLock:
    """Readers share it, a writer has it alone. Not reentrant: a thread must not ask twice.

    A waiting writer stops new readers from entering; when a writer leaves, the readers that waited for it go first.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._condition = threading.Condition(self._mutex)
        self._reading = _Reading(self)
        self._readers = 0
        self._waiting_readers = 0
        self._waiting_writers = 0
        self._admitted = 0
        self._writing = False

    def reading(self) -> AbstractContextManager[None]:
        """Hold it together with other readers."""
        return self._reading

    def enter_reading(self) -> None:
        """Wait until it can be held together with other readers."""
        with self._mutex:
            self._waiting_readers += 1
            while self._writing or (self._waiting_writers and not self._admitted):
                self._condition.wait()
            self._waiting_readers -= 1
            self._admitted = max(0, self._admitted - 1)
            self._readers += 1

    def leave_reading(self) -> None:
        """Let go of what `enter_reading` took."""
        with self._mutex:
            self._readers -= 1
            if self._waiting_writers and not self._readers:
                self._condition.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold it alone."""
        with self._condition:
            self._waiting_writers += 1
            while self._writing or self._readers or self._admitted:
                self._condition.wait()
            self._waiting_writers -= 1
            self._writing = True
        try:
            yield
        finally:
            with self._condition:
                self._writing = False
                self._admitted = self._waiting_readers
                self._condition.notify_all()


class _Reading:
    """What `reading` returns: made once and without a generator, for every search goes through it."""

    __slots__ = ("_lock",)

    def __init__(self, lock: ReadWriteLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.enter_reading()

    def __exit__(self, *_: object) -> None:
        self._lock.leave_reading()
