"""Ray Tune schedules the trials of a plan; a trial is a Ray Train worker group.

Tune asks a queue for the next trial, and the queue withholds a trial until the guides it needs are
finished: no barrier between stages, and no slot idle while there is work that can start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from study.plan.packing import Trial
from study.run.room import places
from study.spec.read import Resources, SpecError
from trainers.messages import Ended, Message, Report, decode
from trainers.trial.ray_worker import align_networks, tune_trial

#: Enough to be placed, and no CPU: an actor that held one could starve its own worker.
_ACTOR_RESOURCES = {"memory": 2**20}
#: Label that Ray gives every node.
_NODE_ID = "ray.io/node-id"
_LOOK_SECONDS = 0.5
#: Errors where this machine's part of Ray has died, whatever was running.
GONE = (ray.exceptions.LocalRayletDiedError, ray.exceptions.NodeDiedError)


def slots(resources: Resources, *, grows: bool = False) -> int:
    """Number of trials that the cluster trains at once; at least 1, to make an autoscaler act.

    Workers fit node by node: what is left over on several nodes makes no place together. Of a
    cluster that `grows`, as many as `max_concurrent_trials` says where that is a number: nodes
    that are not up yet count, too.
    """
    if grows and resources.max_concurrent_trials != "auto":
        return resources.max_concurrent_trials
    each = (resources.cpus_per_worker, resources.gpus_per_worker)
    return max(1, sum(places(node, *each) for node in nodes()) // resources.workers)


def nodes() -> list[Mapping[str, float]]:
    """Resources of each node of the cluster that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def check_room(resources: Resources) -> None:
    """Raise SpecError where a trial is larger than this cluster, which does not grow."""
    have = ray.cluster_resources()
    for kind, needs in (("CPU", resources.cpus), ("GPU", resources.gpus)):
        if needs > have.get(kind, 0):
            raise SpecError(
                f"resources: a trial of workers: {resources.workers} needs {needs:g} {kind}s, and "
                f"this machine has {have.get(kind, 0):g}; it would wait for ever"
            )


def run(
    trials: Sequence[Trial],
    resources: Resources,
    trial: Mapping[str, Any],
    *,
    comparisons: Mapping[str, Sequence[Any]],
    ray_storage: str,
    report: Report,
    stop: Callable[[], bool],
) -> list[str]:
    """Run all trials, or until `stop` returns True. Returns the errors of trials as text.

    `trial` are the arguments of `ray_worker.train_replicates` beside the replicates, `comparisons`
    the comparisons by replicate id; `report` gets the messages of all trials.
    """
    limit = resources.max_concurrent_trials
    concurrent = slots(resources) + 1 if limit == "auto" else limit
    settings = {
        "trial": dict(trial),
        "ray_storage": ray_storage,
        "workers": resources.workers,
        "cpus": resources.cpus_per_worker,
        "gpus": resources.gpus_per_worker,
    }
    payloads = [trial.payload(comparisons) for trial in trials]
    trainable = tune.with_parameters(tune_trial, trials=payloads, settings=settings)
    tuner = tune.Tuner(
        tune.with_resources(trainable, _beside_the_driver()),
        tune_config=tune.TuneConfig(
            search_alg=TrialQueue(trials),
            num_samples=len(trials),
            max_concurrent_trials=concurrent,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=ray_storage,
            verbose=0,
            stop=_Stop(stop),
            callbacks=[_Relay(report)],
            failure_config=tune.FailureConfig(max_failures=2),
        ),
    )
    return [str(error) for error in tuner.fit().errors]


def _beside_the_driver() -> tune.PlacementGroupFactory:
    """Resources of a trial's actor, on the driver's node: Train places its controller there too.

    Then the death of another node ends no trial: workers start again elsewhere.
    """
    node = {_NODE_ID: ray.get_runtime_context().get_node_id()}
    return tune.PlacementGroupFactory([_ACTOR_RESOURCES], bundle_label_selector=[node])


def align(
    requests: list[dict[str, Any]],
    resources: Resources,
    store: str,
    code: Mapping[str, Any],
    check: Callable[[], object],
) -> list[Any]:
    """Compare networks on all slots: for each of `requests` its rows, or its error as text.

    `requests` are arguments of `comparison.make`; `code` are the arguments of
    `ray_worker.align_networks` that name the expected code. `check` is called twice a second, and
    an exception from it ends all.
    """
    task = ray.remote(num_cpus=resources.cpus_per_worker, num_gpus=resources.gpus_per_worker)
    count = min(slots(resources), len(requests))
    parts = [requests[at::count] for at in range(count)]
    making = [task(align_networks).remote(part, store, **code) for part in parts]
    while len(ray.wait(making, num_returns=count, timeout=_LOOK_SECONDS)[0]) < count:
        check()
    done = ray.get(making)
    return [done[index % count][index // count] for index in range(len(requests))]


class TrialQueue(Searcher):  # type: ignore[misc]
    """Gives Tune the trials of a plan, each once the guides it needs have ended."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        super().__init__()
        self._holds = [{r.id for r in trial.replicates} for trial in trials]
        held = set().union(*self._holds)
        self._requires = [trial.requires & held for trial in trials]
        self._waiting = list(range(len(trials)))
        self._running: dict[str, int] = {}
        self._ended: set[str] = set()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial that may start, None while all wait, FINISHED when none is left."""
        if not self._waiting:
            finished: str = Searcher.FINISHED
            return finished
        for index in self._waiting:
            if self._requires[index] <= self._ended:
                self._waiting.remove(index)
                self._running[trial_id] = index
                return {"trial": index}
        return None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:  # noqa: ARG002
        """Note the replicates that have ended."""
        for message in _messages(result):
            if isinstance(message, Ended):
                self._ended.add(message.replicate_id)

    def on_trial_complete(self, trial_id: str, *_result: Any, **_more: Any) -> None:
        """Count the replicates of an ended trial as ended: none waits for one that died."""
        if trial_id in self._running:
            self._ended |= self._holds[self._running[trial_id]]

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: a new run plans anew from the store."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class _Stop(tune.Stopper):  # type: ignore[misc]
    """Ends all trials when the driver's `stop` returns True."""

    def __init__(self, stop: Callable[[], bool] | None) -> None:
        self._stop = stop

    def __getstate__(self) -> dict[str, Any]:
        # As for `_Relay`.
        return {"_stop": None}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        """Whether this trial ends."""
        return self.stop_all()

    def stop_all(self) -> bool:
        """Whether all trials end."""
        return self._stop is not None and self._stop()


class _Relay(tune.Callback):  # type: ignore[misc]
    """Passes messages of trials to the driver."""

    def __init__(self, report: Report | None) -> None:
        self._report = report

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles callbacks into its experiment state; the report holds threads and clients.
        return {"_report": None}

    def on_trial_result(self, *_trial: Any, result: dict[str, Any], **_info: Any) -> None:
        """Pass on the progress of a trial's replicates."""
        if self._report is not None:
            for message in _messages(result):
                self._report(message)


def _messages(result: Mapping[str, Any]) -> Iterator[Message]:
    return map(decode, result.get("progress", ()))
