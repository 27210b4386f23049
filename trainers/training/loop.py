"""The training loop of one replicate, in plain PyTorch."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from trainers import controls, rivals
from trainers.architectures import taps
from trainers.conditions.guidance import Guidance, Term
from trainers.conditions.ids import replicate_id
from trainers.conditions.schedule import Schedule
from trainers.controls import FeatureSource
from trainers.mappings import Pair
from trainers.messages import Report
from trainers.runtime.devices import copied, default_device, device_name, moved
from trainers.runtime.precision import autocast
from trainers.runtime.streams import seed_global
from trainers.store.checkpoint import Checkpoint
from trainers.store.folder import Written
from trainers.store.records import ResultRecord
from trainers.store.tables import ALIGNMENT, History, predictions_table, rows_table
from trainers.tasks import Split
from trainers.tasks.batches import Batch, noise
from trainers.tasks.checks import clusters_of
from trainers.training import evaluation, optim
from trainers.training.best_validation import TEST_AT_BEST, BestValidation
from trainers.training.guided_loss import GuidedLoss
from trainers.training.log import Log, Window, finite, named
from trainers.training.result import Result
from trainers.training.saving import Saver
from trainers.training.setup import RunSetup, align_batches, batches, constrained, initial, running
from trainers.training.term_loss import TermLoss
from trainers.training.train_sample import TRAIN_SAMPLE, train_sample


class Run:
    """One replicate while it trains.

    Its steps are those of alignment alone, if the schedule has any, then those of training. Each of
    several `workers` has a run of the same replicate; only the leader's evaluates and writes.
    """

    def __init__(
        self,
        setup: RunSetup,
        sources: Sequence[FeatureSource],
        report: Report,
    ) -> None:
        condition, self.workers, self.tracing = setup.condition, setup.workers, setup.tracing
        self.settings = condition.train
        self.task = setup.task
        self.device = default_device()
        self.streams = setup.streams
        network = initial(setup)
        self.rival, self.constraint = rivals.of(condition), constrained(network, setup)
        self.network = network.to(self.device)
        #: The network as it runs in training; its parameters and hooks are those of `network`.
        self.running = running(self.network, self.settings)
        self.guided_loss: GuidedLoss | None = None
        self.schedule = Schedule()
        if condition.guidance is not None:
            self.schedule = condition.guidance.schedule
            self.guided_loss = self._guided_loss(condition.guidance, sources)
        self.train_steps = condition.train_steps(self.task.num_train)
        #: Training steps in which guidance is on.
        self.guided_steps = range(0)
        if self.guided_loss is not None:
            self.guided_steps = self.schedule.guided_steps(self.train_steps)
        self.num_steps = self.schedule.align_steps + self.train_steps
        self.optimizer = self._new_optimizer()
        self.batches = batches(setup, self.device, "data")
        self.align_batches = align_batches(setup, self.device)
        #: Whether tap outputs of the forward pass that runs are recorded.
        self._recording = False
        #: Task loss / distance at the first training step, where the schedule is balanced.
        self.balance: float | None = None
        self.log = Log(History(replicate_id(condition, setup.seed)), report)
        self.window = Window()
        self.alignment: list[dict[str, Any]] = []
        self.best = BestValidation(self.task) if setup.best_validation else None
        self._last_is_best = False
        self.train_seconds = 0.0
        self._started = self._cpu_started = 0.0

    def fit(self, saver: Saver | None = None, until: int | None = None) -> None:
        """Train to the last step, or `until` one, from the last checkpoint where `saver` has one.

        Workers meet before the first step and after each report.
        """
        saver = saver or Saver()
        self._started, self._cpu_started = time.monotonic(), time.process_time()
        self.align("initial")
        step, end = self._restore(saver), self.num_steps if until is None else until
        report_steps = self.settings.report_steps(self.task.num_train)
        initial = self.evaluate(with_taps=True) if step == 0 else None
        self.workers.barrier(f"step {step} of {self.num_steps}, pairs {self.pairs}")
        self.workers.broadcast(self.network, *self._learned)
        self.network.train()
        with (
            closing(self.batches),
            closing(self.align_batches),
            self.workers.global_batch_norm(self.network),
            self.recording() as outputs,
            self.tracing(end - step) as stepped,
        ):
            while step < end:
                self.window.add(self.step(step, outputs))
                outputs.clear()
                step += 1
                self._constrain(step)
                stepped()
                if initial is not None:
                    # The first batch's losses are those of the network before its first update.
                    self.log.add(0, self.window.take(self.pairs) | initial)
                    initial = None
                last = step == end
                reported = last or step % report_steps == 0
                if reported:
                    scores = self.window.take(self.pairs) | self.evaluate(with_taps=last)
                    self.log.add(step, scores | self._test_at_best(scores, last=last))
                if last:
                    # `finish` saves and reports the last step.
                    break
                saver.after(step, self.log, partial(self._checkpoint, step), reported=reported)
                if reported:
                    self.workers.barrier(f"step {step}")
        if self.num_steps == 0 and initial is not None:
            self.log.add(0, initial)
        self.align("final")
        self.train_seconds = time.monotonic() - self._started

    def finish(self, saver: Saver | None = None) -> Result:
        """Score the test split and, with a replicate, write all its files, the result last."""
        saver = saver or Saver()
        test = self.task.test
        metrics, predictions = self._evaluated(test)
        described = finite(TRAIN_SAMPLE, self._evaluated(train_sample(self.task)).scores)
        if self._last_is_best:
            described |= finite(TEST_AT_BEST, metrics)
        self.log.add(self.num_steps, named("test/", metrics) | described)
        if self.constraint is not None:
            self.constraint.release()
        self.network.eval().zero_grad(set_to_none=True)
        identifier, history = self.log.history.replicate_id, self.log.history
        if saver.replicate is not None:
            saver.check()
            clusters = clusters_of(self.task)
            predicted = predictions_table(identifier, test.labels, predictions, clusters)
            tables = {"predictions.parquet": predicted}
            if self.alignment:
                rows = [{"replicate_id": identifier} | row for row in self.alignment]
                tables["alignment.parquet"] = rows_table(rows, ALIGNMENT)
            saver.finish(history, tables, self.network, partial(self._record, metrics))
        self.log.flush()
        return Result(
            replicate_id=identifier,
            network=self.network,
            metrics=metrics,
            history=history,
            steps=self.num_steps,
            train_seconds=self.train_seconds,
        )

    @property
    def pairs(self) -> list[Pair]:
        """The mapped pairs, in the order in which their distances are reported."""
        return [] if self.guided_loss is None else self.guided_loss.pairs

    @property
    def guided_taps(self) -> tuple[str, ...]:
        """The target's taps that guidance needs."""
        return () if self.guided_loss is None else self.guided_loss.target_taps

    def recording(self) -> AbstractContextManager[dict[str, Tensor]]:
        """Context with the outputs of `guided_taps`, by tap, after each guided forward pass."""
        return taps.record(
            self.network, self.guided_taps, called=self.running, when=lambda: self._recording
        )

    def step(self, step: int, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run one optimisation step; returns its losses and distances by pair, detached.

        All are those of the global batch, on every worker.
        """
        align_steps = self.schedule.align_steps
        if step < align_steps:
            self._seed_dropout("align dropout", step)
            loss, losses = self._align_loss(step, outputs)
        else:
            if step == align_steps > 0:
                self.align_batches.close()
                self.optimizer = self._new_optimizer()
            self._seed_dropout("dropout", step - align_steps)
            loss, losses = self.train_loss(step - align_steps, outputs)
        done = max(0, step - align_steps) / self.train_steps
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * optim.lr_factor(self.settings, done)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        repeated = chain.from_iterable(module.parameters() for module in self._learned)
        self.workers.sum_gradients(self.network.parameters(), repeated)
        if self.settings.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters(), self.settings.grad_clip)
        self.optimizer.step()
        return losses | {"train/loss": loss.detach()}

    def _constrain(self, step: int) -> None:
        """Set the constraint, if any, to that of the network after `step` steps."""
        if self.constraint is not None:
            self.constraint.at(max(0, step - self.schedule.align_steps) / self.train_steps)

    def _seed_dropout(self, stream: str, step: int) -> None:
        # Each worker draws for its shard: with dropout, k workers give other results than one.
        seed_global(self.streams.seed(self.workers.stream(stream), step))

    def _forward(self, inputs: Tensor, outputs: dict[str, Tensor], *, guided: bool) -> Tensor:
        """Logits of the global batch, of which each worker runs a shard.

        If `guided`, `outputs` then holds tap outputs (batch, ...) of the global batch.
        """
        self._recording = guided
        with autocast(self.device, self.settings.precision):
            logits = self.running(copied(self.workers.shard(inputs), self.device))
        # Nothing reads those of evaluation.
        self._recording = False
        for tap, output in outputs.items():
            outputs[tap] = self.workers.gather(output, len(inputs))
        return self.workers.gather(logits, len(inputs)).float()

    def train_loss(self, step: int, outputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a training step, with gradient, and its parts, detached."""
        batch, guided = self.batches[step], step in self.guided_steps
        # On the gathered logits, so that any task's loss is that of the global batch.
        answers = self._forward(batch.inputs, outputs, guided=guided)
        loss = task_loss = self.task.loss(answers, batch.labels.clone())
        losses = {"train/task_loss": task_loss.detach()}
        if self.rival is not None and self.rival.changes_loss:
            loss = self.rival.loss(self.task, answers, batch.labels.clone())
        if guided:
            assert self.guided_loss is not None
            distances = self.guided_loss(outputs, batch, step)
            distance = distances.total
            alpha = self.schedule.alpha_at(step, self.train_steps)
            if self.schedule.balanced:
                if self.balance is None:
                    self.balance = task_loss.item() / max(distance.item(), 1e-12)
                alpha *= self.balance
            loss = task_loss + (distance if alpha == 1 else alpha * distance)
            losses |= distances.losses()
        return loss, losses

    def _align_loss(
        self, step: int, outputs: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        assert self.guided_loss is not None
        assert self.schedule.align_first is not None
        batch = self.align_batches[step]
        if self.schedule.align_first.inputs == "noise":
            generator = self.streams.generator("align noise", step)
            drawn = noise(self.task.input, len(batch.inputs), generator)
            batch = Batch(moved(drawn, self.device), batch.labels, None)
        elif self.schedule.align_first.inputs == "redrawn":
            # Their indices are not those of the task's examples, by which caches are read.
            batch = batch._replace(examples=None)
        self._forward(batch.inputs, outputs, guided=True)
        distances = self.guided_loss(outputs, batch, step)
        return self.schedule.alpha * distances.total, distances.losses()

    def _guided_loss(self, guidance: Guidance, sources: Sequence[FeatureSource]) -> GuidedLoss:
        terms = [self._term(*each) for each in zip(guidance.terms, sources, strict=True)]
        learning = [term for term in terms if term.learns]
        if learning:
            torch.manual_seed(self.streams.seed("guidance"))
        for term in learning:
            inputs, labels = self.task.validation
            probe = inputs[:2]
            term.connect(
                evaluation.tap_outputs(self.network, probe, self.device, term.target_taps),
                term.source.evaluate(probe.to(self.device), labels[:2].to(self.device)),
            )
        return GuidedLoss(terms)

    def _term(self, term: Term, source: FeatureSource) -> TermLoss:
        pairs = controls.pairs_of(
            term, self.network.taps, source.taps, lambda: self._similarity(source)
        )
        return TermLoss(term, source, pairs, self.task, every=self.schedule.every)

    def _similarity(self, source: FeatureSource) -> Tensor:
        """Similarities (guide taps, target taps) at initial weights, on validation examples."""
        split = self.task.validation
        return evaluation.similarities(self.network, source, self.task, split, self.device)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return optim.build(self._parameters(), self.settings)

    def _parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the network and, if it learns, of the distance."""
        return chain.from_iterable(m.parameters() for m in (self.network, *self._learned))

    @property
    def _learned(self) -> tuple[nn.ModuleList, ...]:
        """Connected distances of a guided run, if any; empty if the distance does not learn."""
        return () if self.guided_loss is None else (self.guided_loss.learned,)

    def evaluate(self, *, with_taps: bool) -> dict[str, float]:
        """Validation scores and, with `with_taps`, tap health; empty except on the leader."""
        if not self.workers.is_main:
            return {}
        scores, _ = self._evaluated(self.task.validation)
        metrics = named("validation/", scores)
        if with_taps:
            metrics |= evaluation.tap_health(self.network, self.task, self.device)
        return metrics

    def _test_at_best(self, scores: Mapping[str, float], *, last: bool) -> dict[str, float]:
        """Test scores at a report of best validation, where asked; `finish` has the last step's."""
        if self.best is None or not self.best.improves(scores):
            return {}
        self._last_is_best = last
        return {} if last else finite(TEST_AT_BEST, self._evaluated(self.task.test).scores)

    def _evaluated(self, split: Split) -> evaluation.Evaluated:
        loaders = self.workers.loaders
        return evaluation.evaluate(self.network, self.task, split, self.device, loaders=loaders)

    def align(self, moment: str) -> None:
        """Record the alignment with the guides at a moment (guided runs, leader only)."""
        if self.guided_loss is None or not self.workers.is_main:
            return
        for index, term in enumerate(self.guided_loss.terms):
            rows = evaluation.alignment(self.network, term.source, self.task, self.device)
            for row in rows:
                tap = self.guided_loss.named(index, row["guide_tap"])
                self.alignment.append({"moment": moment} | row | {"guide_tap": tap})

    def _restore(self, saver: Saver) -> int:
        saved, history = saver.load()
        if history is not None:
            self.log.resume(history)
        if saved is None:
            return 0
        self.network.load_state_dict(saved.weights)
        self._constrain(saved.step)
        if self.guided_loss is not None:
            self.guided_loss.learned.load_state_dict(saved.learned)
        self.optimizer.load_state_dict(dict(saved.optimizer))
        self.window.restore(saved.window, self.device)
        self.balance = saved.balance
        if self.best is not None and history is not None:
            self.best.resume(history.until(saved.step))
        self._started -= saved.train_seconds
        return saved.step

    def _checkpoint(self, step: int) -> Checkpoint:
        learned = {} if self.guided_loss is None else self.guided_loss.learned.state_dict()
        return Checkpoint(
            step=step,
            train_seconds=time.monotonic() - self._started,
            weights=self.network.state_dict(),
            learned=learned,
            balance=self.balance,
            optimizer=self.optimizer.state_dict(),
            window=self.window.state(),
        )

    def _record(self, metrics: dict[str, float], files: Mapping[str, Written]) -> ResultRecord:
        return ResultRecord(
            metrics=metrics,
            steps=self.num_steps,
            train_seconds=self.train_seconds,
            train_cpu_seconds=time.process_time() - self._cpu_started,
            torch_version=torch.__version__,
            device=device_name(self.device),
            host=socket.gethostname(),
            data_fingerprint=self.task.fingerprint,
            ended=time.time(),
            files=files,
        )
