"""The contract of workers takes one process and two, and says by name what is wrong with others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from torch import Tensor, nn

from tests.helpers.process_group import ProcessGroup
from tests.helpers.worker_steps import workers_here
from trainers.parallel.process_group import Group
from trainers.parallel.workers import ALONE, Workers
from trainers.testing import ContractError, check_workers, workers_rules

Groups = Callable[[int], ProcessGroup]


def check_here() -> None:
    """The contract in a process of a group."""
    check_workers(workers_here())


def broken_here(rule: str) -> tuple[str, ...]:
    """What the workers of a group break where each breaks that rule."""
    workers: Any = workers_here()
    kind = workers.__class__
    try:
        workers.__class__ = BROKEN[rule]
        check_workers(workers, rule=rule)
    except ContractError as error:
        return error.broken
    finally:
        workers.__class__ = kind
    return ()


class AllLead(Group):
    """Each takes itself for the first."""

    @property
    def is_main(self) -> bool:
        return True


class OtherOrder(Group):
    """It gathers rows in another order."""

    def gather(self, shard: Tensor, num_rows: int) -> Tensor:
        return super().gather(shard, num_rows).flip(0)


class Unsummed(Group):
    """Each keeps the gradient of its shard."""

    def sum_gradients(self, parameters: Any, repeated: Any) -> None:
        pass


class NoBroadcast(Group):
    """Each keeps its weights."""

    def broadcast(self, *modules: nn.Module) -> None:
        pass


class OwnBatchNorm(Group):
    """Each normalises by its shard."""

    def global_batch_norm(self, network: nn.Module) -> AbstractContextManager[None]:
        return nullcontext()


class Unsynchronized(Group):
    """Each goes on whatever happens to the others."""

    def synchronized(self) -> AbstractContextManager[None]:
        return nullcontext()

    def barrier(self, token: str = "") -> None:
        pass


class LosesAnOrder(Group):
    """Followers miss the first order."""

    def orders(self) -> Any:
        _first, *others = super().orders()
        return iter(others)


BROKEN: dict[str, type[Group]] = {
    "the_first_is_main": AllLead,
    "shards_are_gathered_in_order": OtherOrder,
    "gradients_are_those_of_the_batch": Unsummed,
    "broadcast_gives_all_the_first_ones": NoBroadcast,
    "batch_norm_is_that_of_the_batch": OwnBatchNorm,
    "synchronized_work_ends_together": Unsynchronized,
    "orders_arrive_in_order": LosesAnOrder,
}


def test_one_process() -> None:
    check_workers(ALONE)
    assert workers_rules(ALONE) == list(BROKEN)


def test_one_process_that_drops_rows_is_told() -> None:
    class Drops(Workers):
        def shard(self, batch: Tensor) -> Tensor:
            return batch[1:]

    with pytest.raises(ContractError, match=r"worker 0 of 1 breaks(.|\s)*- shards_are_gathered"):
        check_workers(Drops(), rule="shards_are_gathered_in_order")


def test_two_processes(groups: Groups) -> None:
    groups(2)(check_here)


@pytest.mark.parametrize("rule", BROKEN)
def test_what_two_processes_break_is_told(rule: str, groups: Groups) -> None:
    told = groups(2)(broken_here, rule)
    assert set(told) <= {(), (rule,)}
    assert (rule,) in told
