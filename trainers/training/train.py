"""Training a replicate: from a condition and a seed to a trained network.

The same call gives the same numbers in a notebook, in a test and in a Ray worker.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from trainers import architectures, controls, mappings, tasks
from trainers.architectures import ARCHITECTURES, Network
from trainers.architectures.forward_pass import tap_shapes
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Term
from trainers.controls import FeatureSource, SourceContext
from trainers.guides import disk_cache, pretrained
from trainers.guides.features import Cached, NoCache
from trainers.guides.frozen import FrozenGuide, untrained
from trainers.guides.pool import GuideKey, GuidePool
from trainers.messages import Report, silent
from trainers.parallel.workers import ALONE, Workers
from trainers.registry import Component
from trainers.runtime.devices import default_device
from trainers.runtime.streams import Streams, isolated
from trainers.store import checkpoint
from trainers.store.checkpoint import EACH_REPORT, CheckpointEvery
from trainers.store.lease import Lease
from trainers.store.store import HISTORY, Replicate, Store
from trainers.store.tables import History
from trainers.tasks import TASKS, Task
from trainers.training import named
from trainers.training.loop import Run
from trainers.training.result import Result
from trainers.training.saving import Saver
from trainers.training.setup import RunSetup
from trainers.training.trace import tracing, untraced

__all__ = ["Result", "follow", "guide_sources", "load", "run_of", "train", "train_held"]


def train(
    condition: Condition | Mapping[str, Any],
    *,
    seed: int = 0,
    store: str | os.PathLike[str] | None = None,
    checkpoint_every: CheckpointEvery = EACH_REPORT,
    report: Report = print,
    guides: GuidePool | None = None,
    best_validation: bool = False,
) -> Result:
    """Train one replicate, `condition` with `seed`, and return it.

    With a store, a finished replicate is loaded and a half-trained one resumed; a trained guide is
    loaded from it, or trained into it first. Without one, a trained guide is trained first, in
    memory. Weights of a pretrained guide come from the store, else from their file or publisher.

    Args:
        condition: keys of a spec's block, each with one value: a task, a target, settings of
            training, and of guidance what there is; or a condition that was made already.
        seed: the number from which every random stream follows, from 0 on.
        store: folder or bucket URI that keeps the replicate; None keeps nothing.
        checkpoint_every: how often a checkpoint is written; does not change the result.
        report: called with the step and its metrics (`Measured`) once the store holds them.
        guides: features of guides that several calls share, each computed once.
        best_validation: whether the test split is also scored at each report that has the best
            validation so far (`test_at_best/` in the history); does not change the result.

    Raises UserError for a mistake in condition or seed, DivergedError if the loss is not finite,
    LeasedError if another process trains this replicate, CorruptError if its files in the store are
    damaged.
    """
    if isinstance(condition, Mapping):
        condition = named.condition(condition)
    seed = named.seed(seed)
    guides = GuidePool() if guides is None else guides
    if store is None:
        with isolated(condition.train.threads):
            setup = RunSetup.of(condition, seed, best_validation=best_validation)
            run = run_of(setup, None, report, guides)
            run.fit()
            return run.finish()
    place = Store(store)
    replicate = place.replicate_of(condition, seed)
    if replicate.result() is not None:
        return _finished(replicate, condition)
    with Lease(replicate.folder) as lease:
        saver = Saver(replicate, checkpoint_every, lease.check)
        return train_held(
            condition, seed, place, report, saver, guides, best_validation=best_validation
        )


def train_held(
    condition: Condition,
    seed: int,
    store: Store,
    report: Report,
    saver: Saver,
    guides: GuidePool,
    workers: Workers = ALONE,
    *,
    best_validation: bool = False,
    trace: bool = False,
) -> Result:
    """Train an unfinished replicate into a store; the caller holds the lease on its folder.

    With `trace` some of its steps are profiled, into the store (see `trace.tracing`).
    `saver` checks the lease before each write. With several workers the leader calls it while the
    others `follow`; their pools hold the same guides, before and, unless it raises, after the call.
    Raises StopRequestedError if `saver` is to stop, LeasedError, without writing any more, if the
    lease is lost, PeerError if another worker fails, and as `train` does.
    """
    replicate = store.replicate_of(condition, seed)
    with isolated(condition.train.threads):
        with workers.synchronized():
            setup = RunSetup.of(
                condition, seed, workers, best_validation=best_validation,
                tracing=tracing(store, replicate.id, report) if trace else untraced,
            )  # fmt: skip
            run = run_of(setup, store.uri, report, guides)
            replicate.begin(condition, seed)
            replicate.sweep()
            run.fit(saver)
        return run.finish(saver)


def follow(
    condition: Condition, seed: int, store: Store, guides: GuidePool, workers: Workers
) -> None:
    """Train with the leader, from the same checkpoint; writes nothing.

    Raises PeerError if another worker fails.
    """
    with isolated(condition.train.threads), workers.synchronized():
        run = run_of(RunSetup.of(condition, seed, workers), store.uri, silent, guides)
        run.fit(Saver(store.replicate_of(condition, seed), workers=workers))


def load(store: str | os.PathLike[str], replicate_id: str) -> Network:
    """The trained network of a finished replicate, in evaluation mode.

    Raises FileNotFoundError if the store has no finished replicate of this id, UserError if its
    network or task is of a user's module that is not imported, CorruptError if files are damaged.
    """
    replicate = Store(store).replicate(replicate_id)
    if replicate.result() is None:
        raise FileNotFoundError(f"{replicate.folder.uri}: no finished replicate")
    return _network(replicate, replicate.condition())


def run_of(setup: RunSetup, store: str | None, report: Report, guides: GuidePool) -> Run:
    """The run of a replicate before its first step, with guides and weights from a store's URI."""
    run = Run(setup, guide_sources(setup, store, guides), report)
    rival = setup.condition.rival
    weights = setup.condition.weights if rival is None else rival.weights
    if weights is not None:
        pretrained.load_into(run.network, weights, store)
    return run


