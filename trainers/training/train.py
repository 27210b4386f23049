"""Training a replicate: from a condition and a seed to a trained network.

The same call gives the same numbers in a notebook, in a test and in a Ray worker.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch

from trainers import architectures, controls, mappings, tasks
from trainers.architectures import Network
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guide
from trainers.controls import FeatureSource, SourceContext
from trainers.guides import disk_cache, pretrained
from trainers.guides.frozen import FrozenGuide, untrained
from trainers.messages import Report, silent
from trainers.parallel.workers import ALONE, Workers
from trainers.registry import Component, derived
from trainers.runtime.devices import default_device
from trainers.runtime.precision import Precision
from trainers.runtime.streams import Streams, isolated
from trainers.store import checkpoint
from trainers.store.checkpoint import EACH_REPORT, CheckpointEvery
from trainers.store.lease import Lease
from trainers.store.store import HISTORY, Replicate, Store
from trainers.store.tables import History
from trainers.tasks import Task
from trainers.training import named
from trainers.training.loop import Result, Run, streams_of
from trainers.training.saving import Saver

__all__ = ["Result", "follow", "guide_source", "guided_steps", "load", "train", "train_held"]


def train(
    condition: Condition | Mapping[str, Any],
    *,
    seed: int = 0,
    store: str | os.PathLike[str] | None = None,
    checkpoint_every: CheckpointEvery = EACH_REPORT,
    report: Report = print,
) -> Result:
    """Train one replicate, `condition` with `seed`, and return it.

    A condition may be written by names and mappings, as in a spec (see `named.condition`).
    With a store, a finished replicate is loaded and a half-trained one resumed; a trained guide
    comes from it, or is trained into it first. Without one, a trained guide is trained first, in
    memory. Weights of a pretrained guide come from the store, else from their file or publisher.
    `report` gets what was measured at a step (`messages.Measured`) once the store holds it. How
    often a checkpoint is written changes nothing else. Raises DivergedError when the loss is not
    finite, LeasedError when another process trains this replicate, CorruptError when the store's
    files of it are damaged.
    """
    if isinstance(condition, Mapping):
        condition = named.condition(condition)
    if store is None:
        with isolated(condition.train.threads):
            run = _run(condition, seed, None, report)
            run.fit()
            return run.finish(None)
    place = Store(store)
    replicate = place.replicate_of(condition, seed)
    if replicate.result() is not None:
        return _finished(replicate, condition)
    with Lease(replicate.folder) as lease:
        saver = Saver(replicate, checkpoint_every, lease.check)
        return train_held(condition, seed, place, report, saver)


def train_held(
    condition: Condition,
    seed: int,
    store: Store,
    report: Report,
    saver: Saver,
    workers: Workers = ALONE,
) -> Result:
    """`train` into a store, of a replicate that is not finished, under a lease on its folder.

    `saver` checks the lease before it writes. Raises StopRequestedError where it says so.

    Of several workers the leader calls it while the others `follow`. Raises LeasedError, and writes
    nothing more, when the lease is lost; PeerError when another worker fails.
    """
    replicate = store.replicate_of(condition, seed)
    with isolated(condition.train.threads):
        with _joined(workers):
            run = _run(condition, seed, store.uri, report, workers)
            replicate.begin(condition, seed)
            run.fit(saver)
        saver.check()
        return run.finish(replicate)


def follow(condition: Condition, seed: int, store: Store, workers: Workers) -> None:
    """Train with the leader, from the checkpoint that it starts from; writes nothing.

    Raises PeerError when another worker fails.
    """
    with isolated(condition.train.threads), _joined(workers):
        run = _run(condition, seed, store.uri, silent, workers)
        run.fit(Saver(store.replicate_of(condition, seed), write=False, alone=False))


@contextmanager
def _joined(workers: Workers) -> Iterator[None]:
    """Work of all workers, after which they keep the same guides."""
    try:
        with workers.synchronized():
            yield
    except BaseException:
        if workers.world_size > 1:
            # Each may have got to another point: what one keeps, another would wait to share.
            _frozen_guide.cache_clear()
        raise


def load(store: str | os.PathLike[str], replicate_id: str) -> Network:
    """The trained network of a finished replicate, in evaluation mode.

    Raises FileNotFoundError when the store has no finished replicate of this id, ValueError when
    its network or task is of a user's module that is not imported.
    """
    replicate = Store(store).replicate(replicate_id)
    if replicate.result() is None:
        raise FileNotFoundError(f"{replicate.folder.uri}: no finished replicate")
    return _network(replicate, replicate.condition())


def _run(
    condition: Condition, seed: int, store: str | None, report: Report, workers: Workers = ALONE
) -> Run:
    guided = condition.guidance is not None
    source = guide_source(condition, seed, store, workers=workers) if guided else None
    run = Run(condition, seed, source, report, workers)
    if condition.weights is not None:
        pretrained.load_into(run.network, condition.weights, store)
    return run


def guide_source(
    condition: Condition,
    seed: int,
    store: str | None,
    *,
    keep: bool = True,
    workers: Workers = ALONE,
) -> FeatureSource:
    """The features that guide a condition, its control applied.

    Without `keep`, a guide of streamed data runs in every step, whatever other runs left.
    """
    assert condition.guidance is not None
    guidance = condition.guidance
    control = controls.of(guidance)
    task = tasks.build(condition.task)
    streams = streams_of(condition, seed)
    taps = mappings.taps_of(guidance.distance)
    if not control.runs_guide:
        blueprint = architectures.blueprint(guidance.guide.architecture, task.input, task.output)
        shown = taps or blueprint.taps
        return control.source(SourceContext(task=task, taps=shown, streams=streams))
    threads = torch.get_num_threads()
    # A pretrained guide is one for all seeds.
    own = seed if guidance.guide.weights is None else 0
    guide = _frozen_guide(
        condition.task, guidance.guide, own, store, threads, taps, condition.train.precision,
        workers,
    )  # fmt: skip
    streamed = None
    if keep and control.sees_inputs:
        steps = guided_steps(condition, task.num_train)
        streamed = guide.streamed_features(streams, condition.train.batch_size, steps)
    inputs = control.cache_inputs(task, streams)
    cached = disk_cache.cached_for(guide, condition, seed, inputs, store)
    return control.source(
        SourceContext(
            task=task, taps=guide.taps, streams=streams,
            guide=guide, streamed=streamed, cached=cached,
        )
    )  # fmt: skip


def guided_steps(condition: Condition, num_train: int | None) -> int:
    """Training steps in which a guide takes part, on `num_train` examples (None: streamed)."""
    if condition.guidance is None:
        return 0
    return condition.guidance.schedule.guided_steps(condition.train.num_steps(num_train))


@derived
@lru_cache(maxsize=2)
def _frozen_guide(
    task: Component,
    guide: Guide,
    seed: int,
    store: str | None,
    threads: int,  # noqa: ARG001  part of the key: it decides the last bits of the features
    taps: tuple[str, ...] | None,
    precision: Precision,
    workers: Workers,
) -> FrozenGuide:
    """The guide of a seed; kept, so that packed replicates share its features."""
    built = tasks.build(task)
    if guide.weights is not None:
        network = _unfilled(guide.architecture, built)
        pretrained.load_into(network, guide.weights, store)
    elif guide.train is None:
        streams = Streams("guide", task, guide.architecture, seed)
        network = untrained(guide, built, streams, loaders=workers.loaders)
    else:
        condition = Condition(role="guide", task=task, target=guide.architecture, train=guide.train)
        network = train(condition, seed=seed, store=store, report=silent).network
    return FrozenGuide(
        network,
        built,
        default_device(),
        taps=taps,
        coupled=guide.batch_norm == "batch",
        precision=precision,
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
    """A network whose weights are about to be replaced."""
    with torch.random.fork_rng(devices=[]):
        return architectures.build(architecture, task.input, task.output)
