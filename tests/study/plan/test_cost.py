"""What a study will cost: from the store, timed where asked and possible, else from shapes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from study import Study
from study.cli import console
from study.plan import cost
from study.plan.cost import Estimate
from study.plan.progress import Progress
from tests.helpers.plans import IMAGES, plan_of
from trainers.conditions.condition import Condition
from trainers.cost import flops, timing
from trainers.runtime.devices import default_device
from trainers.store.store import Store
from trainers.tasks import Task


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[Condition]:
    """Conditions of which steps would be timed; each is said to take a second."""
    conditions: list[Condition] = []

    def expected_seconds(condition: Condition, _guides: object) -> float:
        conditions.append(condition)
        return 1.0

    monkeypatch.setattr(timing, "expected_seconds", expected_seconds)
    return conditions


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (1, "cuda")])
def test_what_gets_no_gpu_is_timed_without_one(
    gpus: int, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: set[str] = set()

    def expected_seconds(_condition: Condition, _guides: object) -> float:
        devices.add(default_device().type)
        return 1.0

    monkeypatch.setattr(timing, "expected_seconds", expected_seconds)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    estimate(tmp_path, measure=True, resources={"gpus_per_worker": gpus})
    assert devices == {device}


def estimate(folder: Path, *, measure: bool = False, **changes: Any) -> Estimate:
    return cost.estimate(Progress(plan_of(**changes), Store(folder)), measure=measure)


def test_nothing_is_timed_unless_asked(tmp_path: Path, timed: list[Condition]) -> None:
    plan = plan_of()
    found = estimate(tmp_path)
    assert timed == []
    work = {r.id: flops.training(r.condition) for r in plan.replicates}
    calls = {r.id: flops.calls(r.condition) for r in plan.replicates}
    assert found.counted.num_replicates == len(plan)
    assert found.counted.flops == pytest.approx(sum(work.values()))
    assert found.counted.assumed
    assert found.counted.seconds == pytest.approx(found.todo_seconds)
    assert found.seconds == pytest.approx({i: work[i] / 40e9 + 7e-6 * calls[i] for i in work})
    rate = sum(work.values()) / found.todo_seconds
    assert found.counted.flops_per_second == pytest.approx(rate)
    assert min(found.seconds.values()) > 0


def test_conditions_that_cost_the_same_are_timed_once(
    tmp_path: Path, timed: list[Condition]
) -> None:
    alphas = {"alpha": [1.0, 2.0]}
    schedule = [alphas, alphas | {"every": 8, "scale_alpha": [False, True]}]
    found = estimate(tmp_path, measure=True, schedule=schedule)
    # Guide, baseline; guided (any state, shuffled too) and input, each with both intervals.
    assert len(timed) == 6
    assert found.counted.num_replicates == 0
    assert found.todo_seconds == len(found.seconds)


def test_alignment_within_the_steps_costs_less_than_on_top_of_them(
    tmp_path: Path, timed: list[Condition]
) -> None:
    steps = {"align_first": {"steps": 2}}
    rival = {"name": "aligned_start", "steps": 2}
    estimate(tmp_path, measure=True, schedule=steps, rivals=[rival], train={"steps": 6})
    aligned = [condition for condition in timed if condition.guidance is not None]
    assert {condition.rival is not None for condition in aligned} == {True, False}


def test_gpus_that_are_not_here_are_assumed(
    tmp_path: Path, timed: list[Condition], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpus = {"resources": {"gpus_per_worker": 2}}
    found = estimate(tmp_path, measure=True, **gpus)
    assert timed == []
    starts = sum(7e-6 * flops.calls(r.condition) for r in plan_of(**gpus).replicates)
    assert found.todo_seconds == pytest.approx(found.counted.flops / 100e12 + starts)
    progress = Progress(plan_of(**gpus), Store(tmp_path))
    lines = console.plan_lines(progress, found, 1)
    said = "at an assumed 50 TFLOP/s a GPU and 7 µs to start each operator: 0.0 GPU-hours (a rough"
    assert any(said in line for line in lines)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert estimate(tmp_path, measure=True, **gpus).counted.num_replicates == 0


def test_data_that_is_not_here_is_not_timed(
    tmp_path: Path, timed: list[Condition], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Task, "data", "absent", raising=False)
    found = estimate(tmp_path, measure=True)
    assert timed == []
    assert found.counted.num_replicates == len(found.seconds)


def test_what_cannot_be_timed_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def expected_seconds(_condition: Condition, _guides: object) -> float:
        raise MemoryError

    monkeypatch.setattr(timing, "expected_seconds", expected_seconds)
    found = estimate(tmp_path, measure=True)
    assert found.counted.num_replicates == len(found.seconds)


def test_networks_that_do_not_run_have_no_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def training(_condition: Condition) -> float:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(flops, "training", training)
    found = estimate(tmp_path)
    assert (found.num_unknown, found.todo_seconds) == (len(found.seconds), 0)
    lines = console.plan_lines(Progress(plan_of(), Store(tmp_path)), found, 1)
    said = "their networks do not run (archprior validate SPEC says why)"
    assert f"no estimate of {found.num_unknown} replicates: {said}" in lines


def test_the_past_of_the_store_counts_more(trained: Any, timed: list[Condition]) -> None:
    progress = Progress(trained.plan, Store(trained.folder))
    found = cost.estimate(progress, measure=False)
    assert found.counted.num_replicates == 0
    baseline = next(p for p in trained.plan.conditions if p.condition.role == "baseline")
    times = [progress.states[i].result.train_seconds for i in baseline.ids.values()]  # type: ignore[union-attr]
    assert found.seconds[baseline.ids[0]] == pytest.approx(sum(times) / 2)


def test_what_the_store_has_trained_sets_the_rate_of_the_rest(
    trained: Any, timed: list[Condition]
) -> None:
    spec = trained.spec | {"targets": [*trained.spec["targets"], {"name": "fcn", "depth": 2}]}
    progress = Progress(Study(**spec).plan(), Store(trained.folder))
    found = cost.estimate(progress)

    def guess(condition: Condition) -> float:
        return flops.training(condition) / 40e9 + 7e-6 * flops.calls(condition)

    past = [
        planned
        for planned in progress.plan.conditions
        if progress.states[planned.ids[0]].status == "finished"
    ]
    seconds = sum(found.seconds[planned.ids[0]] for planned in past)
    guessed = sum(guess(planned.condition) for planned in past)
    new = sum(guess(replicate.condition) for replicate in progress.todo)
    counted = found.counted
    assert not counted.assumed
    assert counted.seconds == pytest.approx(found.todo_seconds)
    assert counted.seconds == pytest.approx(new * seconds / guessed)
    assert counted.flops_per_second == pytest.approx(counted.flops / counted.seconds)
    lines = console.plan_lines(progress, found, 1)
    assert any("FLOP/s a worker, as others took: " in line for line in lines)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0.0 "),
        (7, "7.0 "),
        (999, "999 "),
        (5e13, "50 T"),
        (3.14e18, "3.1 E"),
        (1e24, "1000 Z"),
    ],
)
def test_quantities(number: float, text: str) -> None:
    assert console.quantity(number) == text


@pytest.mark.processes
def test_a_plan_imports_nothing_heavy(tmp_path: Path) -> None:
    """Beside PyTorch and its compiler, which its kernels of the meta device import."""
    path = tmp_path / "spec.yaml"
    path.write_text(json.dumps(IMAGES))
    heavy = ("sklearn", "pandas", "pyarrow", "scipy", "mlflow", "ray")
    code = (
        "import sys\nfrom study.cli.app import main\n"
        f"sys.argv = ['archprior', 'plan', sys.argv[1], '--store', {str(tmp_path / 'no')!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print('imported:', [name for name in {heavy!r} if name in sys.modules])"
    )
    for spec in (str(path), "quickstart"):
        command = [sys.executable, "-c", code, spec]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "imported: []"
        assert "a rough estimate from shapes" in done.stdout


def test_measure_is_an_option(
    timed: list[Condition],
    spec_file: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from study.cli import planning

    planning.show(str(spec_file()), str(tmp_path / "no"), measure=True, as_json=True)
    content = json.loads(capsys.readouterr().out)
    assert len(timed) == 3
    assert content["expected_seconds"] == 12
    assert content["counted"]["num_replicates"] == 0
