"""The benchmark harness: its statistics, its verdicts, and that `--check` cannot pass by leaving a figure out."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks import harness
from benchmarks.compare import interleaved, seconds
from benchmarks.harness import Context, Figure, main
from benchmarks.targets import TARGETS, Target, judge, load_targets
from keepstone.platform.errors import InvalidInput, NotFound

FAST = {"speed": Target(">=", 10, "main job")}


def measure_speed(context: Context) -> Iterable[Figure]:
    """Measure a pretended speed: 8, 9, 10, ..."""
    yield Figure("speed", [8.0 + run for run in range(context.runs)], "x")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
@example([-0.682190214659743, -0.6821902146597429])
def test_median_lies_within_the_spread(values: list[float]) -> None:
    """The median and the range must describe the runs whatever their number."""
    figure = Figure("speed", values, "x")
    assert min(values) <= figure.median <= max(values)
    assert figure.median == statistics.median(values)
    assert 0 <= figure.iqr <= max(values) - min(values) + 1e-6


def test_a_figure_needs_a_value() -> None:
    """A figure without a run must not count as zero."""
    with pytest.raises(InvalidInput, match="speed"):
        Figure("speed", [], "x")


@pytest.mark.parametrize(
    ("op", "value", "met"),
    [(">=", 2, True), (">", 2, False), ("<=", 2, True), ("<", 2, False), ("==", 2, True), ("==", 3, False)],
)
def test_targets_compare_as_written(op: str, value: float, met: bool) -> None:
    """`at most 2` includes 2 and `under 2` does not."""
    assert Target(op, value, "main job").met_by(2) is met


@pytest.mark.parametrize("op", [">=", "<=", "<", ">", "=="])
def test_nan_meets_no_target(op: str) -> None:
    """A broken measurement must not pass."""
    assert not Target(op, 1, "main job").met_by(float("nan"))


def test_check_names_the_figure_that_falls_short(capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` exits with 1 and says which figure, its value and the target; without it the exit code is 0."""
    assert main("probe", measure_speed, argv=["--check", "--json", "--runs", "3"], targets=FAST) == 1
    printed = capsys.readouterr()
    assert "speed is 9, the target is >= 10 (main job)" in " ".join(printed.err.split())
    assert json.loads(printed.out)["short"] == ["speed is 9, the target is >= 10 (main job)"]
    assert main("probe", measure_speed, argv=["--runs", "3"], targets=FAST) == 0


def test_check_passes_when_the_median_reaches_the_target() -> None:
    """The median decides, so one slow run does not fail a benchmark."""
    assert main("probe", measure_speed, argv=["--check", "--runs", "5"], targets=FAST) == 0


def test_a_target_without_a_figure_is_short() -> None:
    """Leaving a figure out must not pass the check, unless it was not asked for."""
    targets = {**FAST, "recall": Target(">=", 0.99, "main job")}
    assert main("probe", measure_speed, argv=["--check", "--runs", "5"], targets=targets) == 1
    assert main("probe", measure_speed, argv=["--check", "--runs", "5", "--only", "speed"], targets=targets) == 0
    (speed, recall) = judge({"speed": 12.0}, targets)
    assert speed.met
    assert recall.sentence == "recall was not measured, the target is >= 0.99 (main job)"


def test_json_says_what_was_measured_where(capsys: pytest.CaptureFixture[str]) -> None:
    """A figure is worth nothing without its spread, the machine, the versions and the commit."""

    def measure(context: Context) -> Iterator[Figure]:
        context.details["stages"] = {"install": 1.5}
        context.versions["vllm"] = "1.2"
        yield from measure_speed(context)

    main("probe", measure, argv=["--json", "--runs", "4"], targets=FAST)
    report = json.loads(capsys.readouterr().out)
    (figure,) = report["figures"]
    assert figure == {
        "name": "speed",
        "unit": "x",
        "median": 9.5,
        "min": 8.0,
        "max": 11.0,
        "iqr": 1.5,
        "runs": [8.0, 9.0, 10.0, 11.0],
        "target": ">= 10",
        "source": "main job",
        "met": False,
    }
    assert report["machine"]["cores"] >= 1
    assert report["machine"]["cpu"]
    assert {"python", "vllm", "sqlalchemy"} <= report["versions"].keys()
    assert report["details"] == {"stages": {"install": 1.5}}


