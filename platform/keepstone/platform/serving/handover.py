"""The engines of a home folder: the live one, and a second that starts beside it and takes over.

    engines = Engines(model, name="smollm2-135m-instruct", home=home, plan=plan, check_room=check_room)
    engines.start()
    with engines.prepared(other) as served:     # started, adapter loaded, warmed up; nothing is routed there yet
        engines.take_over(served, commit)       # routed, and recorded by `commit`; what answered before drains and ends

An adapter on the live base is loaded into the running engine if that takes adapters; every other model gets an engine
of its own. Two engines is the most that there are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import structlog

from keepstone.platform.errors import Conflict, EngineUnavailable
from keepstone.platform.models.registry import InstalledModel
from keepstone.platform.serving.adapters import check_adapter
from keepstone.platform.serving.leftovers import end_leftovers
from keepstone.platform.serving.live import LanguageModel, LiveEngine, Served
from keepstone.platform.serving.places import PLACES
from keepstone.platform.serving.running import RunningEngine, free_port, make_engine, warm_up
from keepstone.platform.serving.supervisor import EngineSupervisor, Patience
from keepstone.platform.serving.vllm import Launch

_LOOK_S = 0.1
_RESTART_DRAIN_S = 10.0
log = structlog.get_logger(__name__)


class Engines:
    """The live engine of one home folder and its successor. All methods may be called from any thread.

    Args:
        model: what is live at first.
        name: under which clients ask for the live model, whichever it is.
        home: the folder of all state.
        plan: tells how an engine for a model is started, on a port; None: the port of the settings. Called with an
            adapter, it plans an engine that takes adapters.
        check_room: raises when a second engine for a model does not fit beside the first.
        patience: of the supervisors.
        drain_s: how long requests under way may take to end before their engine does.
        linger_s: how long a second engine that nobody uses any more waits for somebody who wants the same.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        name: str,
        home: Path,
        plan: Callable[[LanguageModel, int | None], Launch],
        check_room: Callable[[InstalledModel], None] = lambda _: None,
        patience: Patience | None = None,
        drain_s: float = 600.0,
        linger_s: float = 300.0,
    ) -> None:
        self._home = home
        self._plan = plan
        self._check_room = check_room
        self._patience = patience or Patience()
        self._drain_s = drain_s
        self._linger_s = linger_s
        self._changing = threading.RLock()
        self._closing = threading.Event()
        self.started = False
        """Whether this process runs the live engine, ready or not."""
        self._held: list[tuple[Served, RunningEngine]] = []
        self._ending: list[threading.Thread] = []
        self._second: RunningEngine | None = None
        self._first = self._make(model, PLACES[0], None)
        if model.adapter is not None:
            check_adapter(model.adapter, model.base, max_rank=self._first.launch.max_lora_rank)
            self._first.adapters.want_only(model.adapter)
        self.live = LiveEngine(name, self._first.serve(model))

    @property
    def supervisor(self) -> EngineSupervisor:
        """Watches the live engine."""
        return self._first.supervisor

    def start(self) -> None:
        """Begin to start the live engine and return at once; what an earlier process left running ends first."""
        end_leftovers(self._home)
        self.started = True
        self.supervisor.start()

    def restart(self) -> None:
        """Let the live engine finish what it is doing, and start it again."""
        with self._changing:
            self.supervisor.stop(drain_s=_RESTART_DRAIN_S)
            self.supervisor.start()

    def stop(self) -> None:
        """End all engines and return when nothing is left of them."""
        self._closing.set()
        self.started = False
        # Whoever holds the lock may be waiting for one of these to get ready.
        while not self._changing.acquire(timeout=_LOOK_S):
            for running in (self._second, self._first):
                if running is not None:
                    running.supervisor.stop()
        try:
            self._end_second()
            self.supervisor.stop()
        finally:
            self._changing.release()
        self._join_ending()

    @contextmanager
    def prepared(self, model: LanguageModel) -> Iterator[Served]:
        """Have a model ready to answer, without sending anybody there; `take_over` may be called with it.

        After the block, unless it is live by then, it is taken out of memory: an adapter at once, a second engine when
        nobody has wanted the same model for a while.

        Raises:
            InvalidInput: an adapter does not fit its base, or vLLM refuses it.
            LimitExceeded: a second engine does not fit into memory.
            EngineUnavailable: the engine does not start.
            Conflict: the second engine is in use for another model.
        """
        with ExitStack() as resources:
            with self._changing:
                self._require_running()
                if model.reference == self.live.served.model.reference:
                    running, served = self._first, self.live.served
                else:
                    running = self._first if self._fits(self._first, model) else self._second_for(model)
                    served = running.serve(model)
                self._held.append((served, running))
                resources.callback(self._let_go, served, running)
                self._get_ready(running, model)
            warm_up(served)
            yield served

    def take_over(self, served: Served, commit: Callable[[], None]) -> None:
        """Send all further requests to a prepared model.

        Args:
            served: what `prepared` gave, inside its block.
            commit: records that it is live; when that fails, everything stays as it was.
        """
        with self._changing:
            self._require_running()
            running = self._first if served is self.live.served else dict(self._held)[served]
            before = self.live.switch(served)
            try:
                commit()
            except BaseException:
                self.live.switch(before)
                raise
            if served is before:
                return
            old = self._first
            if running is not old:
                self._first, self._second = running, None
            log.info("engine.took_over", model=served.model.reference, before=before.model.reference)
            if running is not old:
                ending = threading.Thread(target=self._end_drained, args=(before, old), name="engine-ending")
                self._ending.append(ending)
                ending.start()
            elif before.model.adapter is not None:
                adapter = before.model.adapter
                unload = threading.Thread(
                    target=self._unload_drained, args=(before, old, adapter), name="engine-unloading", daemon=True
                )
                unload.start()

    def _make(self, model: LanguageModel, place: str, port: int | None) -> RunningEngine:
        return make_engine(self._plan(model, port), model.base, home=self._home, place=place, patience=self._patience)

    def _fits(self, running: RunningEngine, model: LanguageModel) -> bool:
        """Tell whether an engine is as one that was started for this model would be."""
        if running.base.id != model.base.id:
            return False
        has, needs = running.launch.max_lora_rank, self._plan(model, None).max_lora_rank
        return has >= needs if needs else not has

    def _second_for(self, model: LanguageModel) -> RunningEngine:
        if self._second is not None and not self._fits(self._second, model):
            if self._is_used(self._second):
                raise Conflict(
                    f"The second engine is in use for {self._second.base.reference}", fix="Try again when that is done"
                )
            self._end_second()
        if self._second is None:
            self._join_ending()
            self._check_room(model.base)
            place = next(each for each in PLACES if each != self._first.place)
            self._second = self._make(model, place, free_port())
            log.info("engine.second_starts", model=model.reference)
        return self._second

    def _get_ready(self, running: RunningEngine, model: LanguageModel) -> None:
        """Bring the engine up, and the adapter into it."""
        if model.adapter is not None:
            check_adapter(model.adapter, model.base, max_rank=running.launch.max_lora_rank)
        if running.supervisor.status().state == "failed":
            # Perhaps for the adapter that this one is to replace.
            running.adapters.want_only(model.adapter)
        self._require_running()
        running.supervisor.start()
        running.supervisor.wait_ready(self._patience.start_s)
        if model.adapter is not None:
            running.adapters.load(model.adapter)

    def _let_go(self, served: Served, running: RunningEngine) -> None:
        with self._changing:
            self._held.remove((served, running))
            if running is self._second:
                waiting = threading.Timer(self._linger_s, self._end_unused, [running])
                waiting.daemon = True
                waiting.start()
            if served.model.adapter is not None:
                self._unload_unused(running, served.model.adapter)

    def _end_drained(self, before: Served, old: RunningEngine) -> None:
        """End an engine once the requests that are still with it have ended."""
        left_s = self._drain(before)
        # Whoever judges a candidate against the old one is heard to the end as well.
        old.supervisor.stop(drain_s=0 if self._closing.is_set() else left_s)
        log.info("engine.retired", model=before.model.reference)

    def _unload_drained(self, before: Served, running: RunningEngine, adapter: InstalledModel) -> None:
        """Unload an adapter once the requests that are still with it have ended."""
        self._drain(before)
        with self._changing:
            if not self._closing.is_set():
                self._unload_unused(running, adapter)

    def _drain(self, before: Served) -> float:
        """Wait for the requests to what answered before; return how many seconds are left of the time for that."""
        deadline = time.monotonic() + self._drain_s
        while self.live.users(before) and time.monotonic() < deadline and not self._closing.wait(_LOOK_S):
            pass
        return max(0.0, deadline - time.monotonic())

    def _unload_unused(self, running: RunningEngine, adapter: InstalledModel) -> None:
        in_use = [served for served, there in self._held if there is running]
        if running is self._first:
            in_use.append(self.live.served)
        if adapter.reference not in [each.model.reference for each in in_use]:
            running.adapters.unload(adapter)

    def _is_used(self, running: RunningEngine) -> bool:
        return any(there is running for _, there in self._held)

    def _end_unused(self, running: RunningEngine) -> None:
        with self._changing:
            if self._second is running and not self._is_used(running):
                self._end_second()

    def _end_second(self) -> None:
        second, self._second = self._second, None
        if second is not None:
            second.supervisor.stop()

    def _join_ending(self) -> None:
        """Wait for replaced engines to end; their threads need no lock of ours."""
        for each in self._ending:
            each.join()
        self._ending.clear()

    def _require_running(self) -> None:
        if self._closing.is_set() or not self.started:
            raise EngineUnavailable("The engine is not running", fix="Start it: `keepstone up`")
