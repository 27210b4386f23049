"""Networks at the end of their alignment, before they are trained on the task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainers import tasks
from trainers.architectures import Network
from trainers.conditions.condition import Condition
from trainers.conditions.ids import guide_id
from trainers.errors import UserError
from trainers.guides.pool import GuidePool
from trainers.messages import Message, Warned
from trainers.runtime.streams import isolated
from trainers.store.records import ResultRecord
from trainers.store.store import HISTORY, WEIGHTS, Replicate, Store
from trainers.store.tables import History
from trainers.training.setup import RunSetup
from trainers.training.train import run_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Aligned:
    """The network of a replicate after `steps` of alignment alone, and what was measured there.

    `before` and `after` are the metrics that are reported at its first and at its last step of
    alignment. `guide_ids` are in the order of its terms, without those of controls that run none.
    With `same_numbers` these steps reported the numbers of its history: the weights are those with
    which it began to train. `trained` is its result.
    """

    network: Network
    condition: Condition
    seed: int
    steps: int
    guide_ids: tuple[str, ...]
    before: Mapping[str, float]
    after: Mapping[str, float]
    same_numbers: bool | None
    trained: ResultRecord


def aligned(store: Store, identifier: str) -> Aligned:
    """Repeat the alignment of a finished replicate, with its guides of the store.

    A store keeps final weights alone. Its condition and seed decide those after the alignment, on
    the same type of machine to the bit. Raises UserError where the replicate is not finished, has
    no alignment, or is of entries or data that are not here; CorruptError.
    """
    replicate = store.replicate(identifier)
    record = replicate.result()
    if record is None:
        raise UserError(
            f"replicate {identifier} is not finished in {store.uri}: archprior run SPEC trains it"
        )
    condition, seed = replicate.condition(), replicate.described()["seed"]
    steps = condition.align_steps
    if not steps:
        raise UserError(
            f"replicate {identifier} ({condition.role}): no alignment comes before its training; "
            "one does with schedule: {align_first: ...}, and with the rival aligned_start"
        )
    _check(store, condition, seed)
    warnings: list[Warned] = []

    def report(message: Message) -> None:
        if isinstance(message, Warned):
            warnings.append(message)

    with isolated(condition.train.threads):
        run = run_of(RunSetup.of(condition, seed), store.uri, report, GuidePool())
        before = _history(replicate)
        compared = any(0 < point.step <= steps for point in before.points)
        run.log.resume(before)
        run.fit(until=steps)
    points = run.log.history.points
    return Aligned(
        network=run.network,
        condition=condition,
        seed=seed,
        steps=steps,
        guide_ids=tuple(guide_id(condition, t, seed) for t in condition.terms if t.runs_guide),
        before={p.metric: p.value for p in points if p.step == 0},
        after={p.metric: p.value for p in points if p.step == steps},
        same_numbers=not warnings if compared or warnings else None,
        trained=record,
    )


def _history(replicate: Replicate) -> History:
    return History.from_parquet(replicate.id, replicate.read(HISTORY))


def _check(store: Store, condition: Condition, seed: int) -> None:
    """Raise UserError where the data or a trained guide is missing, which are not made here."""
    try:
        tasks.build(condition.task).check_data()
    except FileNotFoundError as error:
        raise UserError(str(error)) from error
    for guide in condition.guide_conditions:
        trained = store.replicate_of(guide, seed)
        try:
            trained.vouched(WEIGHTS)
        except FileNotFoundError as error:
            raise UserError(f"guide {trained.id} has no weights in the store: {error}") from error