def test_save_writes_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--save`, and nothing else, writes results/NAME.json; a part never overwrites the whole."""
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    main("probe", measure_speed, argv=[], targets={})
    assert not (tmp_path / "results").exists()
    main("probe", measure_speed, argv=["--save"], targets={})
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["probe.json"]
    assert json.loads((tmp_path / "results" / "probe.json").read_text())["benchmark"] == "probe"
    main("probe", measure_speed, argv=["--save", "--only", "speed"], targets={})
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["probe-speed.json", "probe.json"]


def test_a_benchmark_that_cannot_run_says_why(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Missing data is exit code 2 with the fix, no traceback."""

    def measure(context: Context) -> Iterator[Figure]:
        yield Figure("speed", [len(context.dataset("scifact").name)], "x")

    assert main("probe", measure, argv=["--data", str(tmp_path)], targets={}) == 2
    assert "--data" in capsys.readouterr().err


def test_data_comes_from_the_option_then_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KEEPSTONE_BENCH_DATA names the folder, `--data` wins over it."""
    seen: list[Path] = []

    def measure(context: Context) -> Iterator[Figure]:
        seen.append(context.data)
        with pytest.raises(NotFound):
            context.dataset("absent")
        yield Figure("speed", [1], "x")

    monkeypatch.setenv("KEEPSTONE_BENCH_DATA", str(tmp_path / "a"))
    main("probe", measure, argv=[], targets={})
    main("probe", measure, argv=["--data", str(tmp_path / "b")], targets={})
    assert seen == [tmp_path / "a", tmp_path / "b"]


@pytest.mark.parametrize("runs", ["0", "-1", "many"])
def test_runs_must_be_a_number(runs: str) -> None:
    """No runs, no figure."""
    with pytest.raises(SystemExit):
        main("probe", measure_speed, argv=["--runs", runs], targets={})


def test_commit_tells_of_changes(tmp_path: Path) -> None:
    """A figure measured on changed code must not carry a clean commit."""
    assert harness.commit(tmp_path) is None

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@t"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "code.py").write_text("one")
    git("add", ".")
    git("commit", "-m", "one")
    clean = harness.commit(tmp_path)
    assert clean is not None
    assert "dirty" not in clean
    (tmp_path / "code.py").write_text("two")
    assert harness.commit(tmp_path) == f"{clean}+dirty"


def test_every_target_in_the_file_is_valid() -> None:
    """Each names a comparison, a number and what it belongs to, and says it in words."""
    names = [line[1:-1].split(".") for line in TARGETS.read_text().splitlines() if line.startswith("[")]
    assert len(names) > 30
    for benchmark, figure in names:
        target = load_targets(benchmark)[figure]
        assert re.fullmatch(r"(main job|loop|retrieval), [a-z]+", target.source)
        assert target.text


@pytest.mark.parametrize(
    "entry", ['op = "=>"\nvalue = 1\nsource = "main job"', 'op = ">="\nsource = "main job"', "value = ", "speed = 1"]
)
def test_a_wrong_target_is_refused(entry: str, tmp_path: Path) -> None:
    """A typing error in targets.toml must not switch a target off."""
    (tmp_path / "targets.toml").write_text(f"[probe.speed]\n{entry}\n")
    with pytest.raises(InvalidInput, match=r"probe\.speed|TOML"):
        load_targets("probe", tmp_path / "targets.toml")


def test_interleaved_runs_take_turns() -> None:
    """Each pair is measured side by side, in alternating order, and the warm-up is forgotten."""
    order: list[str] = []

    def ours() -> float:
        order.append("A")
        return 2.0 * len(order)

    def theirs() -> float:
        order.append("B")
        return 1.0

    comparison = interleaved(ours, theirs, runs=3, warmup=1)
    assert "".join(order) == "BA" + "AB" + "BA" + "AB"
    assert comparison.ours == (6.0, 12.0, 14.0)
    assert comparison.ratio("r").median == 12.0
    assert comparison.difference("d", "ms").values == [5.0, 11.0, 13.0]


def test_seconds_measures_the_work() -> None:
    """The wrapper runs the work once a call and gives a duration."""
    calls: list[int] = []
    timed = seconds(lambda: calls.append(1))
    assert timed() >= 0
    assert calls == [1]
