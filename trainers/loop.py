"""The training loop, in plain PyTorch: from a condition and a seed to a trained network.

The same call gives the same numbers in a notebook, in a test and in a Ray worker.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from trainers import architectures, checkpoint, evaluation, taps, tasks
from trainers.architectures import Network
from trainers.batches import Batches
from trainers.condition import Condition, Guide, TrainSettings, from_json, replicate_id
from trainers.guidance import GuidedLoss
from trainers.guides import FeatureSource, FrozenGuide, source_for, untrained
from trainers.lease import Lease
from trainers.records import ALIGNMENT, History, predictions_table, rows_table
from trainers.registry import Component
from trainers.reporting import Log, Report, Window
from trainers.store import WEIGHTS, Replicate, Store
from trainers.streams import Streams, isolated


@dataclass(frozen=True, kw_only=True)
class Result:
    """A trained network and how it came out; `metrics` are of the test split, after the last step.

    `train_seconds` is the wall-clock time of training, evaluation and checkpoints.
    """

    replicate_id: str
    network: Network
    metrics: dict[str, float]
    history: History
    steps: int
    train_seconds: float


def train(
    condition: Condition,
    *,
    seed: int = 0,
    store: str | os.PathLike[str] | None = None,
    report: Report = print,
) -> Result:
    """Train one replicate, `condition` with `seed`, and return it.

    With a store, a finished replicate is loaded and a half-trained one resumed; a trained guide
    comes from it, or is trained into it first. Without one, a trained guide is trained first, in
    memory. After each checkpoint `report` gets `{replicate_id, step, metrics, timestamp}`
    (milliseconds since 1970). Raises DivergedError when the loss is not finite, LeasedError when
    another process trains this replicate, CorruptError when the store's files of it are damaged.
    """
    if store is None:
        with isolated(condition.train.threads):
            run = _run(condition, seed, None, report)
            run.fit(None)
            return run.finish(None)
    place = Store(store)
    replicate = place.replicate_of(condition, seed)
    if replicate.result() is not None:
        return _finished(replicate, condition)
    with Lease(replicate.folder) as lease:
        return train_held(condition, seed, place, report, lease)


def train_held(
    condition: Condition, seed: int, store: Store, report: Report, lease: Lease
) -> Result:
    """`train` into a store, of a replicate that is not finished, under a lease on its folder.

    Raises LeasedError, and writes nothing more, when the lease is lost.
    """
    replicate = store.replicate_of(condition, seed)
    with isolated(condition.train.threads):
        run = _run(condition, seed, store.uri, report)
        replicate.begin(condition, seed)
        run.fit(replicate, lease.check)
        lease.check()
        return run.finish(replicate)


def load(store: str | os.PathLike[str], replicate_id: str) -> Network:
    """The trained network of a finished replicate, in evaluation mode.

    Raises FileNotFoundError when the store has no finished replicate of this id.
    """
    replicate = Store(store).replicate(replicate_id)
    if replicate.result() is None:
        raise FileNotFoundError(f"{replicate.folder.uri}: no finished replicate")
    return _network(replicate, from_json(replicate.described()))


def initial(condition: Condition, seed: int) -> Network:
    """The network of a replicate before its first step.

    Seeds and draws from PyTorch's global generator: call it inside `isolated`.
    """
    task = tasks.build(condition.task)
    torch.manual_seed(_streams(condition, seed).seed("init"))
    return architectures.build(condition.target, task.input, task.output)


class Run:
    """One replicate while it trains."""

    def __init__(
        self, condition: Condition, seed: int, source: FeatureSource | None, report: Report
    ) -> None:
        self.settings = condition.train
        self.task = tasks.build(condition.task)
        self.device = default_device()
        self.streams = _streams(condition, seed)
        self.network = initial(condition, seed).to(self.device)
        self.guided_loss: GuidedLoss | None = None
        if condition.guidance is not None and source is not None:
            self.guided_loss = GuidedLoss(condition.guidance, source, self.network.taps)
        self.num_steps = self.settings.num_steps(self.task.num_train)
        self.optimizer = _optimizer(self.network, self.settings)
        self.batches = Batches(self.task, self.settings, self.streams, self.device)
        self.log = Log(History(replicate_id(condition, seed)), report)
        self.window = Window()
        self.alignment: list[dict[str, Any]] = []
        self.train_seconds = 0.0
        self._cpu_started = 0.0

    def fit(
        self, replicate: Replicate | None, may_write: Callable[[], object] = lambda: None
    ) -> None:
        """Train to the last step, from the last checkpoint where the store holds one.

        `may_write` is called before each checkpoint, and raises where there must not be one.
        """
        started, self._cpu_started = time.monotonic(), time.process_time()
        self.align("initial")
        step = 0 if replicate is None else self._restore(replicate)
        started -= self.train_seconds
        report_steps = self.settings.report_steps(self.task.num_train)
        initial = self.evaluate(with_taps=True) if step == 0 else None
        pairs, guided_taps = self._pairs_and_taps()
        self.network.train()
        with taps.record(self.network, guided_taps) as outputs:
            while step < self.num_steps:
                self.window.add(self.step(step, outputs))
                outputs.clear()
                step += 1
                if initial is not None:
                    # The first batch's losses are those of the network before its first update.
                    self.log.add(0, self.window.take(pairs) | initial)
                    initial = None
                if step % report_steps == 0 or step == self.num_steps:
                    last = step == self.num_steps
                    losses = self.window.take(pairs)
                    self.log.add(step, losses | self.evaluate(with_taps=last))
                    self.train_seconds = time.monotonic() - started
                    if last:
                        # `finish` keeps the last step, and reports it then.
                        break
                    if replicate is not None:
                        may_write()
                        self._checkpoint(replicate, step)
                    self.log.flush()
        self.align("final")
        self.train_seconds = time.monotonic() - started

    def finish(self, replicate: Replicate | None) -> Result:
        """Score the test split, and write everything down, the result last."""
        logits = evaluation.predict(self.network, self.task.test.inputs, self.device)
        labels = self.task.test.labels
        metrics = self.task.score(logits, labels)
        self.log.add(self.num_steps, {f"test/{name}": value for name, value in metrics.items()})
        self.network.eval().zero_grad(set_to_none=True)
        identifier, history = self.log.history.replicate_id, self.log.history
        if replicate is not None:
            tables = {
                "history.parquet": history.to_parquet(),
                "predictions.parquet": predictions_table(identifier, labels, logits.argmax(-1)),
            }
            if self.alignment:
                rows = [{"replicate_id": identifier} | row for row in self.alignment]
                tables["alignment.parquet"] = rows_table(rows, ALIGNMENT)
            for name, content in tables.items():
                replicate.folder.write(name, content)
            checkpoint.save_final(replicate, self.network)
            replicate.finish(self._summary(metrics), [*tables, WEIGHTS])
            checkpoint.drop_all_but_final(replicate)
        self.log.flush()
        return Result(
            replicate_id=identifier,
            network=self.network,
            metrics=metrics,
            history=history,
            steps=self.num_steps,
            train_seconds=self.train_seconds,
        )

    def step(self, step: int, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """One optimisation step; returns its losses, and distances by pair, detached."""
        batch = self.batches[step]
        torch.manual_seed(self.streams.seed("dropout", step))
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * _lr_factor(self.settings, step / self.num_steps)
        loss = task_loss = self.task.loss(self.network(batch.inputs), batch.labels)
        losses = {"train/task_loss": task_loss.detach()}
        if self.guided_loss is not None and self.guided_loss.active(step):
            distance, each = self.guided_loss(outputs, batch, step)
            loss = task_loss + self.guided_loss.schedule.alpha * distance
            losses |= {"train/distance": distance.detach(), "distances": each}
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.settings.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.grad_clip)
        self.optimizer.step()
        return losses | {"train/loss": loss.detach()}

    def _pairs_and_taps(self) -> tuple[list[Any], tuple[str, ...]]:
        if self.guided_loss is None:
            return [], ()
        return self.guided_loss.ordered_pairs, self.guided_loss.target_taps

    def evaluate(self, *, with_taps: bool) -> dict[str, float]:
        """Validation scores, and the health of the taps where asked for."""
        inputs, labels = self.task.validation
        scores = self.task.score(evaluation.predict(self.network, inputs, self.device), labels)
        metrics = {f"validation/{name}": value for name, value in scores.items()}
        if with_taps:
            metrics |= evaluation.tap_health(self.network, self.task, self.device)
        return metrics

    def align(self, moment: str) -> None:
        """Measure how similar guide and target are now (guided runs only)."""
        if self.guided_loss is not None:
            rows = evaluation.alignment(
                self.network, self.guided_loss.source, self.task, self.device
            )
            self.alignment += [{"moment": moment} | row for row in rows]

    def _restore(self, replicate: Replicate) -> int:
        saved = checkpoint.load(replicate)
        if saved is None:
            return 0
        self.network.load_state_dict(saved.weights)
        self.optimizer.load_state_dict(saved.optimizer)
        self.log.history = saved.history
        self.train_seconds = saved.train_seconds
        return saved.step

    def _checkpoint(self, replicate: Replicate, step: int) -> None:
        state = checkpoint.Checkpoint(
            step=step,
            train_seconds=self.train_seconds,
            weights=self.network.state_dict(),
            optimizer=self.optimizer.state_dict(),
            history=self.log.history,
        )
        checkpoint.save(replicate, state)

    def _summary(self, metrics: dict[str, float]) -> dict[str, Any]:
        return {
            "metrics": metrics,
            "steps": self.num_steps,
            "train_seconds": self.train_seconds,
            # Of the process that finished it: what an overhead is measured against.
            "train_cpu_seconds": time.process_time() - self._cpu_started,
            "torch_version": torch.__version__,
            "device": _device_name(self.device),
            "host": socket.gethostname(),
            "data_fingerprint": self.task.fingerprint,
            "ended": time.time(),
        }


def _run(condition: Condition, seed: int, store: str | None, report: Report) -> Run:
    guided = condition.guidance is not None
    source = guide_source(condition, seed, store) if guided else None
    return Run(condition, seed, source, report)


def guide_source(
    condition: Condition, seed: int, store: str | None, *, keep: bool = True
) -> FeatureSource:
    """The features that guide a condition, its control applied.

    Without `keep`, a guide of streamed data runs in every step, whatever other runs left.
    """
    assert condition.guidance is not None
    guidance = condition.guidance
    task = tasks.build(condition.task)
    streams = _streams(condition, seed)
    if guidance.control == "input":
        network = architectures.build(guidance.guide.architecture, task.input, task.output)
        return source_for("input", task, streams, None, network.taps)
    guide = _frozen_guide(condition.task, guidance.guide, seed, store, torch.get_num_threads())
    streamed = None
    if keep and guidance.control != "noise":
        steps = guided_steps(condition, task.num_train)
        streamed = guide.streamed_features(streams, condition.train.batch_size, steps)
    return source_for(guidance.control, task, streams, guide, guide.taps, streamed)


def guided_steps(condition: Condition, num_train: int | None) -> int:
    """Steps in which a guide takes part, on `num_train` examples (None: streamed)."""
    if condition.guidance is None:
        return 0
    steps, stop = condition.train.num_steps(num_train), condition.guidance.schedule.stop_step
    return steps if stop is None else min(stop, steps)


@lru_cache(maxsize=2)
def _frozen_guide(
    task: Component,
    guide: Guide,
    seed: int,
    store: str | None,
    threads: int,  # noqa: ARG001  part of the key: it decides the last bits of the features
) -> FrozenGuide:
    """The guide of a seed; kept, so that packed replicates share its features."""
    built = tasks.build(task)
    if guide.train is None:
        streams = Streams("guide", task, guide.architecture, seed)
        return FrozenGuide(untrained(guide, built, streams), built, default_device())
    condition = Condition(role="guide", task=task, target=guide.architecture, train=guide.train)
    return FrozenGuide(
        train(condition, seed=seed, store=store, report=_silent).network, built, default_device()
    )


def _silent(_payload: dict[str, Any]) -> None:
    """A guide trained on the way reports nothing: its history is in the store."""


def _finished(replicate: Replicate, condition: Condition) -> Result:
    summary = replicate.result()
    assert summary is not None
    return Result(
        replicate_id=replicate.id,
        network=_network(replicate, condition),
        metrics=summary["metrics"],
        history=History.from_parquet(replicate.id, replicate.read("history.parquet")),
        steps=summary["steps"],
        train_seconds=summary["train_seconds"],
    )


def _network(replicate: Replicate, condition: Condition) -> Network:
    task = tasks.build(condition.task)
    with torch.random.fork_rng():
        network = architectures.build(condition.target, task.input, task.output)
    network.load_state_dict(checkpoint.load_final(replicate))
    return network.to(default_device()).eval()


def _streams(condition: Condition, seed: int) -> Streams:
    role = "guide" if condition.role == "guide" else "target"
    return Streams(role, condition.task, condition.target, seed)


def _optimizer(network: Network, settings: TrainSettings) -> torch.optim.Optimizer:
    # Fused: on small networks the separate operations of an update cost an eighth of a step.
    parameters = network.parameters()
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=settings.lr,
            momentum=0.9,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    adam = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return adam(parameters, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)


def _lr_factor(settings: TrainSettings, done: float) -> float:
    """Learning rate as a fraction of `lr` when a fraction `done` of the steps is done."""
    if settings.lr_schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    return 1.0 - done if settings.lr_schedule == "linear" else 1.0


def default_device() -> torch.device:
    """Where networks run: a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
