"""The supervisor with a stand-in for vLLM: it comes up, comes back, gives up in time, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from keepstone.platform.errors import EngineUnavailable
from keepstone.platform.serving import guard
from keepstone.platform.serving.leftovers import HOME_MARK, end_leftovers, leftovers
from keepstone.platform.serving.places import PLACES, record_path
from keepstone.platform.serving.supervisor import EngineStatus, EngineSupervisor, Patience
from keepstone.platform.serving.vllm import Launch

FAKE = Path(__file__).with_name("fake_engine.py")
PATIENCE = Patience(
    start_s=30,
    unhealthy_s=0.5,
    dead_s=0.2,
    poll_s=0.02,
    grace_s=0.5,
    first_pause_s=0.01,
    settled_s=0.0,
    quick_deaths=3,
    lock_s=0.1,
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stage:
    """A supervisor, and the folder through which the fake engine is told what to do."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.launch = Launch(
            command=(sys.executable, str(FAKE), str(folder), str(port := free_port())),
            environment=dict(os.environ),
            port=port,
            model="fake",
            model_dir=folder,
            max_model_len=100,
            api_key="key",
            max_streams=1,
            timeout_s=1,
        )
        self.folder = folder
        self.supervisor = self.another()

    def another(self, patience: Patience = PATIENCE) -> EngineSupervisor:
        return EngineSupervisor(self.launch, home=self.home, patience=patience)

    def tell(self, word: str) -> Path:
        (self.folder / word).touch()
        return self.folder / word

    def pids(self) -> list[int]:
        return [int(pid) for pid in (self.folder / "pids").read_text().split()]

    def starts(self) -> int:
        return len((self.folder / "starts").read_text().splitlines())

    def until(self, condition: Callable[[EngineStatus], bool]) -> EngineStatus:
        for _ in range(3000):
            status = self.supervisor.status()
            if condition(status):
                return status
            time.sleep(0.01)
        raise AssertionError(self.supervisor.status())


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.supervisor.stop()
    assert leftovers(made.home) == []


def test_from_off_to_ready_to_stopped(stage: Stage) -> None:
    assert stage.supervisor.status().state == "off"
    stage.supervisor.start()
    stage.supervisor.wait_ready(30)
    status = stage.supervisor.status()
    assert (status.state, status.restarts, status.log_path) == ("ready", 0, stage.home / "logs" / "engine.log")
    assert stage.supervisor.explain() is None
    assert len(leftovers(stage.home)) == 4  # guard, shadow, engine and its child
    stage.supervisor.start()
    stage.supervisor.stop()
    assert stage.supervisor.status().state == "stopped"
    assert not [pid for pid in stage.pids() if psutil.pid_exists(pid)]
    assert stage.starts() == 1


def test_it_can_be_started_again_and_keeps_the_older_log(stage: Stage) -> None:
    for _ in range(7):
        stage.supervisor.start()
        stage.supervisor.wait_ready(30)
        stage.supervisor.stop()
    logs = sorted(path.name for path in (stage.home / "logs").iterdir())
    assert logs == ["engine.1.log", "engine.2.log", "engine.3.log", "engine.4.log", "engine.log"]


def test_a_killed_engine_comes_back_without_help(stage: Stage) -> None:
    stage.supervisor.start()
    stage.supervisor.wait_ready(30)
    engine, child = stage.pids()
    os.kill(engine, signal.SIGKILL)
    status = stage.until(lambda status: status.state == "ready" and status.restarts == 1)
    assert status.restarts == 1
    assert not psutil.pid_exists(child)
    assert stage.pids()[0] != engine


def test_a_killed_guard_comes_back_without_help(stage: Stage) -> None:
    stage.supervisor.start()
    stage.supervisor.wait_ready(30)
    old, guard_pid = stage.pids(), stage.supervisor.status().pid
    assert guard_pid
    os.kill(guard_pid, signal.SIGKILL)
    stage.until(lambda status: status.state == "ready" and status.restarts == 1)
    assert not set(old) & set(stage.pids())
    assert not [pid for pid in old if psutil.pid_exists(pid)]


def test_an_engine_that_hangs_is_restarted(stage: Stage) -> None:
    stage.supervisor.start()
    stage.supervisor.wait_ready(30)
    sick = stage.tell("sick")
    status = stage.until(lambda status: "stopped answering" in status.message)
    assert status.state == "restarting"
    sick.unlink()
    stage.until(lambda status: status.state == "ready" and status.restarts >= 1)


def test_it_gives_up_and_says_why_and_what_to_do(stage: Stage) -> None:
    die = stage.tell("die")
    stage.supervisor.start()
    with pytest.raises(EngineUnavailable) as caught:
        stage.supervisor.wait_ready(30)
    assert "died 3 times" in str(caught.value)
    assert "No available memory for the cache" in str(caught.value)
    assert "engine.gpu_memory_utilization" in (caught.value.fix or "")
    status = stage.supervisor.status()
    assert (status.state, status.fix) == ("failed", caught.value.fix)
    assert stage.starts() == 3
    die.unlink()
    stage.supervisor.start()
    stage.supervisor.wait_ready(30)


def test_waiting_ends_when_time_is_up(stage: Stage) -> None:
    stage.tell("sick")
    stage.supervisor.start()
    with pytest.raises(EngineUnavailable, match=r"after 0\.2 s"):
        stage.supervisor.wait_ready(0.2)
    assert "starting (for" in (stage.supervisor.explain() or "")


