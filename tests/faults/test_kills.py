"""kill -9 at random moments: run again, a study ends as if nothing had happened."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from study import Study
from tests.faults.conftest import SPEC
from tests.helpers.driver import Driver
from tests.helpers.ray_head import ray_head
from tests.helpers.stores import finished
from trainers.store import pointer
from trainers.store.lease import holder
from trainers.store.store import MAX_STARTS, CorruptError, Store
from trainers.store.tables import History, Point

Drive = Callable[..., Driver]
Until = Callable[..., Any]
NUM_REPLICATES = len(Study(**SPEC).plan())


def training(store: Path) -> dict[str, int]:
    """The step of every half-trained replicate."""
    steps = {}
    for identifier in Store(store).known() - set(finished(store)):
        try:
            steps[identifier] = pointer.saved_step(Store(store).replicate(identifier))
        except CorruptError:
            continue
    return {identifier: step for identifier, step in steps.items() if step}


def points(store: Path, identifier: str) -> list[Point]:
    """What the store holds of a replicate's history."""
    content = Store(store).replicate(identifier).folder.read("history.parquet")
    return History.from_parquet(identifier, content).points


def disturb(kind: str, moment: float, store: Path, driver: Driver, until: Until) -> None:
    """Kill some time after training has begun: a random moment of the loop, or between runs."""
    until(lambda: training(store) or len(finished(store)) == NUM_REPLICATES)
    time.sleep(moment)
    driver.kill(kind)


@pytest.mark.parametrize(
    ("seed", "num_kills"), [(0, 1), *[pytest.param(s, 2, marks=pytest.mark.slow) for s in range(6)]]
)
def test_killed_anywhere_and_run_again(
    seed: int,
    num_kills: int,
    drive: Drive,
    until: Until,
    tmp_path: Path,
    check_same: Callable[[Path], None],
) -> None:
    draw = random.Random(seed)
    store = tmp_path / "store"
    driver = drive("run", SPEC)
    for kind in draw.sample(["worker", "controller", "trial"], num_kills):
        disturb(kind, draw.uniform(0, 3), store, driver, until)
    disturb("driver", draw.uniform(0, 4), store, driver, until)
    driver.process.wait()
    before = finished(store)
    again = drive("run", SPEC)
    assert again.wait() == 0, again.log.read_text()
    after = finished(store)
    assert len(after) == NUM_REPLICATES
    # Orphans of the first driver may have finished one more before they were gone.
    assert {identifier: after[identifier] for identifier in before} == before
    check_same(store)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["worker", "controller", "trial"])
def test_one_run_survives_the_death_of_its_processes(
    kind: str, drive: Drive, until: Until, tmp_path: Path, check_same: Callable[[Path], None]
) -> None:
    store = tmp_path / "store"
    driver = drive("run", SPEC)
    until(lambda: training(store))
    saved = {identifier: points(store, identifier) for identifier in training(store)}
    disturb(kind, 0.5, store, driver, until)
    assert driver.wait() == 0, driver.log.read_text()
    check_same(store)
    assert len(finished(store)) == NUM_REPLICATES
    # Nothing that had a checkpoint began anew: its first points, with their times, are still there.
    assert saved
    for identifier, before in saved.items():
        assert points(store, identifier)[: len(before)] == before


@pytest.mark.slow
def test_a_controller_dies_while_another_ray_runs_on_the_machine(
    drive: Drive, until: Until, tmp_path: Path, check_same: Callable[[Path], None]
) -> None:
    """Its resources are given back at its own cluster, else its successor waits for ever."""
    store, other = tmp_path / "store", tmp_path / "other"
    other.mkdir()
    with ray_head(other):
        driver = drive("run", SPEC)
        until(lambda: training(store))
        disturb("controller", 0.5, store, driver, until)
        assert driver.wait() == 0, driver.log.read_text()
    check_same(store)


@pytest.mark.slow
def test_a_replicate_whose_process_is_killed_each_time_is_left_alone(
    drive: Drive, until: Until, tmp_path: Path
) -> None:
    """Its worker is killed whenever it is at work on the one replicate, before a checkpoint."""
    store = tmp_path / "store"
    spec = SPEC | {"train": SPEC["train"] | {"report_every": 320}}
    plan = Study(**spec).plan()
    victim = next(r for r in plan.replicates if r.condition.role == "baseline" and r.seed == 0)
    driver = drive("run", spec)
    kills = 0
    while driver.process.poll() is None:
        # Before its start is counted, a death costs nothing: it would be begun once more.
        if _starts(store, victim.id) > kills and (at_work := _at_work(store, victim.id)):
            at_work.kill()
            kills += 1
        driver.below()
        time.sleep(0.02)
    log = driver.log.read_text()
    assert driver.process.returncode == 1, log
    assert kills == MAX_STARTS
    # Nothing is known against it.
    assert Store(store).replicate(victim.id).failure() is None
    assert set(finished(store)) == {r.id for r in plan.replicates} - {victim.id}
    assert "started 5 times from step 0" in log
    assert "1 replicate is left to train; to go on: archprior run " in log
    again = drive("run", spec)
    assert again.wait() == 0, again.log.read_text()
    assert len(finished(store)) == NUM_REPLICATES


def _starts(store: Path, identifier: str) -> int:
    try:
        content = Store(store).replicate(identifier).folder.read("starts.json")
    except FileNotFoundError:
        return 0
    return int(json.loads(content)["count"])


def _at_work(store: Path, identifier: str) -> psutil.Process | None:
    found = holder(Store(store).replicate(identifier).folder)
    if found is None:
        return None
    try:
        return psutil.Process(found.pid)
    except psutil.NoSuchProcess:
        return None


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["leader", "follower"])
def test_the_death_of_one_of_two_workers_costs_a_restart(
    victim: str, drive: Drive, until: Until, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    half = {"workers": 2, "cpus_per_worker": (psutil.cpu_count() or 1) / 2}
    driver = drive("run", SPEC | {"resources": half})
    until(lambda: training(store))
    saved = {identifier: points(store, identifier) for identifier in training(store)}
    leaders = {at_work.pid for i in Store(store).known() if (at_work := _at_work(store, i))}
    workers = [p for p in driver.below() if "ray::RayTrainWorker" in " ".join(p.cmdline())]
    victims = [p for p in workers if (p.pid in leaders) == (victim == "leader")]
    assert len(workers) == 2
    assert len(victims) == 1
    victims[0].kill()
    assert driver.wait() == 0, driver.log.read_text()
    assert len(finished(store)) == NUM_REPLICATES
    assert saved
    for identifier, before in saved.items():
        assert points(store, identifier)[: len(before)] == before
