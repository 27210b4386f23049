"""Training under Ray, in this module alone: a Tune trial that is a Ray Train worker group."""

from __future__ import annotations

import sys
import threading
import time
import traceback
import uuid
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from trainers.conditions.encoding import from_json
from trainers.errors import UserError
from trainers.extensions.code_digest import ForeignCodeError, check_sources
from trainers.messages import Aborted, Ended, Message, encode
from trainers.secrets import masked

if TYPE_CHECKING:
    from trainers.parallel.workers import Workers
    from trainers.trial.ray_trainer import Trainer

#: Seconds between reports to Tune: Train's controller takes one report a poll, and a worker that
#: reports faster than that would wait for it.
REPORT_SECONDS = 4.0
#: Environment of every process of a trial.
WORKER_ENVIRONMENT = {
    "RAY_TRAIN_V2_ENABLED": "1",
    # A trial may start while another still holds the resources that it will get.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(7 * 24 * 3600),
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": str(REPORT_SECONDS / 2),
    # Saves a process per trial: the store holds checkpoints, with or without a warning.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # Workers without a GPU see none; otherwise all of them would train on the first GPU.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}


def tune_trial(
    config: dict[str, Any], trials: list[list[dict[str, Any]]], settings: dict[str, Any]
) -> None:
    """A Tune trial: train the replicates of `trials[config["trial"]]` in Ray Train workers.

    `settings` holds `ray_storage`, `workers`, `cpus` and `gpus` (per worker), and under `trial` the
    keys of `train_replicates` other than `replicates` and `loaders`. Workers that cannot be set up
    at all (no NCCL, a broken environment) are failures of the replicates that they would train.
    """
    from ray import tune
    from ray.train import ControllerError

    from trainers.trial.ray_failures import begun, failed_to_start, is_of_the_machine

    replicates = trials[config["trial"]]
    store, run = settings["trial"]["store"], settings["trial"]["run"]
    ids = [entry["id"] for entry in replicates]
    trainer = _trainer(replicates, settings)
    try:
        trainer.fit()
    except ControllerError as error:
        if begun(store, run, ids) or is_of_the_machine(error):
            raise
        ended = failed_to_start(store, ids, error)
        tune.report({"progress": [encode(message) for message in ended]})


def _trainer(replicates: list[dict[str, Any]], settings: dict[str, Any]) -> Trainer:
    """Ray Train's trainer of the replicates of one trial; `settings` are those of `tune_trial`."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig
    from ray.tune.integration.ray_train import TuneReportCallback

    from trainers.parallel.process_group import STEP_SECONDS
    from trainers.store.store import MAX_STARTS
    from trainers.trial.ray_failures import CountFaults
    from trainers.trial.ray_trainer import Trainer

    trial, cpus, gpus = settings["trial"], settings["cpus"], settings["gpus"]
    resources = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    count_faults = CountFaults(trial["store"], trial["run"], [entry["id"] for entry in replicates])
    return Trainer(
        train_replicates,
        train_loop_config=trial | {"replicates": replicates, "loaders": loaders_of(cpus)},
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=int(STEP_SECONDS)),
        scaling_config=ScalingConfig(
            num_workers=settings["workers"], use_gpu=gpus > 0, resources_per_worker=resources
        ),
        run_config=RunConfig(
            # A new name, because the store resumes replicates, and Ray must not.
            name=f"trial-{uuid.uuid4().hex}",
            storage_path=settings["ray_storage"],
            callbacks=[TuneReportCallback(), count_faults],
            # The store counts what counts; Train only has to go on for as long. Nodes that say
            # beforehand that they go have no limit.
            failure_config=FailureConfig(
                max_failures=MAX_STARTS * len(replicates), controller_failure_limit=MAX_STARTS
            ),
        ),
    )


def loaders_of(cpus: float) -> int:
    """Number of processes that make lazy inputs for a worker with `cpus`: one less than these."""
    return max(0, int(cpus) - 1)


def train_replicates(config: dict[str, Any]) -> None:
    """A Train worker: train the trial's replicates in turn, and report progress to Tune.

    `config` holds `replicates` (condition, seed, id, comparisons, and whether its test split is
    scored at `best_validation`, too), `store`, `run`, `provenance` and `checkpoint_every` (see
    `trial.TrialContext`), `sources`, the digest of the driver's code, `imports`, the user's modules
    (see `user_modules.require`), `traced`, the id of a replicate to profile or None, and `loaders`,
    the number of processes that make lazy inputs for a worker. Errors that concern the whole study
    (other code or data than the driver's, a store that cannot be written) are reported as
    `Aborted`. A worker that loses the others raises, and Train restarts all of them.
    """
    from trainers.parallel import process_group

    workers = process_group.connected(config["loaders"])
    if workers.is_main:
        _lead(config, workers)
    else:
        _follow(config, workers)


def _lead(config: dict[str, Any], workers: Workers) -> None:
    from trainers.parallel.workers import BrokenGroupError
    from trainers.store.checkpoint import CheckpointEvery
    from trainers.store.folder import StorageError
    from trainers.store.store import Store
    from trainers.training.saving import StopRequestedError
    from trainers.trial.trial import TrialContext, run_trial

    replicates = [(from_json(entry["condition"]), entry["seed"]) for entry in config["replicates"]]
    ids = [entry["id"] for entry in config["replicates"]]
    progress = BatchedReports(
        workers, [i for i, (c, _) in zip(ids, replicates, strict=True) if c.role == "guide"]
    )
    context = TrialContext(
        store=config["store"], report=progress.add, run=config["run"],
        provenance=config["provenance"], workers=workers,
        stop=lambda: Store(config["store"]).stop_requested(config["run"]),
        checkpoint_every=CheckpointEvery(**config["checkpoint_every"]),
        comparisons={entry["id"]: entry["comparisons"] for entry in config["replicates"]},
        best_validation={e["id"] for e in config["replicates"] if e["best_validation"]},
        traced=config["traced"],
    )  # fmt: skip
    try:
        with workers.synchronized():
            _check(config)
        run_trial(replicates, context)
    except BrokenGroupError:
        raise
    except StopRequestedError:
        # The driver waits for the trial to end, not for further messages.
        pass
    except Exception as error:
        # Not raised, because Train would restart the workers as often as processes may die.
        cause = f"{type(error).__name__}: {error}"
        is_of_the_program = not isinstance(error, UserError | ForeignCodeError | StorageError)
        trace = traceback.format_exc() if is_of_the_program else ""
        progress.add(Aborted(error=cause, traceback=trace))
    progress.flush()
    workers.signal(last=True)


def _follow(config: dict[str, Any], workers: Workers) -> None:
    from trainers.parallel.workers import BrokenGroupError
    from trainers.trial.ray_failures import note_crashes
    from trainers.trial.trial import follow_trial

    echo = threading.Thread(target=_echo, args=(workers,), name="reports", daemon=True)
    echo.start()
    try:
        with workers.synchronized():
            _check(config)
            # Before the leader counts the next start; it may be on another machine.
            note_crashes(
                config["store"], config["run"], [each["id"] for each in config["replicates"]]
            )
    except BrokenGroupError:
        raise
    except Exception:
        # The leader knows the error from the meeting, and reports it.
        print(masked(traceback.format_exc()), file=sys.stderr)
    else:
        follow_trial(config["store"], workers)
    echo.join()


def _check(config: dict[str, Any]) -> None:
    """Raise unless this process has the driver's store, and its code and data."""
    from trainers.store.store import Store
    from trainers.trial.trial import check_data, check_store

    check_store(Store(config["store"]), config["run"])
    _prepare(config["sources"], config["imports"])
    check_data(
        [(from_json(entry["condition"]), entry["seed"], entry["id"])
         for entry in config["replicates"]]
    )  # fmt: skip


class BatchedReports:
    """The leader's reports to Tune, batched to one every `REPORT_SECONDS`.

    The end of a guide, one of the ids `guides`, is reported at once: other trials wait for it, and
    the next report may come only after comparisons.
    """

    def __init__(self, workers: Workers, guides: Collection[str]) -> None:
        self._workers, self._guides = workers, guides
        self._pending: list[Message] = []
        self._last = time.monotonic()

    def add(self, message: Message) -> None:
        """Report a message, now or with a later one."""
        self._pending.append(message)
        guide_ended = isinstance(message, Ended) and message.replicate_id in self._guides
        if guide_ended or time.monotonic() - self._last >= REPORT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Report all pending messages."""
        import ray.train

        if self._pending:
            self._workers.signal()
            ray.train.report({"progress": [encode(message) for message in self._pending]})
        self._pending, self._last = [], time.monotonic()


def _echo(workers: Workers) -> None:
    """Send an empty report whenever the leader reports: Train waits for reports of all workers.

    Runs on a separate thread, because the leader reports at any point of the others' work.
    """
    import ray.train

    from trainers.parallel.workers import BrokenGroupError

    # If the leader is gone, Train ends this process too.
    with suppress(BrokenGroupError):
        for _ in workers.signals():
            ray.train.report({"progress": []})


def _prepare(sources: str, imports: list[dict[str, Any]]) -> None:
    """Check the sources, and import the user's modules, of the driver; raises ForeignCodeError."""
    from trainers.extensions.user_modules import require

    check_sources(sources)
    require(imports)


def align_networks(
    requests: list[dict[str, Any]], store: str, sources: str, imports: list[dict[str, Any]]
) -> list[Any]:
    """A Ray task: call `comparison.make` for each of `requests`, its arguments beside the store.

    Returns rows, or the text of an exception, for each request.
    """
    from trainers.comparison import Sides, make

    _prepare(sources, imports)
    found: list[Any] = []
    sides = Sides()
    for request in requests:
        try:
            found.append(make(store, **request, sides=sides))
        except Exception as error:
            found.append(masked(f"{type(error).__name__}: {error}"))
    return found
