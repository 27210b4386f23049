"""The workers of one trial: k processes that train one replicate together, or one alone.

Data parallel, exactly: every worker makes the same *global* batch, runs the target on its shard of
it, and gathers answers and tap features, so that every worker holds those of the whole batch and
computes the whole loss. A mean of the shards' distances is not the distance of the batch.

The first worker leads: it alone evaluates, looks up finished and failed replicates, and writes. The
others follow its orders. `ALONE` is the trivial implementation for one process,
`process_group.Group` that for several.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn


class PeerError(RuntimeError):
    """Failure of another worker of the trial with this replicate; the message has the cause."""


class BrokenGroupError(RuntimeError):
    """The workers of a trial are no longer in step: their processes must be restarted."""


class Workers:
    """One process alone; the base class of groups of several.

    `rank` is this worker's number of `world_size`; worker 0 leads. Each may have `loaders`
    processes that make lazy inputs for it.
    """

    rank: int = 0
    world_size: int = 1

    def __init__(self, loaders: int = 0) -> None:
        self.loaders = loaders

    @property
    def is_main(self) -> bool:
        """Whether this worker is the leader, which evaluates, decides and writes."""
        return self.rank == 0

    def stream(self, name: str) -> str:
        """Name of this worker's random stream; worker 0 has the stream `name` itself."""
        return name if self.rank == 0 else f"{name}, worker {self.rank}"

    def shard(self, batch: Tensor) -> Tensor:
        """This worker's rows of a tensor (batch, ...), at least one of them."""
        return batch

    def gather(self, shard: Tensor, num_rows: int) -> Tensor:  # noqa: ARG002
        """All workers' shards (rows, ...) as (num_rows, ...), with gradient to this one's shard."""
        return shard

    def sum_gradients(
        self, parameters: Iterable[nn.Parameter], repeated: Iterable[nn.Parameter]
    ) -> None:
        """Make the gradients those of the global batch.

        `parameters` have that of this worker's shard, `repeated` that of the whole batch on every
        worker.
        """

    def broadcast(self, *modules: nn.Module) -> None:
        """Copy the first worker's parameters and buffers to all workers."""

    def global_batch_norm(self, network: nn.Module) -> AbstractContextManager[None]:  # noqa: ARG002
        """Context in which batch norm in training normalises by the global batch."""
        return nullcontext()

    def synchronized(self) -> AbstractContextManager[None]:
        """Context of work that succeeds on all workers or on none.

        An exception in it ends the work on all: it is raised on its worker, and PeerError on the
        others; BrokenGroupError if the others cannot be told.
        """
        return nullcontext()

    def barrier(self, token: str = "") -> None:
        """Wait, inside `synchronized`, until all workers have come with equal tokens.

        Raises PeerError if another has failed, BrokenGroupError if the tokens differ.
        """

    def signal(self, *, last: bool = False) -> None:
        """Give a signal to those that iterate over `signals`; `last` ends them (leader only)."""

    def signals(self) -> Iterator[None]:
        """One item per signal of the leader (followers only; on any one thread)."""
        return iter(())

    def order(self, content: dict[str, Any] | None) -> None:
        """Send the followers JSON content; None ends their work (leader only)."""

    def orders(self) -> Iterator[dict[str, Any]]:
        """Orders of the leader, until the end of the work (followers only)."""
        return iter(())


ALONE = Workers()
