"""The contract of a trial's workers, k processes or one: the whole batch and its gradient.

Every process of a group calls `check_workers` at the same time, with its own `Workers`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainers.parallel.workers import Workers
from trainers.testing.contract import Contract, require

#: Rows of the batches: even and uneven shards.
_ROWS = (8, 9)


@dataclass(frozen=True)
class _Here:
    workers: Workers

    def batch(self, rows: int) -> Tensor:
        """The same global batch (rows, 3) on all workers."""
        return torch.randn(rows, 3, generator=torch.Generator().manual_seed(rows))


CONTRACT: Contract[_Here] = Contract()
rule = CONTRACT.rule


def check_workers(workers: Workers, *, rule: str | None = None) -> None:
    """Raise ContractError where this process's workers break a rule.

    All processes of the group must call it at the same time, with the same `rule`.
    """
    label = f"worker {workers.rank} of {workers.world_size}"
    CONTRACT.check(label, _Here(workers), rule)


def workers_rules(workers: Workers) -> list[str]:
    """Names of the rules that `check_workers` checks."""
    return CONTRACT.names(_Here(workers))


@rule("one worker evaluates, decides and writes")
def the_first_is_main(subject: _Here) -> None:
    """Ranks count from 0 below `world_size`, and the first of them is the main one."""
    workers = subject.workers
    require(0 <= workers.rank < workers.world_size, f"rank {workers.rank}")
    require(workers.is_main == (workers.rank == 0), f"worker {workers.rank} says it is main")
    main = workers.stream("dropout") == "dropout"
    require(main == workers.is_main, "only the first has a random stream under its own name")


@rule("every worker computes the loss of the whole batch")
def shards_are_gathered_in_order(subject: _Here) -> None:
    """Shards have a row or more, and the gathered shards are the batch."""
    for rows in _ROWS:
        batch = subject.batch(rows)
        shard = subject.workers.shard(batch)
        gathered = subject.workers.gather(shard.clone(), rows)
        require(len(shard) >= 1, "a worker has no rows")
        require(torch.equal(gathered, batch), f"gathered again, {rows} rows are others")


@rule("a step of several workers is the step of one")
def gradients_are_those_of_the_batch(subject: _Here) -> None:
    """Summed gradients are those of the whole batch, for parameters before and after `gather`."""
    for rows in _ROWS:
        batch = subject.batch(rows)
        expected = _gradients(Workers(), batch)
        for name, found in _gradients(subject.workers, batch).items():
            close = torch.allclose(found, expected[name], rtol=1e-5, atol=1e-7)
            require(close, f"the gradient of {name} is {found}, not {expected[name]}")


def _gradients(workers: Workers, batch: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(0)
    network, learned = nn.Linear(3, 2), nn.Linear(2, 1)
    answers = workers.gather(network(workers.shard(batch)), len(batch))
    # Not a mean of shards' losses: it depends on all rows together.
    loss = learned(answers).square().mean() * answers.std()
    loss.backward()
    workers.sum_gradients(network.parameters(), learned.parameters())
    named = [(f"network.{n}", p) for n, p in network.named_parameters()]
    named += [(f"learned.{n}", p) for n, p in learned.named_parameters()]
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


@rule("workers begin with the same weights")
def broadcast_gives_all_the_first_ones(subject: _Here) -> None:
    """After `broadcast` parameters and buffers are those of the first worker."""
    torch.manual_seed(subject.workers.rank)
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    subject.workers.broadcast(module)
    torch.manual_seed(0)
    expected = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).state_dict()
    for name, value in module.state_dict().items():
        require(torch.equal(value, expected[name]), f"{name} is not that of the first worker")


@rule("batch norm of a shard would make results depend on the number of workers")
def batch_norm_is_that_of_the_batch(subject: _Here) -> None:
    """Inside `global_batch_norm` outputs and statistics are those of the whole batch."""
    for rows in _ROWS:
        batch, norm, alone = subject.batch(rows), nn.BatchNorm1d(3), nn.BatchNorm1d(3)
        with subject.workers.global_batch_norm(norm):
            outputs = norm(subject.workers.shard(batch))
        expected = subject.workers.shard(alone(batch))
        require(torch.allclose(outputs, expected, atol=1e-5), "outputs are those of the shard")
        for name, value in norm.state_dict().items():
            close = torch.allclose(value, alone.state_dict()[name], atol=1e-6)
            require(close, f"{name} is that of the shard")


@rule("work ends on all workers or on none")
def synchronized_work_ends_together(subject: _Here) -> None:
    """An exception of one worker ends the work of all, and they go on together afterwards."""
    workers = subject.workers
    with workers.synchronized():
        workers.barrier("here")
    last = workers.world_size - 1
    failed = False
    try:
        with workers.synchronized():
            if workers.rank == last:
                raise ValueError("out of luck")
            workers.barrier("here")
    except (ValueError, RuntimeError):
        failed = True
    require(failed, "the work of this worker goes on while another's has failed")
    with workers.synchronized():
        workers.barrier("after it")


@rule("followers do what the leader says")
def orders_arrive_in_order(subject: _Here) -> None:
    """Followers get each order of the leader once, in order, and the end."""
    given = [{"number": number} for number in range(3)]
    if subject.workers.is_main:
        for content in [*given, None]:
            subject.workers.order(content)
    else:
        found = list(subject.workers.orders())
        require(found == given, f"of {given} arrive {found}")
