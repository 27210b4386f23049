"""The benchmarks run, on small data: what they print is for people to read, not for tests."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trainers.architectures import ARCHITECTURES
from trainers.runtime.streams import isolated
from trainers.tasks import TASKS

pytestmark = pytest.mark.processes

BENCHMARKS = Path(__file__).parent / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def entries_of_benchmarks() -> Iterator[None]:
    with ARCHITECTURES.restored(), TASKS.restored():
        yield
    for path in BENCHMARKS.glob("*.py"):
        sys.modules.pop(path.stem, None)


def load(name: str) -> ModuleType:
    """A benchmark as a module, loaded once, as what it registers stays until the module's end."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def assert_positive(figures: dict[str, Any], *names: str) -> None:
    assert set(names) <= set(figures)
    assert all(math.isfinite(value) and value > 0 for value in figures.values()), figures


@pytest.mark.parametrize("setting", ["translated_digits", "mnist1d", "fashion_mnist"])
def test_guided_step(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load("guided_step")
    monkeypatch.setattr(benchmark, "SECONDS_PER_SETTING", 0.0)
    small = benchmark.SETTINGS[setting]
    small = replace(small, data=small.data | {"num_train": 200})
    with isolated(threads=1):
        figures = benchmark.measure(small)
    ways = ("naive", "cached", "features", "live", "live_floor", "live_bound")
    assert_positive(figures, "plain_ms", *ways)
    assert 1 < figures["live_floor"] < figures["live_bound"]


def test_guided_step_of_mixtures(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load("guided_step")
    monkeypatch.setattr(benchmark, "SECONDS_PER_MIXTURE", 0.0)
    small = benchmark.SETTINGS["translated_digits"]
    small = replace(small, data=small.data | {"num_train": 200})
    with isolated(threads=1):
        figures = benchmark.measure_mixtures(small)
    assert figures["features 1"] > 1
    assert {"features 2", "features 4", "live 2", "live 4"} <= figures.keys()


def test_guided_step_prints_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = load("guided_step")
    monkeypatch.setattr(benchmark, "measure", lambda setting: {"plain_ms": 2.0})
    monkeypatch.setattr(sys, "argv", ["guided_step.py", "--json"])
    benchmark.main()
    settings = ("translated_digits", "mnist1d", "fashion_mnist")
    assert json.loads(capsys.readouterr().out) == {key: {"plain_ms": 2.0} for key in settings}


@pytest.mark.parametrize("unbiased", [False, True])
def test_linear_cka(unbiased: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load("linear_cka")
    monkeypatch.setattr(benchmark, "SECONDS_PER_SETTING", 0.0)
    figures = benchmark.measure(16, 24, unbiased=unbiased)
    assert_positive(figures, "ours", "ours, prepared", "autograd", "two products")
    assert ("pytorch-cka" in figures) == unbiased


def test_memory_of_linear_cka(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load("linear_cka")
    monkeypatch.setattr(benchmark, "MEMORY_SETTING", (16, 64, 3))
    assert benchmark.peak_memory()["bound"] == pytest.approx(3 * 16 * (64 + 16) * 4 / 2**20)


@pytest.mark.parametrize("setting", ["rnn", "transformer", "fcn"])
def test_training_loop(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load("training_loop")
    monkeypatch.setattr(benchmark, "SECONDS_PER_SETTING", 0.0)
    with isolated(threads=1):
        assert_positive(benchmark.measure(benchmark.SETTINGS[setting]), "ratio", "overhead")


def test_planning(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load("planning")
    monkeypatch.setattr(benchmark, "REPEATS", 1)
    figures = benchmark.measure(2, 1)
    assert_positive(figures, "import_seconds", "plan_seconds", "print_seconds")
    # Two trained guides and a baseline; for each alpha and guide guided runs in both states, each
    # with a shuffled control, and an input control; one control of labels for both guides.
    assert figures["replicates"] == 3 + 2 * (2 * 5 + 1)
    # What is mixed has three more settings, each with labels of its own, and rivals.
    assert benchmark.measure(2, 1, mixed=True)["replicates"] > figures["replicates"] + 2 * 3 * 6


def test_startup_tells_training_from_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = load("startup")
    monkeypatch.setattr(benchmark.os, "cpu_count", lambda: 2)
    study = tmp_path / "studies" / "a"
    study.mkdir(parents=True)
    for name in ("mlflow_runs.json", "transfer.parquet"):
        (study / name).touch()
    for name, ended in (("a", 108.0), ("b", 109.0)):
        folder = tmp_path / "replicates" / name
        folder.mkdir(parents=True)
        result = {"ended": ended, "train_seconds": 4.0}
        (folder / "result.json").write_text(json.dumps(result))
        os.utime(folder / "result.json", (ended, ended))
    moments = benchmark.of_files(tmp_path, study)
    assert (moments["first step"], moments["last result"]) == (104, 109)
    sums = benchmark.sums({"first step": 4, "last result": 9, "prompt": 12}, tmp_path)
    assert sums["after the last result"] == 3
    assert sums["slots between first step and last result, not training"] == 2 * 5 - 8
    assert sums["(2 x wall - training) a replicate"] == (2 * 12 - 8) / 2


def test_ray_floor() -> None:
    benchmark = load("ray_floor")
    figures = benchmark.measure(1)
    assert_positive(figures, *benchmark.MOMENTS)
    moments = [figures[name] for name in benchmark.MOMENTS]
    assert moments == sorted(moments)
    assert figures["after the last report"] < figures["end"]


@pytest.mark.parametrize(
    ("name", "draws", "rows"),
    [
        ("interval_coverage", 30, ("coverage: paired t", "coverage: Fieller", "coverage: two-way")),
        ("wrong_verdicts", 30, ("verdict 'helps'", "verdict 'no more than'", "verdict 'overfits'")),
        ("consistency_coverage", 3, ("coverage: kappa of these networks",
                                     "coverage: own over new seeds")),
    ],
)  # fmt: skip
def test_simulations(
    name: str,
    draws: int,
    rows: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They raise where their verdicts or limits are not those of the package."""
    benchmark = load(name)
    monkeypatch.setattr(benchmark, "NUM_SEEDS", (3, 5))
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--draws", str(draws), "--json"])
    benchmark.main()
    figures = json.loads(capsys.readouterr().out)
    assert all(set(row) == {"3", "5"} for row in figures.values())
    assert all(0 <= value <= 1 for row in figures.values() for value in row.values())
    assert {label.partition(",")[0] for label in figures} >= set(rows)


@pytest.mark.slow
def test_collect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the store alone: each command is a process, and MLflow takes long to be imported."""
    benchmark = load("collect")
    monkeypatch.setattr(benchmark, "GUIDES", 1)
    figures = benchmark.measure(tmp_path, 12, 2, mlflow="none")
    # Four conditions of one target and one guide, these two alone, all at two seeds.
    assert figures.pop("written")["replicates"] == 6 * 2
    assert {"analyze", "analyze again", "analyze, 5 new", "status", "report"} <= figures.keys()
    for found in figures.values():
        assert found["cpu_s"] > 0
        assert found["peak_mb"] > 10
        assert found["mlflow_calls"] == 0


@pytest.mark.slow
def test_large_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load("large_study")
    monkeypatch.setattr(benchmark, "TARGETS", 1)
    monkeypatch.setattr(benchmark, "ALPHAS", 1)
    figures = benchmark.measure(tmp_path, 4)
    assert figures.keys() == {*benchmark.COMMANDS, "left"}
    # The baseline and a guided condition at two seeds, and the guide alone.
    assert figures["left"]["replicates"] == 3 * 2
    assert all(value > 0 for each in benchmark.COMMANDS for value in
               (figures[each]["wall_s"], figures[each]["peak_mb"]))  # fmt: skip
    assert figures["run"]["peak_apart_mb"] > 50
    benchmark.draw({4: figures}, tmp_path / "figure.svg")
    assert "replicates" in (tmp_path / "figure.svg").read_text()


def test_collect_of_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load("collect")
    monkeypatch.setattr(benchmark, "BATCH", 2)
    figures = benchmark.measure_search(tmp_path, 15, 2)
    assert figures.pop("search.parquet") == {"trials": 15, "finished": 15}
    # Two seeds a trial and five of each winner and guide, less points that were met before.
    assert 30 < figures.pop("written")["replicates"] <= 15 * 2 + 7 * 5 + 2
    assert {"analyze", "analyze again", "status", "report"} == figures.keys()
    assert all(found["cpu_s"] > 0 for found in figures.values())
