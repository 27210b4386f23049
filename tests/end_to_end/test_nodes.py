"""A real cluster whose nodes come and go: processes of this machine that say what they have.

The nodes are Ray's own, with CPUs and GPUs that are only declared. On a node with a GPU Train asks
for NCCL (see `tests/faults/test_startup.py`): where it is to train nonetheless, Gloo stands in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from study import Study
from tests.helpers.driver import Driver
from tests.helpers.ray_head import Head, Worker, ray_head
from tests.helpers.undisturbed import check_tables, tables
from trainers.store.store import Store

pytestmark = [pytest.mark.processes, pytest.mark.slow]
_TRAINING, _CONTROLLER = "ray::RayTrainWorker", "ray::TrainController"
#: Eight replicates, in four trials or more.
SPEC: dict[str, Any] = {
    "name": "faults",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "norm": "batch", "depth": 3, "width": 64}],
    "guides": [{"name": "resnet2d", "width": 4, "blocks": 1}],
    "controls": ["shuffled"],
    "states": ["trained"],
    "seeds": 2,
    "train": {"steps": 1200, "batch_size": 100, "optimizer": "adam", "report_every": 20},
    "guide_train": {"steps": 100},
    "resources": {"max_concurrent_trials": 3, "replicates_per_trial": 1},
}
Join = Callable[..., Worker]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head that trains nothing itself."""
    with ray_head(tmp_path_factory.mktemp("n"), num_cpus=0) as running:
        yield running


@pytest.fixture
def join(head: Head) -> Iterator[Join]:
    """Let nodes join the head's cluster; those that are left leave it at the end."""
    with ExitStack() as leaving:

        def joined(
            name: str, *, num_cpus: int = 1, num_gpus: int = 0, sources: Path | None = None
        ) -> Worker:
            worker = Worker(head, name, num_cpus=num_cpus, num_gpus=num_gpus, sources=sources)
            leaving.callback(worker.end)
            return worker

        yield joined


class Run(Driver):
    """`archprior run` on the head's cluster."""

    def __init__(self, head: Head, folder: Path, spec: dict[str, Any], *options: str) -> None:
        path, self.store = folder / "spec.yaml", folder / "store"
        path.write_text(json.dumps(spec))
        super().__init__(
            "run", path, "--store", self.store, "--address", head.address, *options,
            log=folder / "log", environment=head.environment,
        )  # fmt: skip

    @property
    def said(self) -> str:
        """All that it has printed, with lines joined."""
        return " ".join(self.log.read_text().split())

    def until(self, condition: Callable[[], Any], seconds: float = 1800) -> None:
        """Wait until something is so while the run goes on."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.said
            assert self.process.poll() is None, self.said
            time.sleep(0.2)


@pytest.fixture
def run(head: Head, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    with ExitStack() as ending:

        def started(spec: dict[str, Any], *options: str) -> Run:
            running = Run(head, tmp_path, spec, *options)
            ending.callback(running.end)
            return running

        yield started


def check_same(store: Path, quiet: Path, spec: dict[str, Any]) -> None:
    """The tables in a store are those of a run in this process that nothing disturbed."""
    assert Study(**spec).run(store=quiet, local=True).complete
    check_tables(tables(store, SPEC["name"]), tables(quiet, SPEC["name"]))


@pytest.mark.timeout(5400)
def test_a_study_begins_without_nodes_and_uses_those_that_come(
    run: Callable[..., Run], join: Join, tmp_path: Path
) -> None:
    running = run(SPEC, "--wait", "30")
    running.until(lambda: "waiting for nodes, which an autoscaler may bring" in running.said)
    assert "a trial needs 1 CPU, and the cluster has 1 node with 0 CPU, 0 GPU" in running.said
    assert "30 min at most" in running.said
    first, second = join("first"), join("second")
    running.until(lambda: first.processes(_TRAINING) and second.processes(_TRAINING))
    assert "there is room for a trial, after" in running.said
    # As many trials as the spec allows wait for the nodes that are not there yet.
    third = join("third")
    running.until(lambda: third.processes(_TRAINING))
    assert not any(node.processes(_CONTROLLER) for node in (first, second, third))
    running.until(lambda: half_trained(running.store))
    victim = next(node for node in (first, second, third) if node.processes(_TRAINING))
    victim.kill()
    assert running.wait(1800) == 0, running.said
    check_same(running.store, tmp_path / "quiet", SPEC)


@pytest.mark.timeout(5400)
def test_two_workers_of_a_trial_are_on_two_nodes_one_of_which_leaves(
    run: Callable[..., Run], join: Join, tmp_path: Path
) -> None:
    """Of four nodes each has room for one worker; what an undisturbed machine gives is the same."""
    spec = SPEC | {"resources": {"workers": 2, "max_concurrent_trials": 2}}
    nodes = [join(f"node{number}") for number in range(4)]
    running = run(spec)
    running.until(lambda: all(node.processes(_TRAINING) for node in nodes))
    running.until(lambda: half_trained(running.store))
    nodes[0].end()
    assert running.wait(1800) == 0, running.said
    (tmp_path / "alone").mkdir()
    quiet = tmp_path / "quiet"
    path = tmp_path / "spec.yaml"
    alone = Driver("run", path, "--store", quiet, log=tmp_path / "alone" / "log")
    assert alone.wait(1800) == 0, alone.log.read_text()
    check_tables(tables(running.store, SPEC["name"]), tables(quiet, SPEC["name"]))


@pytest.mark.timeout(5400)
def test_trials_share_the_gpus_of_nodes(
    run: Callable[..., Run], join: Join, tmp_path: Path
) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "sitecustomize.py").write_text(_GLOO_FOR_NCCL)
    nodes = {name: join(name, num_cpus=3, num_gpus=1, sources=sources) for name in ("a", "b")}
    nodes["without"] = join("without", num_cpus=3)
    shares = {"gpus_per_worker": 0.5, "max_concurrent_trials": 6, "replicates_per_trial": 1}
    running = run(SPEC | {"resources": shares})
    most = dict.fromkeys(nodes, 0)

    def shared() -> bool:
        for name, node in nodes.items():
            most[name] = max(most[name], len(node.processes(_TRAINING)))
        return most["a"] >= 2 and most["b"] >= 2

    running.until(shared)
    running.until(lambda: shared() and half_trained(running.store))
    assert running.wait(1800) == 0, running.said
    assert most == {"a": 2, "b": 2, "without": 0}
    check_same(running.store, tmp_path / "quiet", SPEC)


#: Runs in each process of a node at its start.
_GLOO_FOR_NCCL = """
import importlib.abc, importlib.util, sys

