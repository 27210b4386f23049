"""Reads a study from MLflow, where there is no store: its plan, runs and artifacts."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis.artifacts import Artifacts, Home
from analysis.cells import records
from analysis.collect import Collected, Outcome, Planned, Survey, assemble
from analysis.contract import (
    ALIGNMENTS,
    GUIDE_TAPS,
    PLAN,
    TABLES_TAG,
    TEST,
    VALIDATION,
    Status,
)
from analysis.errors import UserError, unknown
from analysis.measured import TABLES, Kept, Source
from analysis.metric_names import escaped, unescaped
from analysis.parquet_files import decode
from trainers.secrets import masked

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RUNS_PER_PAGE = 1000

_LARGEST = sys.float_info.max


def collect(study: str, client: MlflowClient, home: Home | None = None) -> Collected:
    """Read a study's runs and their artifacts; arguments and errors are those of `survey`."""
    return assemble(survey(study, client, home))


def survey(study: str, client: MlflowClient, home: Home | None = None) -> Survey:
    """See how a study's replicates ended; artifacts are looked for in `home` too.

    Rows of a replicate are read from the tables of the study's run, where these are whole and its
    rows of the same training, else from the replicate's own.

    Raises UserError when there is no such study or it has no plan, when the plan was written by a
    newer archprior, and when a run has a test metric whose direction the plan does not know.
    """
    runs = _all_runs(study, client)
    parent = _parent(study, runs)
    artifacts = Artifacts(client, home)
    table = artifacts.table(parent, PLAN)
    if table is None:
        raise UserError(f"run {parent.info.run_id} of study {study!r} has no {PLAN}")
    planned = Planned.of(table, f"{PLAN} of study {study!r}")
    used = _newest_runs(runs, planned.ids, "replicate")
    _check_metrics(used.values(), planned)
    outcomes = {
        name: Outcome(status=_status(run), validation=validation_metrics(run, planned.metrics))
        for name, run in _newest_runs(runs, planned.candidate_ids, "candidate").items()
    }
    outcomes |= {name: outcome_of(run, planned.metrics) for name, run in used.items()}
    ended = [name for name, run in used.items() if _status(run) in (Status.finished, Status.failed)]
    wanted = ("replicates", *TABLES) if TABLES_TAG in parent.data.tags else ()
    kept, trained = _kept(artifacts.contents(parent, "tables", wanted))
    sources = []
    for name in ended:
        keys = kept.keys(name) if trained.get(name) == _training(outcomes[name]) else {}
        own = " ".join(map(str, (*_training(outcomes[name]), used[name].info.end_time)))
        sources.append(Source(name, keys or dict.fromkeys(TABLES, own)))
    return Survey(
        plan=table,
        planned=planned,
        outcomes=outcomes,
        sources=sources,
        compared=artifacts.table(parent, ALIGNMENTS),
        guide_taps=artifacts.table(parent, GUIDE_TAPS),
        read=lambda part: artifacts.tables([used[each.replicate_id] for each in part]),
        kept=lambda: kept,
    )


def _kept(contents: Mapping[str, bytes]) -> tuple[Kept, dict[str, tuple[Any, ...]]]:
    """Rows in the tables of a study's run, and the training that each replicate has there."""
    try:
        rows = decode(contents["replicates"], "replicates", "replicates")
    except (KeyError, UserError):
        return Kept({}), {}
    return Kept(contents), {
        row["replicate_id"]: (row["run_id"], row["train_seconds"], row["steps"])
        for row in records(rows)
    }


def _training(outcome: Outcome) -> tuple[Any, ...]:
    """Facts that tell a training from another one of the same replicate."""
    return outcome.run_id, outcome.train_seconds, outcome.steps


def parent_run(study: str, client: MlflowClient) -> Run:
    """A study's own run; raises UserError where MLflow has none."""
    return _parent(study, _all_runs(study, client, "tags.`archprior.kind` = 'study'"))


