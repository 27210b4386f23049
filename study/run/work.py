"""One worker of many on a study, without Ray: for arrays of batch jobs, such as Slurm's.

Workers meet in the store alone. Each plans the study, and trains replicates on which no other
process holds a lease, guides before what they guide, until nothing is left that can be trained.
What a process dies of is counted for all of its batch job, so that it is not met for ever.
Nothing is written to MLflow, and no table is made: one later run does both.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from zlib import crc32

from analysis.contract import PLAN
from study.plan.build import Plan
from study.plan.progress import Progress
from study.plan.replicates import Replicate
from study.run import comparisons
from study.run.batch_job import workers_run
from study.run.event_log import EventLog
from study.run.interrupts import Interrupts
from study.run.provenance import provenance
from study.spec.read import Spec
from trainers.messages import Ended, Measured, Message, Traced, Warned
from trainers.runtime.devices import on_cpu
from trainers.secrets import masked
from trainers.training.saving import StopRequestedError
from trainers.trial.trial import TrialContext, run_trial

_RETRY_SECONDS = 2.0


class Worker:
    """A worker on the plan of `progress`; `say` gets a line for each replicate that ends.

    What is said and reported is in the `log` too, if there is one. Steps of the replicate `traced`
    are profiled.
    """

    def __init__(
        self,
        progress: Progress,
        spec: Spec,
        *,
        plan_anew: Callable[[], Plan],
        interrupts: Interrupts,
        say: Callable[[str], object],
        log: EventLog | None = None,
        traced: str | None = None,
    ) -> None:
        self._progress, self._spec, self._plan_anew = progress, spec, plan_anew
        self._interrupts, self._print, self._log = interrupts, say, log
        self._traced = traced
        self._run, self._facts = workers_run(), provenance()
        self._trained: set[str] = set()

    def go(self) -> Progress:
        """Train until nothing is left; raises Interruption after a signal, at a checkpoint."""
        progress, interrupts = self._progress, self._interrupts
        self._write_plan()
        device = nullcontext() if self._spec.resources.gpus else on_cpu()
        with device, interrupts.polite(), interrupts.hasty():
            self._train()
            # Where settings are searched, results say what is next.
            while progress.plan.later and progress.take(self._plan_anew()):
                self._write_plan()
                self._train()
        return progress

    def _write_plan(self) -> None:
        from study.plan import table

        folder = self._progress.store.root / "studies" / self._progress.plan.name
        folder.write(PLAN, table.encode(self._progress.plan, self._facts))

    def _train(self) -> None:
        progress = self._progress
        todo = in_turn(progress.todo, start=crc32(f"{socket.gethostname()} {os.getpid()}".encode()))
        context = TrialContext(
            store=progress.store.uri, report=self._report, run=self._run, provenance=self._facts,
            stop=lambda: self._interrupts.requested,
            checkpoint_every=self._spec.checkpoint_every.value,
            comparisons=comparisons.by_replicate(progress.plan),
            best_validation={r.id for r in todo if r.planned.best_validation},
            awaits_guides=True, retry_seconds=_RETRY_SECONDS, traced=self._traced,
        )  # fmt: skip
        with suppress(StopRequestedError):
            run_trial([(replicate.condition, replicate.seed) for replicate in todo], context)
        self._interrupts.check()
        for replicate in todo:
            progress.refresh(replicate.id)

    def say(self, line: str) -> None:
        """Print and log a line, without what may be secret in it."""
        self._print(masked(line))
        if self._log is not None:
            self._log.say(line)

    def _report(self, message: Message) -> None:
        if isinstance(message, Measured):
            self._trained.add(message.replicate_id)
        if isinstance(message, Ended) and not (
            message.error or message.replicate_id in self._trained
        ):
            # What others have finished is found, and not said.
            return
        if self._log is not None:
            self._log.report(message)
        if isinstance(message, Warned):
            self.say(f"{self._name(message.replicate_id)}: {message.text}")
        if isinstance(message, Traced):
            self.say(f"{self._name(message.replicate_id)}: trace: {message.path}")
        if isinstance(message, Ended):
            cause = "" if message.error is None else f": {message.error}"
            self.say(f"{self._name(message.replicate_id)}: {message.status}{cause}")

    def _name(self, replicate_id: str) -> str:
        replicate = self._progress.by_id[replicate_id]
        return (
            f"{replicate_id} ({replicate.role} {replicate.labels['target']}, seed {replicate.seed})"
        )


def in_turn(replicates: Sequence[Replicate], *, start: int) -> list[Replicate]:
    """Replicates seed by seed, from the seed number `start`, and in the order of the plan in each.

    Workers with other starts meet at other seeds, and each computes its guide's features once.
    """
    seeds = list(dict.fromkeys(replicate.seed for replicate in replicates))
    place = {seed: (number - start) % len(seeds) for number, seed in enumerate(seeds)}
    return sorted(replicates, key=lambda replicate: place[replicate.seed])
