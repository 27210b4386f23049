"""The needs of a run: store, MLflow, this machine or its cluster, tried one after the other."""

from __future__ import annotations

import math
import platform
import resource
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.servers import refusal
from study.cluster import node
from study.cluster.node import NodeFacts
from study.errors import RunError, SpecError
from study.run.locations import open_store, tracking_uri_of
from study.run.ray_session import RaySession
from trainers.errors import first_line
from trainers.extensions.code_digest import source_digest
from trainers.secrets import masked
from trainers.store.store import Store

if TYPE_CHECKING:
    from types import ModuleType

_MIN_FREE, _MIN_FILES, _MAX_DRIFT = 5 * 2**30, 4096, 30.0
#: Ray lists 100 of anything unless it is told otherwise.
_MANY = 10_000
#: Seconds that the look at a node may take, the transfer of our code to it included.
_LOOK_SECONDS = 300.0
_CLOCK_CALLS = 3


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A check that was made: `problem` says what is wrong and what to do; None where it is good."""

    subject: str
    text: str
    problem: str | None = None


def examine(store: str, tracking_uri: str | None, address: str | None) -> Iterator[Finding]:
    """Look at the store, at MLflow, and at this machine or every node of the cluster at `address`.

    What is wrong is a finding, and no error is raised for it.
    """
    place: Store | None = None
    with _without_new_folders(store):
        try:
            place = open_store(store)
        except SpecError as error:
            yield Finding(subject="store", text="", problem=masked(str(error)))
        else:
            yield Finding(subject="store", text=f"{masked(place.uri)} can be written")
            yield _mlflow(place, tracking_uri)
        yield from _machine() if address is None else _cluster(address, place)


@contextmanager
def _without_new_folders(store: str) -> Iterator[None]:
    """Remove folders that trying the store has made, where nothing else is in them by then."""
    path = Path(store).expanduser().absolute()
    local = "://" not in store
    folders = [path / node.ANSWERS, path, *path.parents] if local and store else []
    absent = [each for each in folders if not each.exists()]
    try:
        yield
    finally:
        for each in absent:
            with suppress(OSError):
                each.rmdir()


def _mlflow(store: Store, tracking_uri: str | None) -> Finding:
    from analysis import database

    began = time.monotonic()
    try:
        uri = tracking_uri_of(store, tracking_uri)
        path = database.path_of(uri)
        if path is not None and not path.exists():
            return Finding(subject="MLflow", text="the first run makes its database in the store")
        database.opened(uri).search_experiments(max_results=1)
    except Exception as error:
        # Each of its stores has errors of its own.
        cause = masked(refusal(error) or first_line(error))
        named = "in the store" if tracking_uri is None else masked(tracking_uri)
        return Finding(
            subject="MLflow", text=named,
            problem=f"{cause}; --tracking-uri must name a server that this machine reaches",
        )  # fmt: skip
    seconds = time.monotonic() - began
    return Finding(subject="MLflow", text=f"answers the driver's machine in {seconds:.1f} s")


def _machine() -> Iterator[Finding]:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "ray", "mlflow"))
    yield Finding(subject="versions", text=f"Python {platform.python_version()}, {versions}")
    yield _room("this machine", shutil.disk_usage(tempfile.gettempdir()).free)
    yield _files("this machine", resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _cluster(address: str, store: Store | None) -> Iterator[Finding]:
    run = uuid.uuid4().hex
    with RaySession(address, []) as session:
        try:
            session.up.result()
        except (SpecError, RunError) as error:
            yield Finding(subject="Ray", text="", problem=masked(str(error)))
            return
        import ray

        yield Finding(subject="Ray", text=f"{masked(address)}, Ray {ray.__version__}")
        yield from _groups_of_dead_jobs(ray)
        try:
            if store is not None:
                store.announce(run)
            yield from _nodes(ray, store, run)
        finally:
            if store is not None:
                store.withdraw(run)


def _nodes(ray: ModuleType, store: Store | None, run: str) -> Iterator[Finding]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    alive = [each for each in ray.nodes() if each["Alive"]]
    kinds = [f"{n['Resources'].get('CPU', 0):g} CPU, {n['Resources'].get('GPU', 0):g} GPU"
             for n in alive]  # fmt: skip
    yield Finding(subject="nodes", text=f"{len(alive)}: {'; '.join(kinds)}")

    def on(identifier: str, function: Callable[..., Any], *arguments: Any) -> Any:
        where = NodeAffinitySchedulingStrategy(identifier, soft=False)
        task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=where)(function)
        return task.remote(*arguments)

    def clock_of(identifier: str) -> float:
        return float(ray.get(on(identifier, node.clock), timeout=_LOOK_SECONDS))

    uri = "" if store is None else store.uri
    tasks = {
        each["NodeID"]: on(each["NodeID"], node.look, uri, run, each["NodeID"]) for each in alive
    }
    ray.wait([*tasks.values()], num_returns=len(tasks), timeout=_LOOK_SECONDS)
    for each in alive:
        name = f"{each['NodeManagerHostname']} ({each['NodeID'][:8]})"
        try:
            facts = ray.get(tasks[each["NodeID"]], timeout=0)
            drift = drift_of(partial(clock_of, each["NodeID"]))
        except Exception as error:
            # Whatever Ray or the node's environment raises is what the user has to mend.
            last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            yield Finding(subject=name, text="no task runs there", problem=last)
        else:
            yield from _node(name, facts, each["Resources"], drift)
            if store is not None:
                yield _meeting(name, facts, store, run, each["NodeID"])


def drift_of(clock: Callable[[], float]) -> float:
    """Seconds by which another clock differs from ours for sure.

    It read what `clock` returns between the call and the answer. Of some calls, the quickest says
    most: the first may start a process.
    """
    narrowest, drift = math.inf, 0.0
    for _ in range(_CLOCK_CALLS):
        asked = time.time()
        there = clock()
        answered = time.time()
        if answered - asked < narrowest:
            narrowest = answered - asked
            drift = max(asked - there, there - answered, 0.0)
    return drift


def _node(
    name: str, facts: NodeFacts, resources: Mapping[str, float], drift: float
) -> Iterator[Finding]:
    """Findings on a node's own facts; its clock differs from this machine's by `drift` seconds."""
    here = {package: metadata.version(package) for package in facts.versions}
    others = [f"{p} {v} (here {here[p]})" for p, v in facts.versions.items() if v != here[p]]
    text = f"Python {facts.python}, " + ", ".join(f"{p} {v}" for p, v in facts.versions.items())
    yield Finding(
        subject=name, text=text,
        problem=f"other versions: {', '.join(others)}: install constraints.txt" if others else None,
    )  # fmt: skip
    if facts.source_digest != source_digest():
        yield Finding(
            subject=name, text="sources",
            problem="an installed archprior of another version comes first: uninstall it there",
        )  # fmt: skip
    if drift > _MAX_DRIFT:
        yield Finding(
            subject=name, text="clock",
            problem=f"it differs by {drift:.0f} s: leases would fail; run an NTP service",
        )  # fmt: skip
    yield _room(name, facts.free_bytes)
    yield _files(name, facts.open_files)
    promised = resources.get("GPU", 0)
    if promised and (facts.gpus == 0 or not facts.nccl):
        lack = "PyTorch sees none" if facts.gpus == 0 else "PyTorch has no NCCL"
        yield Finding(
            subject=name, text=f"{promised:g} GPU",
            problem=f"{lack}: install a PyTorch for CUDA, and the driver of the GPUs",
        )  # fmt: skip


def _meeting(name: str, facts: NodeFacts, store: Store, run: str, identifier: str) -> Finding:
    """Whether a node and this machine see one store: each reads what the other has written."""
    path = node.answer(run, identifier)
    answered = False
    with suppress(OSError):
        answered = store.root.exists(path)
        if answered:
            store.root.remove(path)
    if facts.nonce and answered:
        return Finding(subject=name, text="sees the same store")
    cause = facts.problem or f"{masked(store.uri)} is another folder there"
    return Finding(
        subject=name, text="store",
        problem=f"{cause}: give all nodes one network file system, or a bucket (s3://...)",
    )  # fmt: skip


def _groups_of_dead_jobs(ray: ModuleType) -> Iterator[Finding]:
    """Placement groups whose job is gone: they hold CPUs and GPUs that nobody uses."""
    from ray.util.state import list_jobs, list_placement_groups
    from ray.util.state.exception import RayStateApiException

    try:
        jobs = list_jobs(limit=_MANY)
        listed = list_placement_groups(limit=_MANY, detail=True)
    except (RayStateApiException, OSError) as error:
        yield Finding(subject="placement groups", text=f"not looked at: {first_line(error)}")
        return
    alive = {job.job_id for job in jobs if job.status in ("RUNNING", "PENDING")}
    alive.add(ray.get_runtime_context().get_job_id())
    groups = [
        group.placement_group_id
        for group in listed
        # Detached ones are meant to outlive their job.
        if group.state in ("CREATED", "PENDING")
        and not group.is_detached
        and group.creator_job_id not in alive
    ]
    if groups:
        yield Finding(
            subject="placement groups", text=f"{len(groups)} of jobs that are gone",
            problem=f"they hold resources: ray.util.remove_placement_group of {', '.join(groups)}",
        )  # fmt: skip


def _room(where: str, free: int) -> Finding:
    text = f"{free / 2**30:.1f} GiB free for temporary files"
    lack = f"less than {_MIN_FREE / 2**30:.0f} GiB: Ray spills and logs there"
    return Finding(subject=where, text=text, problem=lack if free < _MIN_FREE else None)


def _files(where: str, limit: int) -> Finding:
    unlimited = limit == resource.RLIM_INFINITY
    lack = f"Ray needs {_MIN_FILES} or more: ulimit -n 65536 before ray start"
    return Finding(
        subject=where, text="open files without limit" if unlimited else f"{limit} open files",
        problem=lack if not unlimited and limit < _MIN_FILES else None,
    )  # fmt: skip