def _parent(study: str, runs: Iterable[Run]) -> Run:
    parents = [run for run in runs if run.data.tags.get("archprior.kind") == "study"]
    if not parents:
        raise UserError(f"experiment {study!r} has no run of a study: run the study first")
    return max(parents, key=lambda run: run.info.start_time)


def _all_runs(study: str, client: MlflowClient, chosen: str = "") -> list[Run]:
    experiment = client.get_experiment_by_name(study)
    if experiment is None or experiment.lifecycle_stage != "active":
        names = [known.name for known in client.search_experiments()]
        raise unknown("study in MLflow:", study, (name for name in names if name != "Default"))
    return list(runs_in(experiment.experiment_id, client, chosen))


def runs_in(experiment: str, client: MlflowClient, chosen: str = "") -> Iterator[Run]:
    """All runs in the experiment of an id that `chosen`, a filter of MLflow, takes; page by page.

    Errors are those of MLflow.
    """
    token = None
    while True:
        page = client.search_runs([experiment], chosen, max_results=RUNS_PER_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _status(run: Run | None) -> str:
    status = Status.missing if run is None else run.data.tags.get("archprior.status")
    return str(status) if status in tuple(Status) else Status.missing


def _newest_runs(runs: Iterable[Run], used: Sequence[str], kind: str) -> dict[str, Run]:
    """The run of each replicate of a kind that has one, in the order of `used`.

    Of several runs the newest finished one counts, else the newest.
    """
    found: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: (_status(run) == Status.finished, run.info.start_time)):
        replicate = run.data.tags.get("archprior.replicate_id")
        if replicate is not None and run.data.tags.get("archprior.kind") == kind:
            found[replicate] = run
    return {replicate: found[replicate] for replicate in used if replicate in found}


def _test_metrics(run: Run, known: Iterable[str] = ()) -> dict[str, float]:
    """Final test values of a run by bare name, without infinities, MLflow's largest floats.

    A name that was too long for MLflow is recognised if it is among the `known` ones.
    """
    names = {escaped(TEST + name): name for name in known}
    return {
        names.get(name) or unescaped(name).removeprefix(TEST): value
        for name, value in run.data.metrics.items()
        if name.startswith(TEST) and _finite(value)
    }


def validation_metrics(run: Run, known: Iterable[str]) -> dict[str, float]:
    """Last validation values of a run by full name, without infinities, which are failures."""
    names = {escaped(VALIDATION + name): VALIDATION + name for name in known}
    return {
        names[name]: value
        for name, value in run.data.metrics.items()
        if name in names and _finite(value)
    }


def _finite(value: float) -> bool:
    """Whether a metric of MLflow is a number: infinities are its largest floats."""
    return math.isfinite(value) and abs(value) < _LARGEST


def _check_metrics(runs: Iterable[Run], planned: Planned) -> None:
    known = planned.metrics
    for run in runs:
        for name in _test_metrics(run, known):
            if name not in known:
                raise unknown(
                    f"test metric in run {run.info.run_id}, not in the plan:", name, known
                )


def outcome_of(run: Run, known: Iterable[str] = ()) -> Outcome:
    """The outcome of a replicate, from its run; it has test metrics if it is finished.

    A test metric is missing where its value is no number. A name that was too long for MLflow is
    recognised if it is among the `known` ones.
    """
    tags, metrics, status = run.data.tags, run.data.metrics, _status(run)
    # Earlier versions wrote it as it was raised.
    error = tags.get("archprior.error")
    return Outcome(
        status=status,
        error=None if error is None else masked(error),
        train_seconds=metrics.get("train_seconds"),
        steps=int(metrics["steps"]) if _finite(metrics.get("steps", math.nan)) else None,
        torch_version=tags.get("archprior.torch_version"),
        device=tags.get("archprior.device"),
        run_id=run.info.run_id,
        data_fingerprint=tags.get("archprior.data_fingerprint"),
        scores=_test_metrics(run, known) if status == Status.finished else None,
    )
