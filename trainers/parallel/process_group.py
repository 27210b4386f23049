"""Several workers: collectives of tensors, and meetings of processes, over `torch.distributed`.

**Gradients.** Let L be the loss of the global batch, a function of the rows `f_r` that the workers
r = 1..k contribute (answers and tap outputs), and these of the parameters. Every worker computes
the whole L from the gathered rows. The backward pass of `gather` gives a worker the slice dL/df_r
of its own rows, without a reduction: all workers hold the same L, so a sum over workers would count
it k times. Worker r's backward pass then gives (dL/df_r)(df_r/dw), and the sum over workers is
dL/dw, whatever the sizes of the shards, because L is already a mean over the global batch.

With batch norm `f_r` also depends on the other workers' rows, through statistics s that are sums
over workers. Seen as one graph over all processes, each row's dL/df_r enters once, and the gradient
of s is the sum over workers of the contributions of their rows: so the backward pass of the
statistics *does* reduce (see `batch_norm`). Parameters that act on gathered rows (those of a
distance that learns) have the whole gradient on every worker: the mean is taken, not the sum.

**Meetings** use the group's key-value store, not collectives: if a worker fails inside a step, the
others wait in a collective, and no further collective could reach them. The worker that fails posts
the cause, and waits for the others. If they come to the same meeting, all know the cause, and the
replicate ends in the same way everywhere. If they do not, the worker raises BrokenGroupError and
its process ends; workers that wait for it in a collective then find its connection closed (gloo) or
are ended by Ray with the whole group (NCCL, whose collectives keep waiting).
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from itertools import count
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore, _get_default_store

from trainers.parallel.batch_norm import global_batch_norm
from trainers.parallel.workers import BrokenGroupError, PeerError, Workers
from trainers.secrets import masked

#: Timeout of the process group: longest wait inside a step. Workers meet at every report, and so
#: are at most a few steps apart.
STEP_SECONDS = 600.0
#: Longest wait for the leader, which evaluates and writes while the others wait for it.
MEETING_SECONDS = 4 * 3600.0
#: Longest wait of a worker that failed for the others to come to the same meeting.
FAILED_SECONDS = 60.0
#: Longest wait for an order: the leader may itself wait for another trial's lease.
_ORDER_SECONDS = 30 * 24 * 3600.0

#: Seconds between checks whether another worker has given up.
_LOOK_SECONDS = 20.0
_BROKEN = "broken"
_groups = count()


def connected(loaders: int = 0) -> Workers:
    """The workers of the default process group; a single one if there is no group, or none else.

    All processes of the group must call it, the same number of times. `loaders` is the number of
    processes that make lazy inputs for each worker.
    """
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return Workers(loaders)
    return Group(loaders)


class Group(Workers):
    """The workers of the default process group (`gloo` or `nccl`)."""

    def __init__(self, loaders: int = 0) -> None:
        super().__init__(loaders)
        self.rank, self.world_size = distributed.get_rank(), distributed.get_world_size()
        # PyTorch has no public name for the group's store. Its clone is a separate connection, so
        # that waiting does not block the process group's own use.
        store = _get_default_store().clone()  # type: ignore[attr-defined]
        self._board = PrefixStore(f"archprior/{next(_groups)}", store)
        # Signals have another connection, because a thread may wait for them beside the orders.
        self._bell = PrefixStore(f"archprior/{next(_groups)}", store.clone())
        self._meetings = self._orders = self._signals = 0

    def shard(self, batch: Tensor) -> Tensor:
        """This worker's rows of a batch; the first workers may have one row more."""
        return batch.tensor_split(self.world_size)[self.rank]

    def gather(self, shard: Tensor, num_rows: int) -> Tensor:
        """All workers' rows (num_rows, ...), in the order of the workers."""
        gathered: Tensor = _Gather.apply(shard, num_rows, self.rank, self.world_size)  # type: ignore[no-untyped-call]
        return gathered

    def sum_gradients(
        self, parameters: Iterable[nn.Parameter], repeated: Iterable[nn.Parameter]
    ) -> None:
        """Sum all gradients in one all-reduce; parameters without one have none on any worker."""
        # Not by DistributedDataParallel, whose hooks need a gradient of each parameter in each step
        # (alignment alone has them only below taps), and a loss of the output of its forward
        # (tap outputs are not part of it).
        averaged = [p.grad.div_(self.world_size) for p in repeated if p.grad is not None]
        gradients = [p.grad for p in parameters if p.grad is not None] + averaged
        if not gradients:
            return
        flat = torch.cat([grad.reshape(-1) for grad in gradients])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [grad.numel() for grad in gradients])
        for grad, part in zip(gradients, parts, strict=True):
            grad.copy_(part.view_as(grad))

    def broadcast(self, *modules: nn.Module) -> None:
        """Broadcast each tensor: initial values differ in their last bits between processors."""
        for module in modules:
            for tensor in module.state_dict().values():
                sent = tensor.contiguous()
                distributed.broadcast(sent, src=0)
                tensor.copy_(sent)

    def global_batch_norm(self, network: nn.Module) -> AbstractContextManager[None]:
        """Context of `batch_norm.global_batch_norm`."""
        return global_batch_norm(network)

    @contextmanager
    def synchronized(self) -> Iterator[None]:
        """Context that ends with a meeting, whether the work succeeds or fails."""
        try:
            yield
        except PeerError:
            raise
        except BrokenGroupError:
            self._give_up()
            raise
        except (Exception, SystemExit) as error:
            self._fail(error)
            raise
        else:
            self.barrier("the end")

    def barrier(self, token: str = "") -> None:
        """Post a token, and compare it with those of all workers."""
        self._post({"token": token})
        posts = self._posts(MEETING_SECONDS)
        for rank, post in enumerate(posts):
            if "error" in post:
                raise PeerError(f"worker {rank}: {post['error']}")
        if any(post["token"] != token for post in posts):
            raise BrokenGroupError(f"workers are not at the same place: {posts}")

    def _fail(self, error: BaseException) -> None:
        """Tell the others at the next meeting; BrokenGroupError if they do not come to it."""
        try:
            self._post({"error": masked(f"{type(error).__name__}: {error}")})
            self._posts(FAILED_SECONDS)
        except BrokenGroupError:
            self._give_up()
            alone = BrokenGroupError(masked(f"worker {self.rank} failed alone: {error!r}"))
            # In place of the chain of exceptions, whose texts Ray would log as they are.
            alone.add_note(masked("".join(traceback.format_exception(error))))
            raise alone from None

    def _give_up(self) -> None:
        """Tell workers that come later that the group is broken."""
        with suppress(RuntimeError):
            self._board.set(_BROKEN, "")

    def _post(self, content: dict[str, str]) -> None:
        self._meetings += 1
        with _lost_store():
            self._board.set(f"{self._meetings}/{self.rank}", json.dumps(content))

    def _posts(self, seconds: float) -> list[dict[str, str]]:
        """Posts of all workers for the current meeting, by rank; waits up to `seconds`."""
        keys = [f"{self._meetings}/{rank}" for rank in range(self.world_size)]
        with _lost_store():
            self._wait(keys, seconds)
            posts = [json.loads(self._board.get(key)) for key in keys]
            # All have posted, so all have read the posts of the last meeting.
            self._board.delete_key(f"{self._meetings - 1}/{self.rank}")
        return posts

    def _wait(self, keys: list[str], seconds: float) -> None:
        """Wait until all keys exist; RuntimeError if they do not come, or a worker gave up."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            try:
                self._board.wait(keys, timedelta(seconds=max(0.1, min(left, _LOOK_SECONDS))))
            except distributed.DistStoreError:
                if left <= _LOOK_SECONDS:
                    raise
            else:
                break
            self._check_whole()
        self._check_whole()

    def _check_whole(self) -> None:
        if self._board.check([_BROKEN]):
            raise BrokenGroupError("another worker has given up")

    def order(self, content: dict[str, Any] | None) -> None:
        """Write an order under the next number, so that none is missed."""
        self._orders += 1
        with _lost_store():
            self._board.set(f"order/{self._orders}", json.dumps(content))

    def orders(self) -> Iterator[dict[str, Any]]:
        """Orders in the sequence in which the leader gave them."""
        while True:
            self._orders += 1
            key = f"order/{self._orders}"
            with _lost_store():
                self._wait([key], _ORDER_SECONDS)
                content = json.loads(self._board.get(key))
            if content is None:
                return
            yield content

    def signal(self, *, last: bool = False) -> None:
        """Write a signal under the next number, so that none is missed."""
        self._signals += 1
        with _lost_store():
            self._bell.set(str(self._signals), json.dumps(last))

    def signals(self) -> Iterator[None]:
        """One item per signal of the leader; raises BrokenGroupError if the leader is gone."""
        while True:
            self._signals += 1
            key = str(self._signals)
            with _lost_store():
                self._bell.wait([key], timedelta(seconds=_ORDER_SECONDS))
                last = json.loads(self._bell.get(key))
            if last:
                return
            yield


@contextmanager
def _lost_store() -> Iterator[None]:
    """Turn failures of the key-value store into BrokenGroupError."""
    try:
        yield
    except BrokenGroupError:
        raise
    except RuntimeError as error:
        raise BrokenGroupError(f"the other workers are out of reach: {error}") from error


class _Gather(torch.autograd.Function):
    """Rows of all workers; the gradient is that of this worker's rows, not summed (see above)."""

    @staticmethod
    def forward(ctx: Any, shard: Tensor, num_rows: int, rank: int, size: int) -> Tensor:
        sizes = [num_rows // size + (r < num_rows % size) for r in range(size)]
        assert len(shard) == sizes[rank], (shard.shape, sizes)
        ctx.span = sum(sizes[:rank]), sizes[rank]
        # Shards differ by one row at most, and collectives want equal shapes.
        padded = shard.new_zeros(sizes[0], *shard.shape[1:])
        padded[: len(shard)] = shard
        parts = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:rows] for part, rows in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        begin, rows = ctx.span
        return gradients[0].narrow(0, begin, rows), None, None, None