class GlooForNCCL(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "torch.distributed.distributed_c10d":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            begin = module.init_process_group

            def init_process_group(backend=None, **options):
                begin("gloo" if backend == "nccl" else backend, **options)

            module.init_process_group = init_process_group

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, GlooForNCCL())
"""


def half_trained(store: Path) -> bool:
    """Whether a replicate has a checkpoint and is not finished."""
    return any(
        not (path.parent.parent / "result.json").exists()
        for path in store.glob("replicates/*/checkpoint/latest.json")
    )


@pytest.mark.timeout(2400)
def test_a_trial_too_large_is_waited_for_as_long_as_asked(
    run: Callable[..., Run], join: Join
) -> None:
    join("small")
    large = SPEC | {"resources": {"cpus_per_worker": 4}}
    running = run(large, "--wait", "0.2")
    began = time.monotonic()
    assert running.wait(1800) == 1, running.said
    assert "a trial needs 4 CPU, and the cluster has" in running.said
    assert "1 node with 1 CPU, 0 GPU" in running.said
    assert "waiting for nodes, which an autoscaler may bring, for 12 s at most" in running.said
    assert "no node with room came within 12 s" in running.said
    assert time.monotonic() - began > 12
    assert not Store(running.store).known()


@pytest.mark.timeout(3600)
def test_a_head_that_goes_ends_the_run_with_the_way_to_go_on(tmp_path: Path) -> None:
    """Ray alone says nothing for a minute, and then ends the driver by itself."""
    with ray_head(tmp_path, num_cpus=1) as head:
        running = Run(head, tmp_path, SPEC)
        try:
            running.until(lambda: half_trained(running.store))
            for process in psutil.process_iter():
                with suppress(psutil.Error):
                    command = " ".join(process.cmdline())
                    if "gcs_server" in command and head.address.rpartition(":")[2] in command:
                        process.kill()
            assert running.wait(120) == 1, running.said
        finally:
            running.end()
    assert "does not answer; this run ends" in running.said
    assert "the same command goes on from the last checkpoints" in running.said
    again = Driver(
        "run", tmp_path / "spec.yaml", "--store", running.store, "--local", log=tmp_path / "again"
    )
    assert again.wait(1800) == 0, again.log.read_text()
    check_same(running.store, tmp_path / "quiet", SPEC)
