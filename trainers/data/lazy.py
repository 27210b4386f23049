"""Inputs that do not fit in memory: each is made when it is needed, here or in other processes.

An example is a function of its index and, if it is augmented, of a seed. So a batch does not depend
on the number of processes that make it.
"""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor

#: Index of an example and the seed of its augmentation; None: not augmented, as in evaluation.
Job = tuple[int, int | None]


class LazyInputs(ABC):
    """Stand-in for a tensor `(N, *shape)` of inputs: indexing makes the chosen ones, a tensor."""

    #: Shape `(N, *shape)` of the tensor that it stands for.
    shape: torch.Size

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, where: slice | Tensor) -> Tensor:
        chosen = range(*where.indices(len(self))) if isinstance(where, slice) else where.tolist()
        return make(self, [(index, None) for index in chosen])

    @property
    @abstractmethod
    def digest(self) -> str:
        """Digest of the content, for fingerprints of the data."""

    @abstractmethod
    def example(self, index: int) -> Tensor:
        """One input `(*shape)`, not augmented."""

    def augmented(self, index: int, generator: torch.Generator) -> Tensor:
        """One input `(*shape)` augmented, a function of the generator's state alone."""
        raise NotImplementedError(f"{type(self).__name__} does not augment its inputs")


def make(inputs: LazyInputs, jobs: Sequence[Job]) -> Tensor:
    """Inputs `(len(jobs), *shape)` of some jobs, in their order."""
    made = torch.empty(len(jobs), *inputs.shape[1:])
    for place, (index, seed) in zip(made, jobs, strict=True):
        if seed is None:
            place.copy_(inputs.example(index))
        else:
            place.copy_(inputs.augmented(index, torch.Generator().manual_seed(seed)))
    return made


def made_ahead(
    inputs: LazyInputs, batches: Iterable[Sequence[Job]], loaders: int, *, pin: bool = False
) -> Iterator[Tensor]:
    """One tensor `(batch, *shape)` per batch of jobs, in order, made ahead by `loaders` processes.

    With no loaders, each is made when it is needed. The processes end with the iterator. `pin` puts
    the tensors in pinned memory.
    """
    if loaders == 0:
        return (make(inputs, jobs) for jobs in batches)
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(
        _LoaderDataset(inputs),  # type: ignore[arg-type]
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=_as_it_is,
        num_workers=loaders,
        pin_memory=pin,
        # By default a loader draws from the global generator, which belongs to the run.
        generator=torch.Generator(),
    )
    return map(_raised, loader)


class Feed:
    """Inputs `(batch, *shape)` of a run by step; the batches of later steps are made ahead."""

    def __init__(
        self,
        inputs: LazyInputs,
        jobs: Callable[[int], Sequence[Job]],
        loaders: int,
        *,
        pin: bool = False,
    ) -> None:
        self._inputs, self._jobs, self._loaders, self._pin = inputs, jobs, loaders, pin
        self._next = -1
        self._made: Iterator[Tensor] = iter(())

    def __getitem__(self, step: int) -> Tensor:
        if step != self._next:
            self.close()
            coming = (self._jobs(number) for number in count(step))
            self._made = made_ahead(self._inputs, coming, self._loaders, pin=self._pin)
        self._next = step + 1
        return next(self._made)

    def close(self) -> None:
        """End the processes; the next access starts new ones."""
        self._next, self._made = -1, iter(())


class _LoaderDataset:
    """The dataset of the loader processes: makes a batch of jobs, or returns its ValueError."""

    def __init__(self, inputs: LazyInputs) -> None:
        self._inputs = inputs

    def __getitems__(self, jobs: Sequence[Job]) -> Tensor | ValueError:
        try:
            return make(self._inputs, jobs)
        except ValueError as error:
            # For a damaged file. Raised in a loader, its message would become a traceback.
            error.add_note(traceback.format_exc())
            return error


def _raised(made: Tensor | ValueError) -> Tensor:
    if isinstance(made, ValueError):
        raise made
    return made


def _as_it_is(made: Any) -> Any:
    return made
