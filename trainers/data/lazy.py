"""Inputs that do not fit in memory: each is made when it is asked for, here or in other processes.

What makes an example is a function of its index, and of a seed where it is augmented. So a batch
is the same whoever makes it, and however many processes do.
"""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor

#: An example, and the seed by which it is augmented; None: as it is in evaluation.
Job = tuple[int, int | None]


class LazyInputs(ABC):
    """Stands in for a tensor (N, *shape) of inputs: what is indexed is made, and then a tensor."""

    #: (N, *shape)
    shape: torch.Size

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, where: slice | Tensor) -> Tensor:
        chosen = range(*where.indices(len(self))) if isinstance(where, slice) else where.tolist()
        return make(self, [(index, None) for index in chosen])

    @property
    @abstractmethod
    def digest(self) -> str:
        """What stands for the content in a fingerprint."""

    @abstractmethod
    def example(self, index: int) -> Tensor:
        """One input (*shape), as it is in evaluation."""

    def augmented(self, index: int, generator: torch.Generator) -> Tensor:
        """One input (*shape) augmented, a function of the generator's state alone."""
        raise NotImplementedError(f"{type(self).__name__} does not augment its inputs")


def make(inputs: LazyInputs, jobs: Sequence[Job]) -> Tensor:
    """The inputs (len(jobs), *shape)."""
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
    """One tensor a batch of jobs, in their order, made ahead by `loaders` processes.

    With 0 of them each is made when it is asked for. The processes end with the iterator.
    """
    if loaders == 0:
        return (make(inputs, jobs) for jobs in batches)
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(
        _Maker(inputs),  # type: ignore[arg-type]
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=_as_it_is,
        num_workers=loaders,
        pin_memory=pin,
        # Otherwise each draws from the global generator, which is the run's.
        generator=torch.Generator(),
    )
    return map(_raised, loader)


class Feed:
    """The batches of a run by step; those after the one that is asked for are made ahead."""

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
        """End the processes; the next step that is asked for starts others."""
        self._next, self._made = -1, iter(())


class _Maker:
    """What a loader process runs."""

    def __init__(self, inputs: LazyInputs) -> None:
        self._inputs = inputs

    def __getitems__(self, jobs: Sequence[Job]) -> Tensor | ValueError:
        try:
            return make(self._inputs, jobs)
        except ValueError as error:
            # A file that is no good: raised here, its message would be a traceback.
            error.add_note(traceback.format_exc())
            return error


def _raised(made: Tensor | ValueError) -> Tensor:
    if isinstance(made, ValueError):
        raise made
    return made


def _as_it_is(made: Any) -> Any:
    return made
