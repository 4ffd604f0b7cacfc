"""A run in this process: its events so far, and those who watch it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from keepstone.agents.react.types import RunEvent


@dataclass(slots=True)
class LiveRun:
    """Everybody who watches gets all events from the first on, however late he comes; nobody holds the run up."""

    events: list[RunEvent] = field(default_factory=list)
    over: bool = False
    cancelled: bool = False
    """Whether a person stopped it; a task that is cancelled without that was stopped by the end of the process."""
    task: asyncio.Task[None] | None = None
    bells: set[asyncio.Event] = field(default_factory=set)

    def add(self, event: RunEvent) -> None:
        """Show an event to all."""
        self.events.append(event)
        self._ring()

    def end(self) -> None:
        """Tell all that nothing more comes."""
        self.over = True
        self._ring()

    async def watch(self) -> AsyncGenerator[RunEvent, None]:
        """Yield the events until the run is over."""
        bell = asyncio.Event()
        self.bells.add(bell)
        position = 0
        try:
            while True:
                bell.clear()
                while position < len(self.events):
                    position += 1
                    yield self.events[position - 1]
                if self.over and position == len(self.events):
                    return
                await bell.wait()
        finally:
            self.bells.discard(bell)

    def _ring(self) -> None:
        for bell in self.bells:
            bell.set()