def guide_sources(
    setup: RunSetup, store: str | None, guides: GuidePool, *, keep: bool = True
) -> list[FeatureSource]:
    """The feature source of each term of a replicate: its control, and its guide from the pool.

    Without `keep`, features of streamed batches are not cached: the guides run in every step.
    """
    guides.hold(len(setup.condition.terms))
    return [_source(term, setup, store, guides, keep=keep) for term in setup.condition.terms]


def _source(
    term: Term, setup: RunSetup, store: str | None, guides: GuidePool, *, keep: bool
) -> FeatureSource:
    condition, task, streams = setup.condition, setup.task, setup.streams
    guidance, control = condition.guidance, controls.of(term)
    assert guidance is not None
    if not control.runs_guide:
        architecture = term.guide.architecture
        network = architectures.build_on_meta(architecture, task.input, task.output)
        guide_taps = mappings.taps_of(term.distance) or network.taps
        shapes = partial(tap_shapes, architecture, task.input, task.output, guide_taps)
        return control.source(
            SourceContext(
                task=task, taps=guide_taps, streams=streams, rows=term.rows, shapes=shapes
            )
        )
    guide = _shared_guide(term, setup, store, guides)
    streamed = None
    if keep and control.sees_inputs and control.cacheable:
        steps = guidance.schedule.guided_steps(condition.train_steps(task.num_train))
        streamed = guide.streamed_features(streams, condition.train.batch_size, steps)
    inputs = control.cache_inputs(task, streams)
    cached: Cached | None = NoCache()
    if control.cacheable:
        cached = disk_cache.cached_for(guide, condition, term, setup.seed, inputs, store)
    return control.source(
        SourceContext(
            task=task, taps=guide.taps, streams=streams, rows=term.rows,
            shapes=lambda: guide.output_shapes, guide=guide, streamed=streamed, cached=cached,
        )
    )  # fmt: skip


def _shared_guide(term: Term, setup: RunSetup, store: str | None, guides: GuidePool) -> FrozenGuide:
    key = GuideKey(
        task=setup.condition.task,
        guide=term.guide,
        # A pretrained guide is the same for all seeds.
        seed=setup.seed if term.guide.weights is None else 0,
        data_seed=setup.task.data_seed,
        threads=torch.get_num_threads(),
        taps=mappings.taps_of(term.distance),
        precision=setup.condition.train.precision,
        entries=(
            ARCHITECTURES[term.guide.architecture.name],
            TASKS[setup.condition.task.name],
        ),
        store=store,
        device=str(default_device()),
    )
    trained = setup.condition.guide_condition(term)
    return guides.guide(key, lambda: _frozen_guide(key, trained, setup, store))


def _frozen_guide(
    key: GuideKey, trained: Condition | None, setup: RunSetup, store: str | None
) -> FrozenGuide:
    guide, workers = key.guide, setup.workers
    if guide.weights is not None:
        network = _unfilled(guide.architecture, setup.task)
        pretrained.load_into(network, guide.weights, store)
    elif trained is not None:
        network = train(trained, seed=key.seed, store=store, report=silent).network
    else:
        streams = Streams("guide", key.task, guide.architecture, key.seed)
        network = untrained(guide, setup.task, streams, loaders=workers.loaders)
    return FrozenGuide(
        network,
        setup.task,
        default_device(),
        taps=key.taps,
        coupled=guide.batch_norm == "batch",
        precision=key.precision,
        workers=workers,
    )


def _finished(replicate: Replicate, condition: Condition) -> Result:
    summary = replicate.result()
    assert summary is not None
    return Result(
        replicate_id=replicate.id,
        network=_network(replicate, condition),
        metrics=dict(summary.metrics),
        history=History.from_parquet(replicate.id, replicate.read(HISTORY)),
        steps=summary.steps,
        train_seconds=summary.train_seconds,
    )


def _network(replicate: Replicate, condition: Condition) -> Network:
    network = _unfilled(condition.target, tasks.build(condition.task))
    network.load_state_dict(checkpoint.load_final(replicate))
    return network.to(default_device()).eval()


def _unfilled(architecture: Component, task: Task) -> Network:
    """A network whose weights are about to be loaded; leaves the global generators unchanged."""
    with torch.random.fork_rng(devices=[]):
        return architectures.build(architecture, task.input, task.output)