def test_a_used_port_names_the_setting_and_the_holder(stage: Stage) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", stage.launch.port))
        holder.listen()
        stage.supervisor.start()
        with pytest.raises(EngineUnavailable, match=rf"port {stage.launch.port} is in use.*engine\.port"):
            stage.supervisor.wait_ready(30)
    assert not (stage.folder / "starts").exists()


def test_an_engine_left_by_a_dead_app_is_ended_first(stage: Stage) -> None:
    orphan = subprocess.Popen(stage.launch.command, env={**os.environ, HOME_MARK: str(stage.home)})
    while not (stage.folder / "pids").exists():
        time.sleep(0.01)
    _, child = stage.pids()
    os.kill(child, signal.SIGKILL)  # without a guard nobody else would find it
    reaper = threading.Thread(target=orphan.wait)
    reaper.start()
    stage.supervisor.start()
    stage.supervisor.wait_ready(30)
    reaper.join(10)
    assert not reaper.is_alive()


def test_two_supervisors_never_run_two_engines_in_one_home(stage: Stage) -> None:
    stage.supervisor.start()
    stage.supervisor.wait_ready(30)
    second = stage.another()
    second.start()
    with pytest.raises(EngineUnavailable, match="Another Keepstone"):
        second.wait_ready(30)
    assert stage.supervisor.status().state == "ready"
    assert stage.starts() == 1


def test_stopping_waits_for_running_requests(stage: Stage) -> None:
    stage.supervisor.start()
    stage.supervisor.wait_ready(30)
    busy = stage.tell("busy")
    stopping = threading.Thread(target=stage.supervisor.stop, kwargs={"drain_s": 30})
    stopping.start()
    stage.until(lambda status: status.state == "draining")
    assert psutil.pid_exists(stage.pids()[0])
    busy.unlink()
    stopping.join(20)
    assert stage.supervisor.status().state == "stopped"


def test_stopping_does_not_wait_for_ever(stage: Stage) -> None:
    stage.tell("busy")
    stage.tell("deaf")
    stage.supervisor.start()
    stage.supervisor.wait_ready(30)
    stage.supervisor.stop(drain_s=0.05)
    assert not [pid for pid in stage.pids() if psutil.pid_exists(pid)]


def test_stopping_while_it_starts(stage: Stage) -> None:
    stage.tell("sick")
    stage.supervisor.start()
    stage.supervisor.stop()
    assert stage.supervisor.status().state == "stopped"


APP = """
import os, sys, time
from pathlib import Path
from keepstone.platform.serving.supervisor import EngineSupervisor
from keepstone.platform.serving.vllm import Launch
home, port = Path(sys.argv[1]), int(sys.argv[2])
launch = Launch(command=tuple(sys.argv[3:]), environment=dict(os.environ), port=port, model="fake", model_dir=home,
                max_model_len=1, api_key="key", max_streams=1, timeout_s=1)
supervisor = EngineSupervisor(launch, home=home)
supervisor.start()
supervisor.wait_ready(60)
Path(home / "app-ready").touch()
time.sleep(600)
"""


def test_a_killed_app_leaves_nothing_and_the_next_one_starts(stage: Stage) -> None:
    arguments = [str(stage.home), str(stage.launch.port), *stage.launch.command]
    path = os.pathsep.join(["platform", os.environ.get("PYTHONPATH", "")])
    app = subprocess.Popen([sys.executable, "-c", APP, *arguments], env=os.environ | {"PYTHONPATH": path})
    try:
        while not (stage.home / "app-ready").exists():
            assert app.poll() is None
            time.sleep(0.02)
        left = leftovers(stage.home)
        assert len(left) == 4
    finally:
        app.kill()
        app.wait()
    _, alive = psutil.wait_procs(left, timeout=30)
    assert alive == []
    stage.supervisor.start()
    stage.supervisor.wait_ready(30)


def test_app_guard_and_shadow_killed_at_once_are_cleaned_up_by_the_next_start(stage: Stage) -> None:
    patience = Patience(start_s=30, poll_s=5)  # too slow to notice before this test is done with it
    first = EngineSupervisor(stage.launch, home=stage.home, patience=patience)
    first.start()
    first.wait_ready(30)
    engine, child = (psutil.Process(pid) for pid in stage.pids())
    guards = [process for process in leftovers(stage.home) if process not in (engine, child)]
    assert len(guards) == 2
    for process in (*guards, engine):
        process.suspend()
    for process in (*guards, engine):
        process.kill()
    assert child in leftovers(stage.home)
    assert end_leftovers(stage.home) >= 1
    assert not psutil.pid_exists(child.pid) or child.status() == psutil.STATUS_ZOMBIE
    first.stop()


def test_what_was_recorded_before_a_reboot_means_nothing(stage: Stage) -> None:
    record = record_path(stage.home, PLACES[0])
    record.parent.mkdir()
    ours = {"boot": "another", "session": os.getsid(0), "group": os.getpgid(0)}
    for content in (json.dumps(ours), "{}", "no json", "[]"):
        record.write_text(content)
        assert leftovers(stage.home) == []


def test_a_dead_engine_is_not_called_ready_once_a_client_has_missed_it(stage: Stage) -> None:
    stage.supervisor.start()
    stage.supervisor.wait_ready(30)
    os.kill(stage.pids()[0], signal.SIGKILL)
    stage.until(lambda status: stage.supervisor.explain() is not None)
    stage.until(lambda status: status.state == "ready" and status.restarts == 1)


def test_the_guard_is_a_file_that_a_bare_python_can_run() -> None:
    assert Path(guard.__file__).suffix == ".py"
