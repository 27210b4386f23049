"""The workers of one trial: k processes that train one replicate together, or one alone.

Data parallel, exactly: every worker makes the same *global* batch, runs the target on its shard of
it, and gathers answers and tap features, so that every worker holds those of the whole batch and
computes the whole loss. A mean of the shards' distances is not the distance of the batch.

The first worker leads: it alone evaluates, reads what is finished or failed, and writes. The others
follow its orders. `ALONE` is the trivial form of all this, for one process; `group.Group` is that
of several.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn


class PeerError(RuntimeError):
    """Another worker of the trial failed with this replicate; the message has the cause."""


class BrokenGroupError(RuntimeError):
    """The workers of a trial are no longer at the same place: their processes must be restarted."""


class Workers:
    """One process alone; the base of those that are several.

    `rank` is this worker's number of `world_size`; worker 0 leads. Each may have `loaders`
    processes that make lazy inputs for it.
    """

    rank: int = 0
    world_size: int = 1

    def __init__(self, loaders: int = 0) -> None:
        self.loaders = loaders

    @property
    def is_main(self) -> bool:
        """Whether this worker is the one that evaluates, decides and writes."""
        return self.rank == 0

    def stream(self, name: str) -> str:
        """The name of this worker's own part of a random stream; worker 0 has the stream itself."""
        return name if self.rank == 0 else f"{name}, worker {self.rank}"

    def shard(self, batch: Tensor) -> Tensor:
        """This worker's rows of a tensor (batch, ...), at least one of them."""
        return batch

    def gather(self, shard: Tensor, num_rows: int) -> Tensor:  # noqa: ARG002
        """All workers' shards (rows, ...) as (num_rows, ...), with gradient to the own shard."""
        return shard

    def sum_gradients(
        self, parameters: Iterable[nn.Parameter], repeated: Iterable[nn.Parameter]
    ) -> None:
        """Make the gradients those of the global batch.

        `parameters` have one of their shard, `repeated` that of the whole batch on every worker.
        """

    def broadcast(self, *modules: nn.Module) -> None:
        """Give every worker the first one's parameters and buffers."""

    def global_batch_norm(self, network: nn.Module) -> AbstractContextManager[None]:  # noqa: ARG002
        """Inside, batch norm in training normalises by the global batch."""
        return nullcontext()

    def synchronized(self) -> AbstractContextManager[None]:
        """Work that ends on all workers or on none: an exception in it is raised on all.

        Raises the worker's own exception, PeerError for that of another, BrokenGroupError where
        the others cannot be told.
        """
        return nullcontext()

    def barrier(self, token: str = "") -> None:
        """Wait, inside `joined`, until all are here with equal tokens.

        Raises PeerError when another has failed, BrokenGroupError when the tokens differ.
        """

    def signal(self, *, last: bool = False) -> None:
        """Wake what follows the `signals`, or end it (the leader only)."""

    def signals(self) -> Iterator[None]:
        """One each time that the leader gives a signal (followers only; on any one thread)."""
        return iter(())

    def order(self, content: dict[str, Any] | None) -> None:
        """Send the followers JSON content; None: there is no more to do (the leader only)."""

    def orders(self) -> Iterator[dict[str, Any]]:
        """What the leader orders, until there is no more (followers only)."""
        return iter(())


ALONE = Workers()
