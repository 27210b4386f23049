"""Several workers: collectives of tensors, and meetings of processes, over `torch.distributed`.

**Gradients.** Let L be the loss of the global batch, a function of the rows `f_r` that the workers
r = 1..k contribute (answers and tap outputs), and these of the parameters. Every worker computes
the whole L from the gathered rows. The backward of `gather` hands a worker the slice dL/df_r of its
own rows and reduces nothing: all workers hold the same L, so a sum over workers would count it k
times. Worker r's backward pass then gives (dL/df_r)(df_r/dw), and the sum over workers is dL/dw,
whatever the sizes of the shards, because L already divides by what it counts in the global batch.

With batch norm `f_r` also depends on the other workers' rows, through statistics s that are sums
over workers. Seen as one graph over all processes, each row's dL/df_r enters once, and what reaches
s is the sum over workers of what their own rows send there: so the backward of the statistics
*does* reduce (see `batch_norm`). Parameters that act on gathered rows (those of a distance that
learns) have the whole gradient on every worker: their mean is taken instead of their sum.

**Meetings** run over the group's key-value store, not over collectives: a worker that fails inside
a step has others that wait in a collective, and could reach them by no further one. Who fails posts
why, and waits for the others. If they come to the same meeting, all know the same, and the
replicate ends alike everywhere; if they do not, the worker raises BrokenGroupError, its process
ends, and who waits for it in a collective finds its connection closed (gloo) or is ended by Ray
with the whole group (NCCL, where a collective just waits).
"""

from __future__ import annotations

import json
import time
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

#: Longest wait inside a step: workers are apart by the time that one takes for it, because at every
#: report they meet. For the process group's own timeout.
STEP_SECONDS = 600.0
#: Longest wait for the leader, which evaluates and writes while the others wait for it.
MEETING_SECONDS = 4 * 3600.0
#: How long a worker that failed waits for the others to fail in the same way.
FAILED_SECONDS = 60.0
#: The leader may itself wait for another trial's lease before it has the next order.
_ORDER_SECONDS = 30 * 24 * 3600.0

#: Between looks whether another worker has given up.
_LOOK_SECONDS = 20.0
_BROKEN = "broken"
_groups = count()


def connected(loaders: int = 0) -> Workers:
    """The workers of this process's default group; one where there is none, or only this process.

    All processes of the group must call it, the same number of times.
    """
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return Workers(loaders)
    return Group(loaders)


class Group(Workers):
    """The workers of the default process group (`gloo` or `nccl`)."""

    def __init__(self, loaders: int = 0) -> None:
        super().__init__(loaders)
        self.rank, self.world_size = distributed.get_rank(), distributed.get_world_size()
        # The store that the group was made with has no public name. A connection of its own: a wait
        # must not hold up the process group's use of it.
        store = _get_default_store().clone()  # type: ignore[attr-defined]
        self._board = PrefixStore(f"archprior/{next(_groups)}", store)
        # Another one for signals, which a thread may wait for beside the orders.
        self._bell = PrefixStore(f"archprior/{next(_groups)}", store.clone())
        self._meetings = self._orders = self._signals = 0

    def shard(self, batch: Tensor) -> Tensor:
        """Rows as even as can be: the first workers have one more."""
        return batch.tensor_split(self.world_size)[self.rank]

    def gather(self, shard: Tensor, num_rows: int) -> Tensor:
        """All rows, in the order of the workers."""
        gathered: Tensor = _Gather.apply(shard, num_rows, self.rank, self.world_size)  # type: ignore[no-untyped-call]
        return gathered

    def sum_gradients(
        self, parameters: Iterable[nn.Parameter], repeated: Iterable[nn.Parameter]
    ) -> None:
        """One all-reduce of all gradients; parameters that have none have none anywhere."""
        # Not by DistributedDataParallel: its hooks count on each parameter to get a gradient in
        # each step (in alignment alone only those below a tap do), and on a loss made of what its
        # forward returns (taps are not).
        learned = [p.grad.div_(self.world_size) for p in repeated if p.grad is not None]
        gradients = [p.grad for p in parameters if p.grad is not None] + learned
        if not gradients:
            return
        flat = torch.cat([grad.reshape(-1) for grad in gradients])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [grad.numel() for grad in gradients])
        for grad, part in zip(gradients, parts, strict=True):
            grad.copy_(part.view_as(grad))

    def broadcast(self, *modules: nn.Module) -> None:
        """A broadcast of each; processors of different types would draw other last bits."""
        for module in modules:
            for tensor in module.state_dict().values():
                sent = tensor.contiguous()
                distributed.broadcast(sent, src=0)
                tensor.copy_(sent)

    def global_batch_norm(self, network: nn.Module) -> AbstractContextManager[None]:
        """See `batch_norm`."""
        return global_batch_norm(network)

    @contextmanager
    def synchronized(self) -> Iterator[None]:
        """Ends with a meeting, whichever way it ends."""
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
        """All post, and read what all have posted."""
        self._post({"token": token})
        posts = self._posts(MEETING_SECONDS)
        for rank, post in enumerate(posts):
            if "error" in post:
                raise PeerError(f"worker {rank}: {post['error']}")
        if any(post["token"] != token for post in posts):
            raise BrokenGroupError(f"workers are not at the same place: {posts}")

    def _fail(self, error: BaseException) -> None:
        """Tell the others at the next meeting; BrokenGroupError when they do not come to it."""
        try:
            self._post({"error": f"{type(error).__name__}: {error}"})
            self._posts(FAILED_SECONDS)
        except BrokenGroupError as broken:
            self._give_up()
            raise BrokenGroupError(f"worker {self.rank} failed alone: {error!r}") from broken

    def _give_up(self) -> None:
        """Tell those who come later that there is no one to go on with."""
        with suppress(RuntimeError):
            self._board.set(_BROKEN, "")

    def _post(self, content: dict[str, str]) -> None:
        self._meetings += 1
        with _lost_store():
            self._board.set(f"{self._meetings}/{self.rank}", json.dumps(content))

    def _posts(self, seconds: float) -> list[dict[str, str]]:
        """What each worker has posted for the current meeting."""
        keys = [f"{self._meetings}/{rank}" for rank in range(self.world_size)]
        with _lost_store():
            self._wait(keys, seconds)
            posts = [json.loads(self._board.get(key)) for key in keys]
            # All have posted here, so all have read what was posted before.
            self._board.delete_key(f"{self._meetings - 1}/{self.rank}")
        return posts

    def _wait(self, keys: list[str], seconds: float) -> None:
        """Wait until all keys are there; RuntimeError when they do not come, or someone gave up."""
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
        """Numbered, so that none is missed."""
        self._orders += 1
        with _lost_store():
            self._board.set(f"order/{self._orders}", json.dumps(content))

    def orders(self) -> Iterator[dict[str, Any]]:
        """In the order in which they were given."""
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
        """Numbered, as orders are."""
        self._signals += 1
        with _lost_store():
            self._bell.set(str(self._signals), json.dumps(last))

    def signals(self) -> Iterator[None]:
        """Raises BrokenGroupError when the leader is gone."""
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
    """Says of every failure of the key-value store that the group is broken."""
    try:
        yield
    except BrokenGroupError:
        raise
    except RuntimeError as error:
        raise BrokenGroupError(f"the other workers are out of reach: {error}") from error


class _Gather(torch.autograd.Function):
    """Rows of all workers; the gradient is that of the own rows, not summed (see the module)."""

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
